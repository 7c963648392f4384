"""Records: values that cannot be changed, equal by their fields."""

from __future__ import annotations

import pickle

import pytest

from grammar import Source, Span, Word, parse
from grammar.record import Record, fields_of


class Base(Record):
    first: int
    second: str = "b"


class Derived(Base):
    third: tuple[int, ...]


def test_a_record_has_the_fields_and_defaults_of_its_bases() -> None:
    record = Derived(first=1, third=(2,))
    assert fields_of(record) == (("first", 1), ("second", "b"), ("third", (2,)))
    assert repr(record) == "Derived(first=1, second='b', third=(2,))"


def test_an_instance_of_the_base_does_not_fix_the_fields_of_a_subclass() -> None:
    assert Base(first=1).second == "b"
    assert Derived(first=1, third=()).third == ()


def test_records_are_equal_by_class_and_fields() -> None:
    assert Base(first=1) == Base(first=1, second="b")
    assert Base(first=1) != Base(first=2)
    assert Base(first=1) != Derived(first=1, third=())
    assert len({Base(first=1), Base(first=1)}) == 1


def test_a_record_cannot_be_changed() -> None:
    record = Base(first=1)
    with pytest.raises(AttributeError, match=r"Base\.first cannot be changed"):
        record.first = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Base\.first cannot be removed"):
        del record.first
    assert record.replace(first=2) == Base(first=2)


@pytest.mark.parametrize("values", [{}, {"first": 1, "fourth": 2}])
def test_a_missing_and_an_unknown_field_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Base(**values)  # type: ignore[arg-type]


def test_a_parsed_file_survives_pickling() -> None:
    containerfile = parse("FROM a AS b\nRUN <<E\nx\nE\nENV a=b\n", name="f")
    copy = pickle.loads(pickle.dumps(containerfile))
    assert copy == containerfile
    assert copy.source.lines == containerfile.source.lines


def test_a_source_does_not_print_its_text() -> None:
    assert repr(Source("f", "secret")) == "Source(name='f')"


def test_spans_are_ordered_as_in_the_file() -> None:
    assert sorted([Span.within(2, 1), Span.within(1, 9), Span.within(1, 2)]) == [
        Span.within(1, 2),
        Span.within(1, 9),
        Span.within(2, 1),
    ]


def test_a_word_is_as_a_dataclass_was() -> None:
    word = Word(text="a", span=Span.within(1, 1))
    assert (word.literal, word.joins) == (False, ())
