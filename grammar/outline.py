"""What a file offers: its targets, and the arguments, secrets and mounts of one of them.

It is what `docker build --call=outline|targets` shows; outline_formats.py prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from posixpath import basename, normpath

from grammar.containerfile import Containerfile, Stage
from grammar.descriptions import describe
from grammar.expansion import variables
from grammar.instructions import Arg, ArgPair, Bootstrap, Copy, Instruction, Run
from grammar.mount_keys import mount_target, read_mount
from grammar.parts import Word
from grammar.scopes import AUTOMATIC, Scopes, StageScope, Value
from grammar.source import Span, printable
from grammar.suggestion import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stage as a target."""

    name: str | None
    description: str
    base: str  # as written
    platform: str  # as written
    is_default: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A build argument and the value it would have; None when it has none."""

    name: str
    value: str | None
    description: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """A secret, an agent's socket or a cache that some RUN mounts."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a build of `target` takes, in the order of the file."""

    target: Target
    arguments: tuple[Argument, ...]
    secrets: tuple[Needed, ...]
    ssh: tuple[Needed, ...]
    caches: tuple[Needed, ...]
    stages: tuple[str, ...]  # names or numbers of the stages that are built


def targets(containerfile: Containerfile) -> tuple[Target, ...]:
    """The stages of a file; the last one is built when none is named."""
    last = containerfile.stages[-1]
    return tuple(_target(stage, is_default=stage is last) for stage in containerfile.stages)


def outline(
    containerfile: Containerfile,
    target: str | None = None,
    build_args: Mapping[str, str] | None = None,
    platform: str | None = None,
) -> Outline:
    """What a build takes. Raises a ContainerfileError when there is no such target."""
    scopes = Scopes(containerfile, build_args=build_args or {}, platform=platform)
    wanted = _find(scopes, target)
    reached = tuple(_reached(scopes, wanted))
    needed = [need for scope in reached for need in _mounts(scope)]
    return Outline(
        target=targets(containerfile)[wanted.stage.index],
        arguments=_arguments(scopes, reached),
        secrets=_needed(needed, "secret"),
        ssh=_needed(needed, "ssh"),
        caches=_needed(needed, "cache"),
        stages=tuple(scope.stage.name or str(scope.stage.index) for scope in reached),
    )


def _target(stage: Stage, *, is_default: bool) -> Target:
    platform = stage.from_.platform
    return Target(
        name=stage.name,
        description=describe(stage.from_.comments, stage.name),
        base=stage.from_.image.text,
        platform="" if platform is None else platform.text,
        is_default=is_default,
        span=stage.from_.span,
    )


def _find(scopes: Scopes, target: str | None) -> StageScope:
    if target is None:
        return scopes.stages[-1]
    for scope in reversed(scopes.stages):
        if target.lower() in (scope.stage.name, str(scope.stage.index)):
            return scope
    names = [scope.stage.name for scope in scopes.stages if scope.stage.name]
    place = scopes.containerfile.stages[-1].from_.span
    message = f"there is no stage '{printable(target)}'"
    raise scopes.containerfile.error(message, place, hint=did_you_mean(target, names))


def _reached(scopes: Scopes, wanted: StageScope) -> Iterator[StageScope]:
    """The stages that a build of `wanted` needs, in the order of the file."""
    reached: set[int] = set()
    open_ = [wanted]
    while open_:
        scope = open_.pop()
        if scope.stage.index not in reached:
            reached.add(scope.stage.index)
            open_ += [] if scope.base is None else [scope.base]
            open_ += sources_of(scopes, scope)
    return (scope for scope in scopes.stages if scope.stage.index in reached)


def sources_of(scopes: Scopes, scope: StageScope) -> list[StageScope]:
    """The earlier stages that a stage copies from or mounts."""
    earlier = scopes.stages[: scope.stage.index]
    names = {str(other.stage.index): other for other in earlier}
    names |= {other.stage.name: other for other in earlier if other.stage.name}
    wanted = [
        name for instruction, values in scope.walk() for name in _from(scopes, instruction, values)
    ]
    return [names[name.lower()] for name in wanted if name and name.lower() in names]


def _from(
    scopes: Scopes, instruction: Instruction, values: Mapping[str, Value]
) -> Iterator[str | None]:
    match instruction:
        case Copy(from_=word) if word is not None:
            yield scopes.expand(word, values)
        case Run(mounts=mounts):
            yield from (read_mount(mount).get("from") for mount in mounts)
        case Bootstrap(mounts=mounts, tools=tools):
            yield from (read_mount(mount).get("from") for mount in mounts)
            yield None if tools is None else scopes.expand(tools, values)


def _arguments(scopes: Scopes, reached: tuple[StageScope, ...]) -> tuple[Argument, ...]:
    found: dict[str, Argument] = {}
    wanted = {name for scope in reached for name in _names_in_from(scopes, scope.stage)}
    for scope in reached:
        for instruction, values in scope.walk():
            if not isinstance(instruction, Arg):
                continue
            for pair in instruction.pairs:
                wanted |= {pair.name} if pair.default is None else set()
                found[pair.name] = _argument(pair, instruction, scope.argument(pair, values))
    for instruction in reversed(scopes.containerfile.preamble):
        for pair in reversed(instruction.pairs):
            if pair.name in wanted:
                wanted |= _names(scopes, pair.default)
                value = scopes.globals.get(pair.name)
                found.setdefault(pair.name, _argument(pair, instruction, value))
    return tuple(sorted(found.values(), key=lambda argument: argument.span))


def _argument(pair: ArgPair, instruction: Arg, value: Value | None) -> Argument:
    return Argument(
        name=pair.name,
        value=value if isinstance(value, str) else None,
        description=describe(instruction.comments, pair.name),
        span=pair.span,
    )


def _names_in_from(scopes: Scopes, stage: Stage) -> set[str]:
    return _names(scopes, stage.from_.image) | _names(scopes, stage.from_.platform)


def _names(scopes: Scopes, word: Word | None) -> set[str]:
    if word is None:
        return set()
    return set(variables(word.text, escape=scopes.containerfile.escape)) - set(AUTOMATIC)


def _mounts(scope: StageScope) -> Iterator[tuple[str, Needed]]:
    for instruction, values in scope.walk():
        if not isinstance(instruction, Run):
            continue
        for mount in instruction.mounts:
            value = scope.scopes.expand(mount, values)
            options = read_mount(mount if value is None else Word(text=value, span=mount.span))
            kind, target = options.get("type", "bind"), mount_target(options)
            name = options.get("id", "")
            match kind:
                case "secret":
                    name = (
                        name or options.get("source", options.get("src", "")) or basename(target)
                    )
                case "ssh":
                    name = name or "default"
                case "cache":
                    name = name or normpath(target)
            required = options.get("required", "false").lower() == "true"
            yield kind, Needed(name=name, required=required, span=mount.span)


def _needed(found: list[tuple[str, Needed]], wanted: str) -> tuple[Needed, ...]:
    """Each name once: required if some mount requires it."""
    needs: dict[str, Needed] = {}
    for kind, need in found:
        if kind == wanted:
            earlier = needs.get(need.name, need)
            required = earlier.required or need.required
            needs[need.name] = Needed(name=need.name, required=required, span=earlier.span)
    return tuple(needs.values())
