"""`Descriptors`: what is open ends with the piece of work that needs it."""

from __future__ import annotations

import os

import pytest

from runtime.sandbox.descriptors import Descriptors


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_all_are_closed_at_the_end_also_when_it_is_an_error() -> None:
    opened: list[int] = []

    def work() -> None:
        with Descriptors() as ours:
            opened.extend((*ours.pipe(), os.open("/", os.O_RDONLY)))
            ours.own(opened[-1], None)
            assert all(map(is_open, opened))
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert not any(map(is_open, opened))


def test_what_is_closed_early_is_not_closed_again() -> None:
    with Descriptors() as ours:
        read, write = ours.pipe()
        ours.close(read)
        assert not is_open(read)
        again = os.open("/", os.O_RDONLY)  # gets the lowest number, that of `read`
        assert again == read
    assert is_open(again)
    assert not is_open(write)
    os.close(again)


def test_what_is_kept_stays_open() -> None:
    with Descriptors() as ours:
        read, write = ours.pipe()
        assert ours.keep(read) == read
    assert is_open(read)
    assert not is_open(write)
    os.close(read)


def test_pipes_are_not_inherited() -> None:
    with Descriptors() as ours:
        assert [os.get_inheritable(fd) for fd in ours.pipe()] == [False, False]
