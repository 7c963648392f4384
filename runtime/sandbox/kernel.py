"""Which Linux this is."""

from __future__ import annotations


def read_version(text: str) -> tuple[int, int] | None:
    """The first two numbers of a kernel's version, whatever follows them; None for none."""
    major, _, rest = text.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return (int(major), int(minor)) if major.isdecimal() and minor else None
