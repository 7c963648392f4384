"""Durations as Go writes them: `30s`, `1m30s`, `1.5h`.

Without `re`, which would stay with the monitor of each container that has a health check.
"""

from __future__ import annotations

from runtime.errors import UsageError

_NS = 10**9
_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": _NS, "m": 60 * _NS, "h": 3600 * _NS}
_DIGITS = 12  # of one number: thirty thousand years in seconds


def read_duration(text: str, option: str) -> int:
    """Nanoseconds of a duration, or of 0; raises UsageError."""
    if text == "0":
        return 0
    total, rest = 0, text
    while rest:
        number, rest = _split(rest, "0123456789.")
        unit, rest = _split(rest, "nusmh")
        whole, _, fraction = number.partition(".")
        if not whole or len(number) > _DIGITS or "." in fraction or unit not in _UNITS_NS:
            break
        total += int(whole + fraction) * _UNITS_NS[unit] // 10 ** len(fraction)
    else:
        if text:
            return total
    raise UsageError(f"{option} {text!r}: a duration expected, such as 30s or 1m30s")


def _split(text: str, letters: str) -> tuple[str, str]:
    rest = text.lstrip(letters)
    return text[: len(text) - len(rest)], rest
