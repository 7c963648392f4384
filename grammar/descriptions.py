"""Descriptions: a comment line right above FROM or ARG that starts with the name it is about."""

from __future__ import annotations

from collections.abc import Iterable


def describe(comments: Iterable[str], name: str | None) -> str:
    """The description of `name`, without the name; an empty string when there is none."""
    for comment in comments if name else ():
        first, _, rest = comment.partition(" ")
        if first == name:
            return rest.strip()
    return ""
