"""Sizes and times as people read them."""

from __future__ import annotations

from datetime import datetime

_STEPS = (
    (60, "second"),
    (60, "minute"),
    (24, "hour"),
    (7, "day"),
    (4.35, "week"),
    (12, "month"),
    (float("inf"), "year"),
)


def size_text(count: int) -> str:
    """So many bytes, as in "1.5 MiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def age_text(created: str, now: float) -> str:
    """How long before `now` (seconds since 1970) an RFC 3339 time was, as in "3 weeks ago"."""
    try:
        seconds = now - datetime.fromisoformat(created).timestamp()
    except ValueError:  # of another program, or empty
        return created or "-"
    amount, before = max(seconds, 0.0), ""
    for number, unit in _STEPS:
        if amount < number:
            before = unit
            break
        amount /= number
    count = int(amount)
    return f"{count} {before}{'' if count == 1 else 's'} ago"
