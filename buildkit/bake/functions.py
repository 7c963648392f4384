"""Functions for `${…}`, under the names that buildx gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def _sanitize(text: str) -> str:
    """What may be a target's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)


def _join(separator: str, *lists: list[str]) -> str:
    return separator.join(item for items in lists for item in items)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _concat(*lists: list[Any]) -> list[Any]:
    return [item for items in lists for item in items]


def _regex_replace(text: str, pattern: str, new: str) -> str:
    return re.sub(pattern, re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", new), text)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "and": lambda a, b: a and b,
    "basename": lambda path: path.rstrip("/").rpartition("/")[2],
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": lambda items, item: item in items,
    "equal": lambda a, b: type(a) is type(b) and a == b,
    "join": _join,
    "length": len,
    "lower": lambda text: text.lower(),
    "not": lambda a: not a,
    "notequal": lambda a, b: type(a) is not type(b) or a != b,
    "or": lambda a, b: a or b,
    "regex_replace": _regex_replace,
    "replace": lambda text, old, new: text.replace(old, new),
    "sanitize": _sanitize,
    "split": lambda separator, text: text.split(separator),
    "substr": lambda text, start, length: text[start:][: length if length >= 0 else None],
    "trimprefix": lambda text, prefix: text.removeprefix(prefix),
    "trimspace": lambda text: text.strip(),
    "trimsuffix": lambda text, suffix: text.removesuffix(suffix),
    "upper": lambda text: text.upper(),
}
