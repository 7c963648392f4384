"""Durations as Go writes them: `1h30m`, `1.5s`, `300ms` (https://pkg.go.dev/time)."""

from __future__ import annotations

import re

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu  # Go accepts both
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(" + "|".join(_UNITS_NS) + ")", re.ASCII)
_LONGEST_NS = 2**63 - 1  # what Go can hold
_LONGEST_TEXT = 64


def duration_ns(text: str) -> int:
    """Nanoseconds of a Go duration; raises ValueError saying what is wrong."""
    if text == "0":
        return 0
    from fractions import Fraction  # few files need it, and it brings decimal

    total = Fraction(0)
    position = 0
    while position < len(text) <= _LONGEST_TEXT:
        match = _TERM.match(text, position)
        if match is None:
            break
        number, unit = match.groups()
        total += Fraction(number.rstrip(".")) * _UNITS_NS[unit]
        position = match.end()
    if not text or position < len(text):
        raise ValueError("is no duration")
    if total > _LONGEST_NS:
        raise ValueError("is longer than 292 years")
    return int(total)
