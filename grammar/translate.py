"""Trees of containerfile.lark -> instructions, one function for each rule.

Each function gets the children of its rule, without the flags, and the flags already checked.
What is wrong in a value is reported through the context.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypedDict

from lark import Token, Tree

from grammar import instructions as ast
from grammar.arguments import command, key_values, one_word, strings, words
from grammar.bootstrap import bootstrap
from grammar.context import Context, place
from grammar.durations import duration_ns
from grammar.errors import quoted
from grammar.flags import Flags, read_flags
from grammar.instructions import Instruction
from grammar.parts import Word
from grammar.source import Span

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_MIN_INTERVAL_NS = 1_000_000

Tokens = Sequence[Token]


class _Common(TypedDict):
    span: Span
    text: str
    comments: tuple[str, ...]


def translate(context: Context, tree: Tree[Token]) -> Instruction:
    """The instruction of a whole tree."""
    rule = tree.children[0]
    assert isinstance(rule, Tree)
    return _instruction(context, rule)


def _instruction(context: Context, rule: Tree[Token]) -> Instruction:
    name = str(rule.data)
    first, *rest = rule.children
    flags = read_flags(context, name, first if isinstance(first, Token) else None)
    if name == "onbuild":
        assert isinstance(rest[0], Tree)
        return _onbuild(context, rest[0])
    tokens = [child for child in rest if isinstance(child, Token)]
    return _RULES[name](context, flags, tokens)


def _common(context: Context) -> _Common:
    line, start = context.line, context.start
    return {
        "span": line.span(start, len(line.text)),
        "text": line.text[start:],
        "comments": line.comments,
    }


def _onbuild(context: Context, rule: Tree[Token]) -> ast.Onbuild:
    start = rule.meta.start_pos
    bodies = (f"\n{heredoc.body}{heredoc.name}" for heredoc in context.line.heredocs)
    trigger = context.line.text[start:] + "".join(bodies)
    instruction = _instruction(replace(context, start=start), rule)
    return ast.Onbuild(**_common(context), instruction=instruction, trigger=trigger)


def _from(context: Context, flags: Flags, tokens: Tokens) -> ast.From:
    image, *rest = tokens
    name = name_span = None
    if rest:
        name = rest[0].lower()
        name_span = context.line.span(*place(rest[0]))
        if not _STAGE_NAME.fullmatch(name):
            hint = "it starts with a letter; then letters, digits, '-', '_' and '.'"
            message = f"{quoted(str(rest[0]))} is no name for a stage"
            context.report(message, *place(rest[0]), hint=hint)
    return ast.From(
        **_common(context),
        image=context.token(image),
        platform=flags.one("platform"),
        name=name,
        name_span=name_span,
    )


def _arg(context: Context, _flags: Flags, tokens: Tokens) -> ast.Arg:
    pairs: list[ast.ArgPair] = []
    for token in tokens:
        start, end = place(token)
        name, equals, _ = token.partition("=")
        if not name:
            context.report("ARG has a default without a name", start, end)
        default = context.word(start + len(name) + 1, end) if equals else None
        span = context.line.span(start, end)
        pairs.append(ast.ArgPair(name=name, default=default, span=span))
    return ast.Arg(**_common(context), pairs=tuple(pairs))


def _env(context: Context, _flags: Flags, tokens: Tokens) -> ast.Env:
    pairs, legacy = key_values(context, "ENV", tokens)
    return ast.Env(**_common(context), pairs=pairs, legacy=legacy)


def _label(context: Context, _flags: Flags, tokens: Tokens) -> ast.Label:
    pairs, legacy = key_values(context, "LABEL", tokens)
    return ast.Label(**_common(context), pairs=pairs, legacy=legacy)


def _run(context: Context, flags: Flags, tokens: Tokens) -> ast.Run:
    return ast.Run(
        **_common(context),
        command=command(context, tokens[0]),
        heredocs=context.line.heredocs,
        mounts=flags.all("mount"),
        network=flags.one("network"),
        security=flags.one("security"),
        devices=flags.all("device"),
    )


def _copy(context: Context, flags: Flags, tokens: Tokens) -> ast.Copy:
    sources, destination = _sources_and_destination(context, "COPY", tokens)
    return ast.Copy(
        **_common(context),
        sources=sources,
        heredocs=context.line.heredocs,
        destination=destination,
        from_=flags.one("from"),
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        link=flags.on("link"),
        parents=flags.on("parents"),
        exclude=flags.all("exclude"),
    )


def _add(context: Context, flags: Flags, tokens: Tokens) -> ast.Add:
    sources, destination = _sources_and_destination(context, "ADD", tokens)
    return ast.Add(
        **_common(context),
        sources=sources,
        heredocs=context.line.heredocs,
        destination=destination,
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        checksum=flags.one("checksum"),
        link=flags.on("link"),
        keep_git_dir=flags.choice("keep-git-dir"),
        unpack=flags.choice("unpack"),
        exclude=flags.all("exclude"),
    )


def _sources_and_destination(
    context: Context, keyword: str, tokens: Tokens
) -> tuple[tuple[Word, ...], Word]:
    found = words(context, tokens)
    start, _ = place(tokens[0])
    end = len(context.line.text)
    if context.line.markers and context.line.markers[-1].end == end:
        marker = context.line.markers[-1]
        context.report(
            f"a heredoc cannot be the destination of {keyword}", marker.start, marker.end
        )
    elif len(found) + len(context.line.markers) < 2:
        hint = f"{keyword} SOURCE... DESTINATION"
        context.report(f"{keyword} needs a source and a destination", start, end, hint=hint)
    return found[:-1], found[-1] if found else context.line.word(start, end)


def _cmd(context: Context, _flags: Flags, tokens: Tokens) -> ast.Cmd:
    return ast.Cmd(**_common(context), command=command(context, tokens[0]))


def _entrypoint(context: Context, _flags: Flags, tokens: Tokens) -> ast.Entrypoint:
    return ast.Entrypoint(**_common(context), command=command(context, tokens[0]))


def _workdir(context: Context, _flags: Flags, tokens: Tokens) -> ast.Workdir:
    return ast.Workdir(**_common(context), path=context.token(tokens[0]))


def _user(context: Context, _flags: Flags, tokens: Tokens) -> ast.User:
    return ast.User(**_common(context), user=context.token(tokens[0]))


def _expose(context: Context, _flags: Flags, tokens: Tokens) -> ast.Expose:
    return ast.Expose(**_common(context), ports=tuple(map(context.token, tokens)))


def _volume(context: Context, _flags: Flags, tokens: Tokens) -> ast.Volume:
    paths = words(context, tokens)
    if not paths or any(not path.text for path in paths):
        start, _ = place(tokens[0])
        context.report("VOLUME needs a directory", start, len(context.line.text))
    return ast.Volume(**_common(context), paths=paths)


def _stopsignal(context: Context, _flags: Flags, tokens: Tokens) -> ast.Stopsignal:
    return ast.Stopsignal(**_common(context), signal=one_word(context, "STOPSIGNAL", tokens[0]))


def _shell(context: Context, _flags: Flags, tokens: Tokens) -> ast.Shell:
    args = strings(context, tokens[0])
    if not args:
        hint = 'SHELL ["/bin/bash", "-c"]'
        context.report("SHELL needs a program", *place(tokens[0]), hint=hint)
    return ast.Shell(**_common(context), args=args)


def _maintainer(context: Context, _flags: Flags, tokens: Tokens) -> ast.Maintainer:
    return ast.Maintainer(**_common(context), author=str(tokens[0]))


def _healthcheck(context: Context, flags: Flags, tokens: Tokens) -> ast.Healthcheck:
    token = tokens[0]
    if token.type == "NONE" and flags.values:
        context.report("HEALTHCHECK NONE takes no flags", 0, place(token)[1])
    return ast.Healthcheck(
        **_common(context),
        command=None if token.type == "NONE" else command(context, token),
        interval_ns=_duration(context, flags, "interval"),
        timeout_ns=_duration(context, flags, "timeout"),
        start_period_ns=_duration(context, flags, "start-period"),
        start_interval_ns=_duration(context, flags, "start-interval"),
        retries=_retries(context, flags),
    )


def _duration(context: Context, flags: Flags, name: str) -> int:
    word = flags.one(name)
    if word is None or not word.text:
        return 0
    try:
        duration = duration_ns(word.text)
        if 0 < duration < _MIN_INTERVAL_NS:
            raise ValueError("is shorter than 1ms")
    except ValueError as error:
        hint = "a duration is written 30s, 1m30s or 500ms"
        context.report_at(f"--{name}: {quoted(word.text)} {error}", word, hint=hint)
        return 0
    return duration


def _retries(context: Context, flags: Flags) -> int:
    word = flags.one("retries")
    if word is None or not word.text:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", word.text):
        context.report_at(f"--retries: {quoted(word.text)} is no count", word)
        return 0
    return int(word.text)


_RULES: dict[str, Callable[[Context, Flags, Tokens], Instruction]] = {
    "add": _add,
    "arg": _arg,
    "bootstrap": bootstrap,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
