"""`Record`: what a frozen dataclass would do, and what mypy is told it does."""

from __future__ import annotations

import pytest

from runtime.record import Record


class Point(Record):
    """Two fields, one with a default."""

    x: int
    y: int = 0


class Place(Point):
    """A record that adds a field to another's."""

    name: str


def test_a_field_without_a_value_gets_its_default() -> None:
    assert Point(x=1).y == 0


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match="Point: missing field 'x'"):
        Point(y=1)  # type: ignore[call-arg]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(TypeError, match="Point: unknown field 'z'"):
        Point(x=1, z=2)  # type: ignore[call-arg]


def test_fields_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]


def test_a_field_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        Point(x=1).x = 2  # type: ignore[misc]


def test_a_field_cannot_be_deleted() -> None:
    point = Point(x=1)
    with pytest.raises((AttributeError, TypeError)):
        del point.x
    assert point.x == 1


def test_no_other_attribute_can_be_added() -> None:
    with pytest.raises(AttributeError):
        Point(x=1).colour = "red"  # type: ignore[attr-defined]


def test_records_of_equal_fields_are_equal_and_hash_alike() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert hash(Point(x=1)) == hash(Point(x=1, y=0))


def test_records_of_different_fields_differ() -> None:
    assert Point(x=1) != Point(x=2)


def test_records_of_different_types_differ() -> None:
    class Other(Record):
        x: int
        y: int = 0

    assert Point(x=1) != Other(x=1)


def test_replace_changes_a_copy() -> None:
    point = Point(x=1, y=2)
    assert (point.replace(y=3), point) == (Point(x=1, y=3), Point(x=1, y=2))


def test_replace_refuses_an_unknown_field() -> None:
    with pytest.raises(TypeError, match="unknown field 'z'"):
        Point(x=1).replace(z=3)


def test_a_subclass_has_the_fields_and_defaults_of_its_base() -> None:
    assert repr(Place(x=1, name="here")) == "Place(x=1, y=0, name='here')"
