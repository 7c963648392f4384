"""The line pass: physical lines -> logical lines, each of which is one instruction.

Comments, continuations and heredocs depend on what was read before, so no context-free
grammar describes them. What leaves here is plain text with a map back to the source.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from grammar.errors import ContainerfileError, Note, quoted
from grammar.heredocs import Marker, markers
from grammar.limits import MAX_INSTRUCTION_LINES
from grammar.parts import Heredoc, Join, Word
from grammar.record import Record
from grammar.source import Source, Span

_NEAR = 3  # lines of a heredoc that look like its end, named in the error at most


class LogicalLine(Record):
    """The text of one instruction, continuations joined, and where each part stands."""

    text: str
    pieces: tuple[Join, ...]
    heredocs: tuple[Heredoc, ...]
    markers: tuple[Marker, ...]
    comments: tuple[str, ...]
    blank_lines: tuple[int, ...]  # inside the continuation
    last_line: int  # heredoc bodies included

    def span(self, start: int, end: int) -> Span:
        """Where `text[start:end]` stands; an empty range has an empty span."""
        if len(self.pieces) == 1:  # most instructions
            piece = self.pieces[0]
            column = piece.column + start - piece.offset
            return Span.within(piece.line, column, max(0, end - start))
        line, column = self._place(start)
        if end <= start:
            return Span.within(line, column, 0)
        end_line, end_column = self._place(end - 1)
        return Span(line=line, column=column, end_line=end_line, end_column=end_column + 1)

    @property
    def whole(self) -> Span:
        """The span of the instruction without its heredoc bodies."""
        return self.span(0, len(self.text))

    def word(self, start: int, end: int) -> Word:
        """The word `text[start:end]`."""
        if len(self.pieces) == 1:
            return Word(text=self.text[start:end], span=self.span(start, end))
        first = bisect_right(self.pieces, start, key=_offset)
        last = bisect_right(self.pieces, end - 1, key=_offset)
        joins = tuple(
            Join(offset=piece.offset - start, line=piece.line, column=piece.column)
            for piece in self.pieces[first:last]
        )
        return Word(text=self.text[start:end], span=self.span(start, end), joins=joins)

    def _place(self, offset: int) -> tuple[int, int]:
        piece = self.pieces[max(0, bisect_right(self.pieces, offset, key=_offset) - 1)]
        return piece.line, piece.column + offset - piece.offset


def _offset(piece: Join) -> int:
    return piece.offset


def read_lines(
    source: Source, *, escape: str, skip: int, errors: list[ContainerfileError]
) -> Iterator[LogicalLine]:
    """The logical lines after the first `skip` physical ones."""
    return _LinePass(source, escape, skip, errors).logical_lines()


class _LinePass:
    """One reading of a file; `_next` is the index of the next physical line."""

    def __init__(
        self, source: Source, escape: str, skip: int, errors: list[ContainerfileError]
    ) -> None:
        self._source = source
        # What follows the last line end is no line.
        self._lines = source.lines[:-1] if source.text.endswith("\n") else source.lines
        self._escape = escape
        self._next = skip
        self._errors = errors

    def logical_lines(self) -> Iterator[LogicalLine]:
        comments: list[str] = []
        while self._next < len(self._lines):
            line = self._lines[self._next].strip()
            if line and not line.startswith("#"):
                logical = self._logical_line(tuple(comments))
                comments = []
                if logical is not None:
                    yield logical
                continue
            self._next += 1
            comment = line.lstrip("#").strip()
            # A blank line, or a comment that is one, parts a comment from what follows.
            if comment:
                comments.append(comment)
            else:
                comments = []

    def _logical_line(self, comments: tuple[str, ...]) -> LogicalLine | None:
        parts: list[str] = []
        pieces: list[Join] = []
        blank_lines: list[int] = []
        length = 0
        continues = True
        first = self._next
        while continues and self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if self._next - first > MAX_INSTRUCTION_LINES:
                self._report_length(first)
                return None
            content = line.lstrip()
            if parts and (not content or content.startswith("#")):
                blank_lines += [] if content else [self._next]
                continue
            text, continues = self._without_continuation(line)
            pieces.append(Join(offset=length, line=self._next, column=1))
            parts.append(text)
            length += len(text)
        joined = "".join(parts)
        text = joined.strip()
        if not text:
            return None
        indent = len(joined) - len(joined.lstrip())
        shifted = (
            Join(offset=piece.offset - indent, line=piece.line, column=piece.column)
            for piece in pieces
        )
        return self._with_heredocs(text, tuple(shifted), comments, tuple(blank_lines))

    def _report_length(self, first: int) -> None:
        self._next = len(self._lines)
        self._errors.append(
            ContainerfileError(
                f"the instruction has more than {MAX_INSTRUCTION_LINES} lines",
                span=Span.within(first + 1, 1, max(1, len(self._lines[first]))),
                source=self._source,
                code="file-too-large",
            )
        )

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        text = line.rstrip(" \t")
        # An escaped escape character at the end is text.
        if not text.endswith(self._escape) or text.endswith(self._escape * 2):
            return line, False
        return text[:-1], True

    def _with_heredocs(
        self,
        text: str,
        pieces: tuple[Join, ...],
        comments: tuple[str, ...],
        blank_lines: tuple[int, ...],
    ) -> LogicalLine:
        found = markers(text)
        line = LogicalLine(
            text=text,
            pieces=pieces,
            heredocs=(),
            markers=found,
            comments=comments,
            blank_lines=blank_lines,
            last_line=self._next,
        )
        if not found:
            return line
        heredocs: list[Heredoc] = []
        for marker in found:
            heredoc = self._heredoc(marker, line.span(marker.start, marker.end))
            if heredoc is None:
                break  # it took the rest of the file: one error is enough
            heredocs.append(heredoc)
        return line.replace(heredocs=tuple(heredocs), last_line=self._next)

    def _heredoc(self, marker: Marker, span: Span) -> Heredoc | None:
        start = self._next
        body: list[str] = []
        closed = False
        while not closed and self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if marker.strip_tabs:
                line = line.lstrip("\t")
            closed = line == marker.name
            body.append(line)
        if not closed:
            self._report_open(marker, span, body, start)
            return None
        body.pop()
        return Heredoc(
            name=marker.name,
            body="".join(f"{line}\n" for line in body),
            expand=marker.expand,
            strip_tabs=marker.strip_tabs,
            fd=marker.fd,
            span=span,
            body_line=start + 1,
        )

    def _report_open(self, marker: Marker, span: Span, body: list[str], start: int) -> None:
        near = (
            Note(f"this line {reason}", Span.within(number, 1, max(1, len(line))))
            for number, line in enumerate(self._lines[start : start + len(body)], start + 1)
            if (reason := _near_end(line, marker))
        )
        self._errors.append(
            ContainerfileError(
                f"heredoc {quoted(marker.name)} is opened here and never closed",
                span=span,
                source=self._source,
                hint=f"it ends with a line that is exactly {quoted(marker.name)}",
                code="heredoc-open",
                notes=tuple(islice(near, _NEAR)),
            )
        )


def _near_end(line: str, marker: Marker) -> str:
    """Why a line that looks like the end of a heredoc is not, or ""."""
    word = line.strip()
    if word == marker.name:
        if line.startswith(word):
            return "has blanks after the name"
        return "has blanks before the name; <<- takes tabs away"
    if word.lower() == marker.name.lower():
        return "has another case"
    if word.rstrip(";)&|\\") == marker.name:
        return "has something after the name"
    return ""
