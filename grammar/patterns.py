"""The patterns of `${name#pattern}` and `${name/pattern/text}`: `*`, `?` and a backslash.

Not regular expressions: a pattern such as `*a*a*a*b` would make a backtracking matcher take
time without bound. Here `*` only separates pieces of fixed length, found one after another.
"""

from __future__ import annotations

import re

from grammar.record import Record

Piece = re.Pattern[str]


class PatternError(ValueError):
    """A backslash stands before a character that it cannot quote."""


class Pattern(Record, kw_only=False):
    """Pieces of single characters; between two pieces stands a `*`."""

    pieces: tuple[tuple[str, ...], ...]  # each character as a regular expression

    def strip_prefix(self, text: str, *, longest: bool) -> str:
        """`text` without what the pattern matches at its start."""
        end = self._match_end(text, 0, longest=longest)
        return text if end is None else text[end:]

    def strip_suffix(self, text: str, *, longest: bool) -> str:
        """`text` without what the pattern matches at its end."""
        mirrored = Pattern(tuple(piece[::-1] for piece in self.pieces[::-1]))
        return mirrored.strip_prefix(text[::-1], longest=longest)[::-1]

    def substitute(self, text: str, replacement: str, *, every: bool) -> str:
        """`text` with the leftmost longest match, or each of them, replaced."""
        first = _compiled(self.pieces[0])
        parts: list[str] = []
        position = 0
        while match := first.search(text, position):
            end = self._match_end(text, match.start(), longest=True)
            # Nothing further right can match: a `*` would have reached it from here.
            if end is None or end == match.start():
                break
            parts += text[position : match.start()], replacement
            position = end
            if not every:
                break
        return "".join((*parts, text[position:]))

    def _match_end(self, text: str, start: int, *, longest: bool) -> int | None:
        first, *rest = self.pieces
        anchored = _compiled(first).match(text, start)
        if anchored is None:
            return None
        end = anchored.end()
        for piece in rest[:-1] if longest else rest:
            match = _compiled(piece).search(text, end)
            if match is None:
                return None
            end = match.end()
        return _last_end(rest[-1], text, end) if longest and rest else end


def parse_pattern(text: str) -> Pattern:
    """Read a pattern; raises PatternError for an escape that means nothing."""
    pieces: list[tuple[str, ...]] = []
    piece: list[str] = []
    characters = iter(text)
    for char in characters:
        if char == "*":
            pieces.append(tuple(piece))
            piece = []
        elif char == "?":
            piece.append(".")
        elif char == "\\":
            piece.append(re.escape(_unescaped(next(characters, ""))))
        else:
            piece.append(re.escape(char))
    return Pattern((*pieces, tuple(piece)))


def _unescaped(char: str) -> str:
    # `}` and `/` end the parts of ${...}, so they need the backslash as well.
    if char not in ("*", "?", "\\", "}", "/"):
        raise PatternError(f"\\{char} in a pattern: only \\* \\? \\\\ \\}} and \\/ have a meaning")
    return char


def _compiled(piece: tuple[str, ...]) -> Piece:
    return re.compile("".join(piece), re.DOTALL)


def _last_end(piece: tuple[str, ...], text: str, start: int) -> int | None:
    """Where the rightmost match of `piece` at or after `start` ends."""
    mirrored = _compiled(piece[::-1]).search(text[::-1], 0, len(text) - start)
    return None if mirrored is None else len(text) - mirrored.start()
