"""What is wrong in a Containerfile, and where.

Exception
├── ContainerfileError     one fault at one place
└── ContainerfileErrors    every fault of one file, in the order of the file
"""

from __future__ import annotations

from collections.abc import Iterable

from grammar.source import Source, Span, printable

_LONGEST_QUOTE = 60


class ContainerfileError(Exception):
    """One fault. The parts are data; the text is made when it is printed."""

    def __init__(
        self, message: str, *, span: Span, source: Source, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.source = source
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.source.name}:{self.span.line}:{self.span.column}"
        text = f"{place}: {self.message}\n{self.source.excerpt(self.span)}"
        return text if self.hint is None else f"{text}\nhint: {self.hint}"


class ContainerfileErrors(Exception):
    """Every fault found in one file; never empty."""

    def __init__(self, errors: Iterable[ContainerfileError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: error.span))
        super().__init__(f"{len(self.errors)} errors")

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.errors))


def quoted(text: str) -> str:
    """`text` in quotes for a message: one line, no control characters, not too long."""
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 1] + "…"
    return f"'{printable(text)}'"
