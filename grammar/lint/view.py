"""What a rule's function gets to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from grammar.containerfile import Containerfile
from grammar.instructions import Instruction, Onbuild
from grammar.lint.model import LintContext, Problem
from grammar.lint.places import keyword_span
from grammar.lint.scripts import Script, scripts
from grammar.parts import Word
from grammar.scopes import Scopes, StageScope, Value
from grammar.source import Span


@dataclass(frozen=True, eq=False)  # no slots: cached properties need a __dict__
class View:
    """A file, what is known about its build, and places in it."""

    containerfile: Containerfile
    context: LintContext
    rule_names: tuple[str, ...]

    @cached_property
    def scopes(self) -> Scopes:
        """Stages and variables."""
        return Scopes(
            self.containerfile,
            build_args=self.context.build_args,
            platform=self.context.platform,
            named_contexts=self.context.named_contexts,
            base_variables=self.context.base_variables,
        )

    @property
    def stages(self) -> tuple[StageScope, ...]:
        """The stages in the order of the file."""
        return self.scopes.stages

    @cached_property
    def target(self) -> StageScope:
        """The stage that is built: by name or number, else the last."""
        wanted = (self.context.target or "").lower()
        for scope in reversed(self.stages):
            if wanted and wanted in (scope.stage.name, str(scope.stage.index)):
                return scope
        return self.stages[-1]

    def instructions(self) -> Iterator[Instruction]:
        """All instructions of all stages, without the FROMs."""
        for stage in self.containerfile.stages:
            yield from stage.instructions

    def walk(self) -> Iterator[tuple[StageScope, Instruction, Mapping[str, Value]]]:
        """All instructions, each with its stage and the variables before it."""
        for scope in self.stages:
            for instruction, variables in scope.walk():
                yield scope, instruction, variables

    def expand(self, word: Word, variables: Mapping[str, Value]) -> str | None:
        """The value of a word, None when only the build can tell."""
        return self.scopes.expand(word, variables)

    @cached_property
    def scripts(self) -> tuple[Script, ...]:
        """What the RUNs of all stages give to a POSIX shell."""
        return tuple(scripts(self.containerfile, self.stages))


def problem(
    instruction: Instruction, message: str, span: Span | None = None, *, hint: str | None = None
) -> Problem:
    """A problem of an instruction; without a span, at its name."""
    place = keyword_span(instruction) if span is None else span
    return Problem(message=message, span=place, instruction=instruction, hint=hint)


def triggered(instruction: Instruction) -> Instruction:
    """The instruction itself, or the one below ONBUILD."""
    return instruction.instruction if isinstance(instruction, Onbuild) else instruction
