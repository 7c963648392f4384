"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(found: str, known: Iterable[str]) -> str | None:
    """The member of `known` most like `found`, or None when nothing is near."""
    # The comparison is quadratic, and a word of the source can be 64 KiB long.
    if len(found) > 40:
        return None
    from difflib import get_close_matches  # only a faulty file needs it

    matches = get_close_matches(found, sorted(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(found: str, known: Iterable[str]) -> str | None:
    """The hint for a misspelt name, if there is one."""
    match = nearest(found, known)
    return None if match is None else f"did you mean {match}?"
