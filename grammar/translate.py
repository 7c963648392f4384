"""Trees of containerfile.lark -> instructions, one function for each rule.

Each function gets the children of its rule, without the flags, and the flags already checked.
What is wrong in a value is reported through the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

from grammar import instructions as ast
from grammar.arguments import command, key_values, one_word, strings, words
from grammar.bootstrap import bootstrap
from grammar.checks import check_added, check_copied, check_mounts, check_paths
from grammar.context import Context, place
from grammar.flags import Flags, read_flags
from grammar.healthcheck import healthcheck
from grammar.instructions import Instruction
from grammar.parts import Word
from grammar.source import Span
from grammar.values.names import parse_stage_name
from grammar.values.ports import parse_ports
from grammar.values.signals import parse_signal

if TYPE_CHECKING:
    from lark import Token, Tree

    Tokens = Sequence[Token]


class _Common(TypedDict):
    span: Span
    text: str
    comments: tuple[str, ...]


def translate(context: Context, tree: Tree[Token]) -> Instruction:
    """The instruction of a whole tree."""
    rule = tree.children[0]
    assert not isinstance(rule, str)
    return _instruction(context, rule)


def _instruction(context: Context, rule: Tree[Token]) -> Instruction:
    name = str(rule.data)
    first, *rest = rule.children
    # A token is a str, a tree is not; `first` is None where there are no flags.
    flags = read_flags(context, name, first if isinstance(first, str) else None)
    if name == "onbuild":
        assert not isinstance(rest[0], str)
        return _onbuild(context, rest[0])
    tokens = [child for child in rest if isinstance(child, str)]
    return _RULES[name](context, flags, tokens)


def _common(context: Context) -> _Common:
    line, start = context.line, context.start
    return {
        "span": line.span(start, len(line.text)),
        "text": line.text[start:],
        "comments": line.comments,
    }


def _onbuild(context: Context, rule: Tree[Token]) -> ast.Onbuild:
    line = context.line.text
    start = context.start + len("ONBUILD")
    while line[start].isspace():
        start += 1
    bodies = (f"\n{heredoc.body}{heredoc.name}" for heredoc in context.line.heredocs)
    trigger = line[start:] + "".join(bodies)
    instruction = _instruction(context.replace(start=start), rule)
    return ast.Onbuild(**_common(context), instruction=instruction, trigger=trigger)


def _from(context: Context, flags: Flags, tokens: Tokens) -> ast.From:
    image, *rest = tokens
    name = name_span = None
    if rest:
        name = rest[0].lower()
        word = context.line.word(*place(rest[0]))
        name_span = word.span
        context.parsed(word, parse_stage_name)
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
            message = "ARG has a default without a name"
            context.report(message, start, end, code="missing-name")
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
    check_mounts(context, flags.all("mount"))
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
    check_copied(context, sources)
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
    check_added(context, sources, flags.one("checksum"))
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
        message = f"a heredoc cannot be the destination of {keyword}"
        context.report(message, marker.start, marker.end, code="heredoc-destination")
    elif len(found) + len(context.line.markers) < 2:
        hint = f"{keyword} SOURCE... DESTINATION"
        message = f"{keyword} needs a source and a destination"
        context.report(message, start, end, code="missing-argument", hint=hint)
    return found[:-1], found[-1] if found else context.line.word(start, end)


def _cmd(context: Context, _flags: Flags, tokens: Tokens) -> ast.Cmd:
    return ast.Cmd(**_common(context), command=command(context, tokens[0]))


def _entrypoint(context: Context, _flags: Flags, tokens: Tokens) -> ast.Entrypoint:
    return ast.Entrypoint(**_common(context), command=command(context, tokens[0]))


def _workdir(context: Context, _flags: Flags, tokens: Tokens) -> ast.Workdir:
    path = context.token(tokens[0])
    check_paths(context, "WORKDIR", [path])
    return ast.Workdir(**_common(context), path=path)


def _user(context: Context, _flags: Flags, tokens: Tokens) -> ast.User:
    return ast.User(**_common(context), user=context.token(tokens[0]))


def _expose(context: Context, _flags: Flags, tokens: Tokens) -> ast.Expose:
    ports = tuple(map(context.token, tokens))
    for port in ports:
        context.valid(port, parse_ports)
        if port.text.startswith("#"):
            break  # a comment: its words are no news
    return ast.Expose(**_common(context), ports=ports)


def _volume(context: Context, _flags: Flags, tokens: Tokens) -> ast.Volume:
    paths = words(context, tokens)
    if not paths:
        context.report("VOLUME needs a directory", *place(tokens[0]), code="missing-argument")
    check_paths(context, "VOLUME", paths)
    return ast.Volume(**_common(context), paths=paths)


def _stopsignal(context: Context, _flags: Flags, tokens: Tokens) -> ast.Stopsignal:
    signal = one_word(context, "STOPSIGNAL", tokens[0])
    if len(signal.text.split()) == 1:
        context.valid(signal, parse_signal)
    return ast.Stopsignal(**_common(context), signal=signal)


def _shell(context: Context, _flags: Flags, tokens: Tokens) -> ast.Shell:
    args = strings(context, tokens[0])
    if not args:
        hint = 'SHELL ["/bin/bash", "-c"]'
        place_ = place(tokens[0])
        context.report("SHELL needs a program", *place_, code="missing-argument", hint=hint)
    return ast.Shell(**_common(context), args=args)


def _maintainer(context: Context, _flags: Flags, tokens: Tokens) -> ast.Maintainer:
    return ast.Maintainer(**_common(context), author=str(tokens[0]))


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
    "healthcheck": healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
