"""JSON text of plain values, without the `json` module: it takes milliseconds to load."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    _quote: Callable[[str], str]
else:
    try:
        from _json import encode_basestring_ascii as _quote
    except ImportError:  # not CPython
        from json import dumps as _quote


def to_text(value: object) -> str:
    """Compact JSON of dictionaries, lists, strings, integers, floats, booleans and None."""
    if isinstance(value, str):
        return _quote(value)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quote(k)}:{to_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(to_text, value)) + "]"
    raise TypeError(f"not a JSON value: {value!r}")
