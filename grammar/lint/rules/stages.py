"""Names and reachability of stages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from grammar.descriptions import describe
from grammar.instructions import Bootstrap, Copy, Run
from grammar.lint.model import Problem, rule
from grammar.lint.places import keyword, place
from grammar.lint.view import View, problem, triggered
from grammar.mount_keys import read_mount

_RESERVED = ("context", "scratch")
_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


@rule("StageNameCasing", "Stage names should be lowercase", page="stage-name-casing")
def stage_name_casing(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        span = stage.from_.name_span
        name = "" if span is None else view.containerfile.source.slice(span)
        if name != name.lower():
            yield problem(stage.from_, f"Stage name '{name}' should be lowercase", span)


@rule(
    "FromAsCasing",
    "The 'as' keyword should match the case of the 'from' keyword",
    page="from-as-casing",
)
def from_as_casing(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        if stage.name is None:
            continue
        text, from_ = stage.from_.text, keyword(stage.from_)
        as_ = text.split()[-2]
        # A FROM in mixed case is a matter of ConsistentInstructionCasing.
        fits = as_.islower() if from_.islower() else as_.isupper() or not from_.isupper()
        if not fits:
            start = text.rindex(as_, 0, text.rindex(text.split()[-1]))
            span = place(view.containerfile, stage.from_, start, start + len(as_))
            message = f"'{as_}' and '{from_}' keywords' casing do not match"
            yield problem(stage.from_, message, span)


@rule("DuplicateStageName", "Stage names should be unique", page="duplicate-stage-name")
def duplicate_stage_name(view: View) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for stage in view.containerfile.stages:
        if stage.name is None:
            continue
        if stage.name in seen:
            message = f'Duplicate stage name "{stage.name}", stage names should be unique'
            hint = f"the other one is on line {seen[stage.name]}"
            yield problem(stage.from_, message, stage.from_.name_span, hint=hint)
        seen[stage.name] = stage.span.line


@rule(
    "ReservedStageName",
    "Reserved words should not be used as stage names",
    page="reserved-stage-name",
)
def reserved_stage_name(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        if stage.name in _RESERVED:
            message = "Stage name should not use the same name as reserved stage"
            yield problem(stage.from_, f'{message} "{stage.name}"', stage.from_.name_span)


@rule("UnusedStage", "A stage should be the target or be used by another stage")
def unused_stage(view: View) -> Iterator[Problem]:
    used = {view.target.stage.index, view.stages[-1].stage.index, *_used_stages(view)}
    for scope in view.stages:
        stage = scope.stage
        # A description says that the stage is meant to be a target of its own.
        if stage.index in used or describe(stage.from_.comments, stage.name):
            continue
        name = "This stage" if stage.name is None else f"Stage '{stage.name}'"
        hint = "if it is a target of its own, say so: '# NAME DESCRIPTION' above FROM"
        span = stage.from_.name_span
        yield problem(stage.from_, f"{name} is used by no other stage", span, hint=hint)


def _used_stages(view: View) -> Iterator[int]:
    """Numbers of the stages that others start from, copy from or mount."""
    names: dict[str, int] = {}
    for scope in view.stages:
        if scope.base is not None:
            yield scope.base.stage.index
        yield from _possible_bases(scope.stage.from_.image.text, names)
        for instruction, variables in scope.walk():
            match triggered(instruction):
                case Copy(from_=word) if word is not None:
                    found = [view.expand(word, variables)]
                case Run(mounts=mounts) | Bootstrap(mounts=mounts, tools=None):
                    found = [read_mount(mount).get("from") for mount in mounts]
                case Bootstrap(tools=word) if word is not None:
                    found = [view.expand(word, variables)]
                case _:
                    found = []
            for name in (name.lower() for name in found if name):
                if name.isdigit():
                    yield int(name)
                elif name in names:
                    yield names[name]
        if scope.stage.name is not None:
            names[scope.stage.name] = scope.stage.index


def _possible_bases(written: str, names: Mapping[str, int]) -> Iterator[int]:
    """Stages that `FROM name-$VARIABLE` can mean: one of them is, for some value."""
    literal = [re.escape(part) for part in _VARIABLE.split(written.lower())]
    if len(literal) > 1:
        expression = re.compile(".*".join(literal))
        yield from (index for name, index in names.items() if expression.fullmatch(name))


RULES = (
    stage_name_casing,
    from_as_casing,
    duplicate_stage_name,
    reserved_stage_name,
    unused_stage,
)
