"""Functions for `${…}`, under the names that buildx gives them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

_LARGEST = 10**30


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


def _flatten(items: list[Any]) -> list[Any]:
    return [member for i in items for member in (_flatten(i) if isinstance(i, list) else [i])]


def _merge(*tables: dict[str, Any]) -> dict[str, Any]:
    return {key: value for table in tables for key, value in table.items()}


def _arithmetic(calculate: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function of two numbers; text would be repeated, or put together."""

    def calculated(a: Any, b: Any) -> Any:
        if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in (a, b)):
            raise TypeError("numbers expected")
        value = calculate(a, b)
        if abs(value) > _LARGEST:
            raise ValueError("a number is too large")
        return value

    return calculated


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _arithmetic(operator.add),
    "and": lambda a, b: a and b,
    "basename": lambda path: path.rstrip("/").rpartition("/")[2],
    "coalesce": _coalesce,
    "compact": lambda items: [item for item in items if item],
    "concat": _concat,
    "contains": lambda items, item: item in items,
    "distinct": lambda items: [x for n, x in enumerate(items) if x not in items[:n]],
    "divide": _arithmetic(operator.truediv),
    "equal": lambda a, b: type(a) is type(b) and a == b,
    "flatten": _flatten,
    "index": lambda items, key: items[key],
    "join": _join,
    "keys": lambda table: sorted(table),
    "length": len,
    "lookup": lambda table, key, default: table.get(key, default),
    "lower": lambda text: text.lower(),
    "max": max,
    "merge": _merge,
    "min": min,
    "multiply": _arithmetic(operator.mul),
    "not": lambda a: not a,
    "notequal": lambda a, b: type(a) is not type(b) or a != b,
    "or": lambda a, b: a or b,
    "regex_replace": _regex_replace,
    "replace": lambda text, old, new: text.replace(old, new),
    "reverselist": lambda items: items[::-1],
    "sanitize": _sanitize,
    "sort": sorted,
    "split": lambda separator, text: text.split(separator),
    "substr": lambda text, start, length: text[start:][: length if length >= 0 else None],
    "subtract": _arithmetic(operator.sub),
    "trimprefix": lambda text, prefix: text.removeprefix(prefix),
    "trimspace": lambda text: text.strip(),
    "trimsuffix": lambda text, suffix: text.removesuffix(suffix),
    "upper": lambda text: text.upper(),
    "values": lambda table: [table[key] for key in sorted(table)],
}
