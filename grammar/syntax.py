"""One instruction: text -> lark tree, and lark's exceptions in the words of the language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grammar.context import Context
from grammar.errors import quoted
from grammar.json_near import near_miss
from grammar.suggestion import did_you_mean
from grammar.tables import parser_for

if TYPE_CHECKING:
    from lark import Token, Tree, UnexpectedInput

KEYWORDS = (
    "ADD", "ARG", "BOOTSTRAP", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM",
    "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER",
    "VOLUME", "WORKDIR",
)  # fmt: skip

_NEEDS = {
    "ADD": ("a source and a destination", "ADD SOURCE... DESTINATION"),
    "ARG": ("a name", "ARG NAME[=DEFAULT]..."),
    "CMD": ("a command", 'CMD ["program", "argument"] or CMD command'),
    "COPY": ("a source and a destination", "COPY SOURCE... DESTINATION"),
    "ENTRYPOINT": ("a command", 'ENTRYPOINT ["program", "argument"] or ENTRYPOINT command'),
    "ENV": ("a name and a value", "ENV NAME=VALUE..."),
    "EXPOSE": ("a port", "EXPOSE PORT[/PROTOCOL]..."),
    "FROM": ("an image", "FROM IMAGE [AS NAME]"),
    "HEALTHCHECK": ("NONE or CMD and a command", "HEALTHCHECK [flags] CMD command"),
    "LABEL": ("a name and a value", "LABEL NAME=VALUE..."),
    "MAINTAINER": ("an author", "MAINTAINER NAME"),
    "ONBUILD": ("an instruction", "ONBUILD INSTRUCTION"),
    "RUN": ("a command", 'RUN command or RUN ["program", "argument"]'),
    "SHELL": ("a JSON array", 'SHELL ["/bin/bash", "-c"]'),
    "STOPSIGNAL": ("a signal", "STOPSIGNAL SIGTERM"),
    "USER": ("a user", "USER NAME[:GROUP]"),
    "VOLUME": ("a directory", "VOLUME DIRECTORY..."),
    "WORKDIR": ("a directory", "WORKDIR DIRECTORY"),
}


def parse_tree(context: Context) -> Tree[Token] | None:
    """The tree of the instruction, or None after reporting why there is none."""
    try:
        return parser_for(context.escape).parse(context.line.text)
    except _unexpected_input() as error:  # evaluated when there is something to catch
        at_end = getattr(getattr(error, "token", None), "type", "") == "$END"
        text = context.line.text
        start: int = len(text) if at_end else getattr(error, "pos_in_stream", 0)
        _report(context, start, expected=_expected(error))
        return None


def _unexpected_input() -> type[UnexpectedInput]:
    from lark import UnexpectedInput

    return UnexpectedInput


def _expected(error: UnexpectedInput) -> frozenset[str]:
    names = getattr(error, "expected", None) or getattr(error, "allowed", None) or ()
    return frozenset(map(str, names))


def _report(context: Context, start: int, *, expected: frozenset[str]) -> None:
    text = context.line.text
    found = text[start:].split(maxsplit=1)[0] if text[start:].strip() else ""
    keyword, keyword_end = _keyword(text[:start])
    if "_RUN" in expected and found.upper() in KEYWORDS:
        message = f"ONBUILD cannot hold {found.upper()}"
        context.report(message, start, start + len(found), code="onbuild-forbidden")
    elif "_RUN" in expected and found:
        _report_unknown(context, found, start)
    elif not found:
        _report_missing(context, keyword, keyword_end, expected)
    else:
        message, hint = _unexpected(keyword, found, expected)
        if keyword == "SHELL" and (miss := near_miss(text[start:])):
            message = f"SHELL needs a JSON array: {miss.reason}"
            start, end = start + miss.start, start + miss.end
        else:
            end = start + len(found)
        if found.startswith("#"):
            hint = "a comment has its own line"
        context.report(message, start, end, code="unexpected-argument", hint=hint)


def _keyword(before: str) -> tuple[str, int]:
    """The instruction that the text belongs to, past ONBUILD, and where its name ends."""
    keyword, end, position = "", 0, 0
    for word in before.split(maxsplit=2)[:2]:
        if word.upper() not in KEYWORDS:
            break
        position = before.index(word, position) + len(word)
        keyword, end = word.upper(), position
        if keyword != "ONBUILD":
            break
    return keyword, end


def _report_unknown(context: Context, found: str, start: int) -> None:
    hint = did_you_mean(found.upper(), KEYWORDS)
    if found.upper().startswith("//SYNTAX="):
        hint = "a directive is written # syntax=IMAGE"
    message = f"unknown instruction {quoted(found)}"
    context.report(message, start, start + len(found), code="unknown-instruction", hint=hint)


def _report_missing(
    context: Context, keyword: str, keyword_end: int, expected: frozenset[str]
) -> None:
    text = context.line.text
    keyword = keyword or text.upper()
    keyword_end = keyword_end or len(text)
    start = keyword_end - len(keyword)
    if keyword == "FROM" and text.upper().split()[-1] == "AS" and "FLAGS" not in expected:
        _report_nothing(context, "AS needs a name", len(text) - 2, len(text), "FROM IMAGE AS NAME")
        return
    if keyword in ("ENV", "LABEL") and expected == {"REST"}:
        name = text.split()[-1]
        message = f"{keyword} {quoted(name)} has no value"
        hint = f"{keyword} {name}=VALUE" if len(name) < 40 else None
        _report_nothing(context, message, len(text) - len(name), len(text), hint)
        return
    quote = _open_quote(text[keyword_end:])
    if quote is not None:
        start = keyword_end + quote
        message = "a quote in this flag is never closed"
        context.report(message, start, len(text), code="open-quote")
        return
    needs, usage = _NEEDS.get(keyword, ("an argument", None))
    _report_nothing(context, f"{keyword} needs {needs}", start, keyword_end, usage)


def _open_quote(flags: str) -> int | None:
    """Where a quote opens in the flags that took the whole line with it."""
    found = None
    for index, char in enumerate(flags if flags.lstrip().startswith("--") else ""):
        if char in "\"'" and found is None:
            found = index
        elif found is not None and char == flags[found]:
            found = None
    return found


def _report_nothing(
    context: Context, message: str, start: int, end: int, hint: str | None
) -> None:
    context.report(message, start, end, code="missing-argument", hint=hint)


def _unexpected(keyword: str, found: str, expected: frozenset[str]) -> tuple[str, str | None]:
    """Message and hint for a word that stands where something else should."""
    match keyword:
        case "FROM" if "_AS" in expected:
            return f"expected AS or the end of the line, found {quoted(found)}", _NEEDS["FROM"][1]
        case "FROM":
            return f"unexpected {quoted(found)} after the stage name", _NEEDS["FROM"][1]
        case "ENV" | "LABEL" | "ARG":
            hint = 'a value with blanks needs quotes: NAME="a value"'
            return f"expected NAME=VALUE, found {quoted(found)}", hint
        case "SHELL":
            return f"SHELL needs a JSON array, found {quoted(found)}", _NEEDS["SHELL"][1]
        case "HEALTHCHECK" if "_CMD" in expected:
            return f"expected NONE or CMD, found {quoted(found)}", _NEEDS["HEALTHCHECK"][1]
        case "HEALTHCHECK":
            return f"HEALTHCHECK NONE takes no arguments, found {quoted(found)}", None
    return f"unexpected {quoted(found)}", None
