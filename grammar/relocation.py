"""Moving an instruction that stands elsewhere, in an image, to the place that brought it here."""

from __future__ import annotations

from typing import TypeVar, cast

from grammar.parts import Word
from grammar.record import Record
from grammar.source import Span

_T = TypeVar("_T")


def relocated(value: _T, place: Span) -> _T:
    """An instruction, or a part of one, as if all of it stood at one place of another file."""
    return cast(_T, _relocated(value, place))


def _relocated(value: object, place: Span) -> object:
    if isinstance(value, Span):
        return place
    if isinstance(value, tuple):
        return tuple(_relocated(item, place) for item in value)
    if isinstance(value, Word):
        return Word(text=value.text, span=place, literal=value.literal)
    if not isinstance(value, Record):
        return value
    held = {field: getattr(value, field) for field in type(value)._fields}
    return type(value)(**{field: _relocated(part, place) for field, part in held.items()})
