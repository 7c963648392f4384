"""The values of the linter: rules, what they are told, what they find."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grammar.ignore import IgnoreRules
from grammar.instructions import Instruction
from grammar.source import Span

if TYPE_CHECKING:
    from grammar.lint.view import View

_DOCKER = "https://docs.docker.com/go/dockerfile/rule/"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintContext:
    """What a build knows beyond the file. A rule that needs what is not here stays silent."""

    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: str | None = None  # of the image to build, as linux/amd64
    ignore: IgnoreRules | None = None
    named_contexts: Collection[str] = ()  # --build-context: they stand in for images and stages
    unused_build_args: Collection[str] = ()  # as the planner found; undeclared ones need no help
    base_platforms: Mapping[str, str] = field(default_factory=dict)  # image -> what was pulled
    base_variables: Mapping[str, Collection[str]] = field(default_factory=dict)  # image -> its ENV


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a rule's function finds."""

    message: str
    span: Span  # as exact as the rule can be
    instruction: Instruction | None  # None: the file as a whole
    lines: tuple[int, int] | None = None  # where BuildKit has it, if not at the instruction
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be found. An experimental rule runs only where it is asked for."""

    name: str
    description: str
    find: Callable[[View], Iterable[Problem]] = field(repr=False)
    page: str = ""  # of Docker's build checks
    experimental: bool = False

    @property
    def url(self) -> str:
        """Where the rule is explained, or an empty string."""
        return f"{_DOCKER}{self.page}/" if self.page else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem; `lines` are the first and the last line that BuildKit gives for it."""

    rule: Rule
    message: str
    span: Span
    lines: tuple[int, int]
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class LintResult:
    """All findings in the order of the file; `fail` when the file wants them to be errors."""

    findings: tuple[Finding, ...]
    fail: bool


def rule(
    name: str, description: str, *, page: str = "", experimental: bool = False
) -> Callable[[Callable[[View], Iterable[Problem]]], Rule]:
    """Make a rule of the function below."""
    return lambda find: Rule(name, description, find, page, experimental)
