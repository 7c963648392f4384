"""`--call=expand`: what one word means with the variables given, without a Containerfile."""

from __future__ import annotations

from collections.abc import Iterable

from grammar.errors import ContainerfileError
from grammar.expansion import expand
from grammar.source import Source, Span
from grammar.suggestion import did_you_mean
from grammar.words import ExpansionError


def expand_word(word: str, assignments: Iterable[str], *, escape: str = "\\") -> str:
    """The value of `word` where NAME=VALUE holds for each of `assignments`.

    A later assignment wins. Raises ContainerfileError; its source is named "word", or
    "assignment" when one of those is at fault.
    """
    environment: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            span = Span.within(1, 1, max(1, len(assignment.partition("\n")[0])))
            message = "an assignment is written NAME=VALUE"
            source = Source("assignment", assignment)
            raise ContainerfileError(message, span=span, source=source, code="bad-assignment")
        environment[name] = value
    source = Source("word", word)
    try:
        return expand(word, environment, escape=escape)
    except ExpansionError as error:
        hint = did_you_mean(error.variable, environment) if error.variable else None
        span = _span(word, error.start, error.end)
        raise ContainerfileError(
            error.message, span=span, source=source, hint=hint, code=error.code
        ) from None


def _span(text: str, start: int, end: int) -> Span:
    first, last = _place(text, start), _place(text, max(start, end - 1))
    return Span(line=first[0], column=first[1], end_line=last[0], end_column=last[1] + 1)


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
