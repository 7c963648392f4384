"""Which variables an instruction sees, and which stage or image a stage starts from.

This reads a file without building it: values that depend on a base image, or on what
a RUN does, are not known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from types import MappingProxyType

from grammar.containerfile import Containerfile, Stage
from grammar.errors import ContainerfileError
from grammar.expansion import variables
from grammar.instructions import Arg, ArgPair, Env, Instruction, KeyValue, Shell
from grammar.parts import Word

_PARTS = ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
AUTOMATIC = (*(f"{side}{part}" for side in ("TARGET", "BUILD") for part in _PARTS), "TARGETSTAGE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = frozenset((*_PROXIES, *map(str.lower, _PROXIES)))


class NoValue(Enum):
    """Why a variable that is declared has no value here."""

    UNSET = auto()  # ARG NAME, and nobody gave one
    UNKNOWN = auto()  # the build will tell


Value = str | NoValue
Values = dict[str, Value]


@dataclass(frozen=True, eq=False)  # no slots: cached properties need a __dict__
class StageScope:
    """One stage with what it starts from: another stage of the file, or an image."""

    stage: Stage
    base: StageScope | None
    image: str | None  # None: a stage, or a name that cannot be expanded
    scopes: Scopes = field(repr=False)

    @property
    def origin(self) -> StageScope:
        """The stage of the chain that starts from an image."""
        scope = self
        while scope.base is not None:
            scope = scope.base
        return scope

    @property
    def chain(self) -> Iterator[StageScope]:
        """This stage and those that it starts from."""
        scope: StageScope | None = self
        while scope is not None:
            yield scope
            scope = scope.base

    @property
    def from_scratch(self) -> bool:
        """Whether no image lies below."""
        return self.origin.image == "scratch"

    @cached_property
    def variables(self) -> Mapping[str, Value]:
        """The variables at the end of the stage."""
        values, fixed = self._inherited()
        for instruction in self.stage.instructions:
            self._apply(instruction, values, fixed)
        return values

    def walk(self) -> Iterator[tuple[Instruction, Mapping[str, Value]]]:
        """Each instruction with the variables before it; these change as the walk goes on."""
        values, fixed = self._inherited()
        environment = MappingProxyType(values)
        for instruction in self.stage.instructions:
            yield instruction, environment
            self._apply(instruction, values, fixed)

    def argument(self, pair: ArgPair, values: Mapping[str, Value]) -> Value:
        """The value that ARG gives, with `values` before it."""
        given = self.scopes.build_args.get(pair.name)
        if given is not None:
            return given
        if pair.default is None:
            return self.scopes.globals.get(pair.name, NoValue.UNSET)
        default = self.scopes.expand(pair.default, values)
        return NoValue.UNKNOWN if default is None else default

    def shell_before(self, instruction: Instruction) -> tuple[str, ...] | None:
        """What SHELL says at `instruction` of the stage; None where the file is silent."""
        return self._shells[id(instruction)]

    @cached_property
    def _shells(self) -> dict[int | None, tuple[str, ...] | None]:
        """By instruction; the last one, for None, is that of the stages which start here."""
        shell = None if self.base is None else self.base._shells[None]
        shells: dict[int | None, tuple[str, ...] | None] = {}
        for instruction in self.stage.instructions:
            shells[id(instruction)] = shell
            if isinstance(instruction, Shell):
                shell = instruction.args
        return {**shells, None: shell}

    @cached_property
    def _env_names(self) -> frozenset[str]:
        """Names that an ENV of the chain sets: no later ARG changes them."""
        own = (
            pair.key.text
            for instruction in self.stage.instructions
            if isinstance(instruction, Env)
            for pair in instruction.pairs
        )
        return frozenset(own) | (self.base._env_names if self.base else frozenset())

    def _inherited(self) -> tuple[Values, set[str]]:
        """The variables at the start, and which of them an ENV has set."""
        if self.base is not None:
            return dict(self.base.variables), set(self.base._env_names)
        known = self.scopes.base_variables.get(self.image or "", ())
        return dict.fromkeys(("PATH", *known), NoValue.UNKNOWN), {"PATH", *known}

    def _apply(self, instruction: Instruction, values: Values, fixed: set[str]) -> None:
        if isinstance(instruction, Arg):
            for pair in instruction.pairs:
                if pair.name not in fixed:
                    values[pair.name] = self.argument(pair, values)
        elif isinstance(instruction, Env):
            # All of one instruction see what was before it.
            new = [self._setting(pair, values) for pair in instruction.pairs]
            new = [(name, value) for name, value in new if name]
            values.update(new)
            fixed.update(name for name, _ in new)

    def _setting(self, pair: KeyValue, values: Mapping[str, Value]) -> tuple[str, Value]:
        key = self.scopes.expand(pair.key, values) or ""  # empty: only the build can tell
        value = self.scopes.expand(pair.value, values)
        return key, NoValue.UNKNOWN if value is None else value


class Scopes:
    """The stages of a file with their variables."""

    def __init__(
        self,
        containerfile: Containerfile,
        *,
        build_args: Mapping[str, str],
        platform: str | None = None,
        named_contexts: Collection[str] = (),
        base_variables: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.containerfile = containerfile
        self.build_args = build_args
        self.platform = platform
        self.base_variables = base_variables or {}
        self.defaults = self._globals({})  # of the file alone
        self.globals = self._globals(build_args)
        self.stages = self._stages(named_contexts)

    def expand(self, word: Word, values: Mapping[str, Value]) -> str | None:
        """The value of a word, None when it cannot be told."""
        if "$" not in word.text:
            return self.containerfile.unquote(word)
        names = variables(word.text, escape=self.containerfile.escape)
        if any(values.get(name) is NoValue.UNKNOWN for name in names):
            return None
        known = {name: value for name in names if isinstance(value := values.get(name), str)}
        try:
            return self.containerfile.expand(word, known)
        except ContainerfileError:
            return None

    def _globals(self, build_args: Mapping[str, str]) -> Values:
        values: Values = dict.fromkeys(AUTOMATIC, NoValue.UNKNOWN)
        if self.platform is not None:
            values["TARGETPLATFORM"] = self.platform
        for pair in (pair for arg in self.containerfile.preamble for pair in arg.pairs):
            if pair.name in build_args:
                values[pair.name] = build_args[pair.name]
            elif pair.default is not None:
                default = self.expand(pair.default, values)
                values[pair.name] = NoValue.UNKNOWN if default is None else default
            else:
                values.setdefault(pair.name, NoValue.UNSET)
        return values

    def _stages(self, named_contexts: Collection[str]) -> tuple[StageScope, ...]:
        scopes: list[StageScope] = []
        names: dict[str, StageScope] = {}
        for stage in self.containerfile.stages:
            image = self.expand(stage.from_.image, self.globals)
            # A stage may be called scratch, but FROM scratch is always the empty image.
            base = None if image == "scratch" else names.get((image or "").lower())
            scopes.append(StageScope(stage, base, None if base else image, self))
            if stage.name is not None and stage.name not in named_contexts:
                names[stage.name] = scopes[-1]
        return tuple(scopes)
