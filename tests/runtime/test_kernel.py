"""The kernel's version, whatever distributions add to it."""

from __future__ import annotations

import pytest

from runtime.sandbox.kernel import read_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.18.44-fc-v657", (6, 18)),
        ("6.12+", (6, 12)),
        ("6.12rc1", (6, 12)),
        ("5.15.0-91-generic", (5, 15)),
        ("10.0", (10, 0)),
        ("6", None),
        ("linux", None),
        ("", None),
    ],
)
def test_its_first_two_numbers_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert read_version(text) == version
