"""How a file is written: case, continuations, old forms, descriptions, check options."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from grammar.instructions import Arg, Env, Instruction, Label, Maintainer
from grammar.lint.model import Problem, rule
from grammar.lint.options import (
    ALL,
    CheckOptionError,
    is_option,
    options_above,
    parse_options,
)
from grammar.lint.places import keyword
from grammar.lint.view import View, problem, triggered
from grammar.source import Span
from grammar.suggestion import did_you_mean


@rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
    page="no-empty-continuation",
)
def no_empty_continuation(view: View) -> Iterator[Problem]:
    instructions = list(_all(view))
    starts = [instruction.span.line for instruction in instructions]
    blank = {bisect_right(starts, n): n for n in reversed(view.containerfile.blank_continuations)}
    for index, number in sorted(blank.items()):
        instruction = instructions[index - 1]
        # BuildKit gives the line where the instruction ends.
        last = max(instruction.span.end_line, number)
        yield Problem(
            message="Empty continuation line",
            span=Span.within(number, 1),
            instruction=instruction,
            lines=(last, last),
        )


@rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    page="consistent-instruction-casing",
)
def consistent_instruction_casing(view: View) -> Iterator[Problem]:
    written = [(instruction, keyword(instruction)) for instruction in _in_stages(view)]
    lower = sum(name.islower() for _, name in written)
    upper = sum(name.isupper() for _, name in written)
    for instruction, name in written:
        if lower > upper and not name.islower():
            casing = "lowercase"
        elif lower <= upper and not name.isupper():
            casing = "uppercase"
        else:
            continue
        message = f"Command '{name}' should match the case of the command majority ({casing})"
        yield problem(instruction, message)


@rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    page="maintainer-deprecated",
)
def maintainer_deprecated(view: View) -> Iterator[Problem]:
    for instruction in view.instructions():
        if isinstance(instruction, Maintainer):
            message = "Maintainer instruction is deprecated in favor of using label"
            hint = f'LABEL org.opencontainers.image.authors="{instruction.author}"'
            yield problem(instruction, message, hint=hint)


@rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    page="legacy-key-value-format",
)
def legacy_key_value_format(view: View) -> Iterator[Problem]:
    for instruction in view.instructions():
        inner = triggered(instruction)
        if isinstance(inner, Env | Label) and inner.legacy:
            name = keyword(inner)
            new, old = f'"{name} key=value"', f'"{name} key value"'
            message = f"{new} should be used instead of legacy {old} format"
            (pair,) = inner.pairs
            yield problem(instruction, message, pair.key.span.through(pair.value.span))


@rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> "
    "<description>`. If this is not intended to be a description comment, add an empty line or "
    "comment between the instruction and the comment.",
    page="invalid-definition-description",
    experimental=True,
)
def invalid_definition_description(view: View) -> Iterator[Problem]:
    for instruction in _all(view):
        if isinstance(instruction, Arg):
            name, names = "ARG", tuple(pair.name for pair in instruction.pairs)
        else:
            stage_name = getattr(instruction, "name", None)
            name, names = "FROM", (stage_name,) if isinstance(stage_name, str) else ()
        comments = [comment for comment in instruction.comments if not is_option(comment)]
        if not names or not comments or comments[-1].split(" ")[0] in names:
            continue
        example = names[0] if len(names) == 1 else "<arg_key>"
        message = f"Comment for {name} should follow the format: `# {example} <description>`"
        yield problem(instruction, message)


@rule("InvalidCheckOption", "A check option should name rules that exist")
def invalid_check_option(view: View) -> Iterator[Problem]:
    known = (*view.rule_names, ALL)
    for directive in view.containerfile.directives:
        if directive.name == "check":
            for message, hint in _faults(directive.value, known):
                yield Problem(message=message, span=directive.span, instruction=None, hint=hint)
    for instruction in _all(view):
        for text in options_above(instruction):
            for message, hint in _faults(text, known):
                yield problem(instruction, f"In the comment above: {message}", hint=hint)


def _faults(text: str, known: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    try:
        options = parse_options(text)
    except CheckOptionError as error:
        yield str(error), error.hint
        return
    for name in sorted(options.skip | options.experimental):
        if name not in known:
            yield f"There is no rule '{name}'", did_you_mean(name, known)


def _in_stages(view: View) -> Iterator[Instruction]:
    for stage in view.containerfile.stages:
        yield stage.from_
        yield from stage.instructions


def _all(view: View) -> Iterator[Instruction]:
    yield from view.containerfile.preamble
    yield from _in_stages(view)


RULES = (
    no_empty_continuation,
    consistent_instruction_casing,
    maintainer_deprecated,
    legacy_key_value_format,
    invalid_definition_description,
    invalid_check_option,
)
