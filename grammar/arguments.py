"""Arguments that several instructions share: words, commands, key-value pairs."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from grammar import json_form
from grammar.context import Context, place
from grammar.errors import quoted
from grammar.instructions import KeyValue
from grammar.json_near import near_miss
from grammar.parts import Command, ExecForm, ShellForm, Word

if TYPE_CHECKING:
    from lark import Token


_LATE_FLAG = re.compile(r"--[a-z]+(?:-[a-z]+)*(?:=|\Z)")


def command(context: Context, token: Token) -> Command:
    """Exec form or shell form: what is no JSON array of strings is text for the shell."""
    if token.type == "JSON_ARRAY":
        return ExecForm(args=strings(context, token))
    report_other_array(context, token)
    return ShellForm(text=str(token))


def words(context: Context, tokens: Sequence[Token]) -> tuple[Word, ...]:
    """The words of a list, in either form, without the markers of heredocs."""
    if tokens and tokens[0].type == "JSON_ARRAY":
        return json_words(context, tokens[0])
    if tokens:
        report_other_array(context, tokens[0])
    if "#" in context.line.text or " --" in context.line.text:
        _warn_of_misplaced(context, tokens)
    return tuple(context.token(token) for token in tokens if not _is_marker(context, token))


def _warn_of_misplaced(context: Context, tokens: Sequence[Token]) -> None:
    """Warn of a flag or a comment that became a path, because it stands after the first one."""
    for token in tokens[1:]:
        if _LATE_FLAG.match(token):
            message = f"{quoted(str(token))} is taken as a path: flags stand before the arguments"
            context.warn(message, *place(token), code="late-flag", hint="move it to the front")
        elif token.startswith("#"):
            message = f"{quoted(str(token))} is taken as a path: a comment has its own line"
            hint = "move the comment to the line above"
            context.warn(message, *place(token), code="late-comment", hint=hint)
            return


def strings(context: Context, token: Token) -> tuple[str, ...]:
    """The elements of a JSON array of strings."""
    return tuple(word.text for word in json_words(context, token, expanded=False))


def json_words(context: Context, token: Token, *, expanded: bool = True) -> tuple[Word, ...]:
    """The elements of a JSON array as words; spans are inside the quotes."""
    origin, _ = place(token)
    found: list[Word] = []
    for element in json_form.array(str(token)) or ():
        start, end = origin + element.start + 1, origin + element.end - 1
        written = context.line.word(start, end)
        text = json_form.well_formed(str(element.value))
        if "\0" in text:
            context.report(
                "a NUL character cannot be in an argument", start, end, code="nul-character"
            )
        decoded = text != written.text
        word = Word(text=text, span=written.span, joins=() if decoded else written.joins)
        found.append(context.checked(word) if expanded else word)
    return tuple(found)


def report_other_array(context: Context, token: Token) -> None:
    """Report a valid JSON array with something else than strings in it; warn of a near one.

    Only the whole rest of the line can be an array, so this looks from `token` on.
    """
    start, _ = place(token)
    if not token.startswith("["):
        return
    text = context.line.text[start:]
    elements = json_form.array(text)
    if elements is None:
        _warn_of_near_miss(context, text, start)
        return
    for element in elements:
        if not isinstance(element.value, str):
            message = "only strings can stand in a JSON array here"
            place_ = start + element.start, start + element.end
            context.report(message, *place_, code="json-not-strings")


def _warn_of_near_miss(context: Context, text: str, start: int) -> None:
    miss = near_miss(text)
    if miss is not None:
        message = f"this is no JSON array, so it is taken as plain text: {miss.reason}"
        hint = 'the exec form is written ["program", "argument"]'
        context.warn(
            message, start + miss.start, start + miss.end, code="json-fallback", hint=hint
        )


def key_values(
    context: Context, keyword: str, tokens: Sequence[Token]
) -> tuple[tuple[KeyValue, ...], bool]:
    """The pairs of ENV and LABEL, and whether they are in the legacy form."""
    first = tokens[0]
    if first.type == "KEY":
        pair = KeyValue(key=context.token(first), value=context.token(tokens[1]))
        return (pair,), True
    pairs: list[KeyValue] = []
    for token in tokens:
        start, end = place(token)
        equals = context.line.text.index("=", start)
        if equals == start:
            message = f"{keyword} has a value without a name"
            context.report(message, start, end, code="missing-name")
        key = context.word(start, equals)
        pairs.append(KeyValue(key=key, value=context.word(equals + 1, end)))
    return tuple(pairs), False


def one_word(context: Context, keyword: str, token: Token) -> Word:
    """The rest of the line where blanks cannot be part of the value."""
    _, end = place(token)
    rest = token.split(maxsplit=1)
    if len(rest) > 1 and not any(char in token for char in "\"'$"):
        message = f"{keyword} takes one word, found {quoted(rest[1])} as well"
        context.report(message, end - len(rest[1]), end, code="unexpected-argument")
    return context.token(token)


def _is_marker(context: Context, token: Token) -> bool:
    found = context.line.markers
    if not found:
        return False
    start, end = place(token)
    before = bisect_left(found, end, key=attrgetter("start"))  # those that start before `end`
    return before > 0 and found[before - 1].end > start
