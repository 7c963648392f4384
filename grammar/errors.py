"""What is wrong in a Containerfile, and where.

Exception
├── ContainerfileError     one fault at one place
└── ContainerfileErrors    every fault of one file, in the order of the file

A ContainerfileWarning is a value, not an exception: the file means something, but perhaps not
what was meant. ERRORS.md explains every code of both.
"""

from __future__ import annotations

from collections.abc import Iterable

from grammar.record import Record
from grammar.source import Source, Span, printable

_LONGEST_QUOTE = 60
_SHOWN = 100  # errors that the text of ContainerfileErrors holds at most


class Note(Record, kw_only=False):
    """A second place that belongs to an error."""

    message: str
    span: Span


class ContainerfileError(Exception):
    """One fault. The parts are data; the text is made when it is printed."""

    def __init__(
        self,
        message: str,
        *,
        span: Span,
        source: Source,
        hint: str | None = None,
        code: str = "error",
        notes: tuple[Note, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.source = source
        self.hint = hint
        self.code = code
        self.notes = notes

    def __str__(self) -> str:
        return _text(self.source, self.span, self.message, self.hint, self.notes)

    def to_json(self) -> dict[str, object]:
        """The parts, ready for json.dumps."""
        document = _json(self.source, self.span, self.code, self.message, self.hint)
        notes = [{"message": note.message, **place_to_json(note.span)} for note in self.notes]
        return {"severity": "error", **document, "notes": notes}


class ContainerfileErrors(Exception):
    """Every fault found in one file; never empty."""

    def __init__(self, errors: Iterable[ContainerfileError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: error.span))
        super().__init__(f"{len(self.errors)} errors")

    def to_json(self) -> list[dict[str, object]]:
        """All of them, ready for json.dumps."""
        return [error.to_json() for error in self.errors]

    def __str__(self) -> str:
        texts = [str(error) for error in self.errors[:_SHOWN]]
        if len(self.errors) > _SHOWN:
            texts.append(f"and {len(self.errors) - _SHOWN} more errors")
        return "\n\n".join(texts)


class ContainerfileWarning(Record):
    """What deserves a look. `code` is explained in ERRORS.md."""

    code: str
    message: str
    span: Span
    hint: str | None = None

    def text(self, source: Source) -> str:
        """The warning with its place and an excerpt, as an error prints itself."""
        return _text(source, self.span, f"warning: {self.message}", self.hint, ())

    def to_json(self, source: Source) -> dict[str, object]:
        """The parts, ready for json.dumps."""
        document = _json(source, self.span, self.code, self.message, self.hint)
        return {"severity": "warning", **document}


def place_to_json(span: Span) -> dict[str, int]:
    """A span as lines and columns from 1; the end is one past the last character."""
    return {
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def quoted(text: str) -> str:
    """`text` in quotes for a message: one line, no control characters, not too long."""
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 1] + "…"
    return f"'{printable(text)}'"


def _text(
    source: Source, span: Span, message: str, hint: str | None, notes: tuple[Note, ...]
) -> str:
    parts = [f"{source.name}:{span.line}:{span.column}: {message}", source.excerpt(span)]
    for note in notes:
        parts += [f"note: {note.message}", source.excerpt(note.span)]
    if hint is not None:
        parts.append(f"hint: {hint}")
    return "\n".join(parts)


def _json(
    source: Source, span: Span, code: str, message: str, hint: str | None
) -> dict[str, object]:
    return {
        "code": code,
        "message": message,
        "file": source.name,
        **place_to_json(span),
        "hint": hint,
    }
