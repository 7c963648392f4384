"""Where the text of an instruction stands in the file.

The text has its continuations joined; this goes the way back.
"""

from __future__ import annotations

from grammar.containerfile import Containerfile
from grammar.instructions import Written
from grammar.source import Span


def keyword(instruction: Written) -> str:
    """The name of an instruction as written."""
    return instruction.text.split(maxsplit=1)[0]


def keyword_span(instruction: Written) -> Span:
    """Where the name of an instruction stands."""
    name = keyword(instruction)
    return Span.within(instruction.span.line, instruction.span.column, len(name))


def place(containerfile: Containerfile, instruction: Written, start: int, end: int) -> Span:
    """Where `instruction.text[start:end]` stands in the file."""
    pieces = _pieces(containerfile, instruction)
    line, column = _located(pieces, start)
    end_line, end_column = _located(pieces, max(start, end - 1))
    return Span(line=line, column=column, end_line=end_line, end_column=end_column + 1)


def _pieces(containerfile: Containerfile, instruction: Written) -> list[tuple[int, int, int]]:
    """Offset, line and column of each physical line's part of the instruction's text."""
    span, escape = instruction.span, containerfile.escape
    pieces: list[tuple[int, int, int]] = []
    offset, column = 0, span.column
    for number in range(span.line, span.end_line + 1):
        line = containerfile.source.lines[number - 1][column - 1 :]
        content = line.strip()
        if pieces and (not content or content.startswith("#")):
            continue
        pieces.append((offset, number, column))
        text = line.rstrip(" \t")
        offset += len(text.removesuffix(escape)) if text.endswith(escape) else len(line)
        column = 1
    return pieces


def _located(pieces: list[tuple[int, int, int]], offset: int) -> tuple[int, int]:
    start, line, column = next(
        piece for piece in reversed(pieces) if piece[0] <= offset or piece[0] == 0
    )
    return line, column + offset - start
