"""Times as docker and podman take them and show them."""

from __future__ import annotations

import re
from datetime import datetime

from runtime.errors import UsageError

_NS = 10**9
_UNITS_NS = {
    "ns": 1,
    "us": 1000,
    "ms": 10**6,
    "s": _NS,
    "m": 60 * _NS,
    "h": 3600 * _NS,
    "d": 86400 * _NS,
}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PIECE.pattern})+")
_SECONDS = re.compile(r"(\d{1,11})(?:\.(\d{1,9}))?")
_FRACTION = re.compile(r"(:\d\d)\.(\d{1,9})")
# docker's go-units: up to so many of a unit, the next is not used yet
_STEPS = (
    (60, 1, "second"),
    (60 * 60, 60, "minute"),
    (48 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (730 * 86400, 30 * 86400, "month"),
    (float("inf"), 365 * 86400, "year"),
)


def read_time(text: str, option: str, now_ns: int) -> int:
    """Nanoseconds since 1970: of RFC 3339, of seconds since 1970, or of `10m` before now.

    A time without a zone is the local one. Raises UsageError.
    """
    if seconds := _SECONDS.fullmatch(text):
        return int(seconds[1]) * _NS + int((seconds[2] or "").ljust(9, "0"))
    if _DURATION.fullmatch(text):
        return now_ns - sum(int(float(n) * _UNITS_NS[unit]) for n, unit in _PIECE.findall(text))
    try:
        return nanoseconds(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r}: a time expected, such as 2026-11-29T10:00:00Z or 10m"
        ) from None


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time; raises ValueError."""
    fraction = _FRACTION.search(text)
    whole = _FRACTION.sub(r"\1", text)
    seconds = int(datetime.fromisoformat(whole).timestamp())
    return seconds * _NS + (int(fraction[2].ljust(9, "0")) if fraction else 0)


def duration_text(duration_ns: int) -> str:
    """How long something took, as in "5 minutes" and "About an hour"."""
    seconds = max(duration_ns, 0) // _NS
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 7200:
        return "About an hour"
    unit, name = next((unit, name) for most, unit, name in _STEPS if seconds < most)
    count = seconds // unit
    return f"{count} {name}{'' if count == 1 else 's'}"
