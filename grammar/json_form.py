"""The JSON form of an instruction's arguments: `["a", "b"]`.

Text that is no valid JSON is not an error in this language: it is the other form.
"""

from __future__ import annotations

import json
import re

from grammar.record import Record

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Element(Record, kw_only=False):
    """One value of the array; `start` and `end` are offsets, quotes included."""

    value: object
    start: int
    end: int


def array(text: str) -> tuple[Element, ...] | None:
    """The elements of a JSON array, or None when `text` is anything else."""
    text = text.rstrip()
    position = _skip(text, 0)
    if not text.startswith("[", position):
        return None
    position = _skip(text, position + 1)
    if text.startswith("]", position):
        return () if position + 1 == len(text) else None
    elements: list[Element] = []
    while True:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):  # RecursionError: [[[[... in a hostile file
            return None
        elements.append(Element(value, position, end))
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
            continue
        ends = text.startswith("]", position) and position + 1 == len(text)
        return tuple(elements) if ends else None


def string_array(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array of nothing but strings, or None."""
    elements = array(text)
    if elements is None or not all(isinstance(element.value, str) for element in elements):
        return None
    return tuple(well_formed(str(element.value)) for element in elements)


def well_formed(text: str) -> str:
    """`text` with unpaired surrogates (`"\\ud800"`) replaced: they have no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
