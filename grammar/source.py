"""A source text and places in it.

Lines and columns count from 1, columns in characters (code points), not bytes and not
terminal cells. Nothing here knows what the text means.
"""

from __future__ import annotations

import unicodedata

from grammar.record import Record

_CLIP = 120  # characters of one line that an excerpt shows at most
_LINES = 6  # lines of it


class Span(Record):
    """A stretch of source; `end_column` is one past the last character."""

    line: int
    column: int
    end_line: int
    end_column: int

    def __lt__(self, other: Span) -> bool:
        return self._values() < other._values()

    @staticmethod
    def within(line: int, column: int, length: int = 1) -> Span:
        """The span of `length` characters on one line."""
        return Span(line=line, column=column, end_line=line, end_column=column + length)

    def through(self, other: Span) -> Span:
        """From the start of this span to the end of `other`."""
        return Span(
            line=self.line,
            column=self.column,
            end_line=other.end_line,
            end_column=other.end_column,
        )


class Source(Record, kw_only=False):
    """Decoded text, without its byte order mark, and the name that errors show for it."""

    name: str
    text: str
    lines: tuple[str, ...]

    def __init__(self, name: str, text: str) -> None:
        # Not str.splitlines(): it also breaks at form feeds and U+2028, which are data here.
        lines = text.split("\n")
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "lines", tuple(lines))

    def __repr__(self) -> str:
        return f"Source(name={self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Source, (self.name, self.text)

    def slice(self, span: Span) -> str:
        """The characters of `span`, line ends as LF."""
        if span.line == span.end_line:
            return self.lines[span.line - 1][span.column - 1 : span.end_column - 1]
        first, *middle, last = self.lines[span.line - 1 : span.end_line]
        return "\n".join((first[span.column - 1 :], *middle, last[: span.end_column - 1]))

    def excerpt(self, span: Span) -> str:
        """The lines of `span`, numbered, with carets below it; of a long one the first lines."""
        shown = min(span.end_line, span.line + _LINES - 1)
        if span.end_line - shown == 1:
            shown = span.end_line  # a line takes no more room than saying that it is left out
        rows = [self._row(number, span) for number in range(span.line, shown + 1)]
        if shown < span.end_line:
            rows.append(f"{'...':>5} | {span.end_line - shown} more lines")
        return "\n".join(rows)

    def _row(self, number: int, span: Span) -> str:
        line = self.lines[number - 1]
        indent = len(line) - len(line.lstrip())
        start = span.column - 1 if number == span.line else min(indent, max(0, len(line) - 1))
        end = span.end_column - 1 if number == span.end_line else len(line.rstrip())
        # A hostile or generated line can be 64 KiB long: show a window that holds the start.
        left = max(0, start - _CLIP // 2) if len(line) > _CLIP else 0
        shown = line[left : left + _CLIP]
        before = shown[: start - left]
        marked = shown[start - left : max(end, start + 1) - left]
        padding = "".join("\t" if c == "\t" else " " * _cells(c) for c in before)
        carets = "^" * max(1, sum(map(_cells, marked)))
        return f"{number:>5} | {printable(shown)}\n{' ' * 5} | {padding}{carets}"


def printable(text: str) -> str:
    """`text` with control characters replaced one for one.

    An escape sequence in a Containerfile must not reach the terminal through our errors.
    """
    return "".join(c if c == "\t" or _is_graphic(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_graphic(char: str) -> bool:
    # Cf holds the bidirectional overrides, which can make an excerpt read differently.
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
