"""Reading JSON documents that strangers wrote: typed access, and errors that name the member.

The decoder is the accelerator that the json module itself uses, without that module: it would
import `re` and with it five milliseconds of start-up.
"""

from __future__ import annotations

from runtime.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

    _make_scanner: Any
else:
    try:
        from _json import make_scanner as _make_scanner
    except ImportError:  # not CPython
        _make_scanner = None

_BLANK = " \t\n\r"
# A manifest may be 4 MiB at most (distribution-spec); nothing that we read needs more.
MAX_DOCUMENT = 4 << 20


class _Settings:
    """What the scanner asks of a json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012


def parse_json(document: bytes, where: str) -> Mapping[str, Any]:
    """Parse a document whose top level is an object; raises ImageError with `where`."""
    value = parse_json_value(document, where)
    if not isinstance(value, dict):
        raise ImageError(f"{where}: a JSON object was expected, not {type(value).__name__}")
    return value


def parse_json_value(document: bytes, where: str) -> object:
    """Parse a document of any type; raises ImageError with `where`."""
    if len(document) > MAX_DOCUMENT:
        raise ImageError(
            f"{where}: {len(document)} bytes of JSON, at most {MAX_DOCUMENT} expected"
        )
    try:
        return _decode(document.decode("utf-8"))
    except (ValueError, StopIteration, RecursionError, SystemError) as error:
        # SystemError: the scanner wants json.JSONDecodeError and does not import it.
        raise ImageError(f"{where}: not valid JSON") from error


def _decode(text: str) -> object:
    if _make_scanner is None:
        import json

        return json.loads(text)
    start = len(text) - len(text.lstrip(_BLANK))
    value, end = _make_scanner(_Settings())(text, start)
    if text[end:].strip(_BLANK):
        raise ValueError("text after the document")
    return value


def unambiguous(table: Mapping[str, Any], where: str) -> None:
    """Raise ImageError if two members have the same name but for its case.

    Readers that are written in Go take them for the same, and the last for the right one.
    """
    if len({name.casefold() for name in table}) == len(table):
        return
    seen: dict[str, str] = {}
    for name in table:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ImageError(f"{where}: has {other!r} and {name!r}, one for some readers")


def member(table: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    """Return a required member; raises ImageError if it is missing or of another type."""
    value = table.get(name)
    # bool is an int to Python, not to JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        found = "is missing" if name not in table else f"is {value!r}"
        raise ImageError(f"{where}: {name} {found}, {kind.__name__} expected")
    return value


def optional(table: Mapping[str, Any], name: str, kind: type[T], where: str) -> T | None:
    """Return a member that may be absent or null."""
    return None if table.get(name) is None else member(table, name, kind, where)


def strings(table: Mapping[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    """Return a member that is an array of strings, or None if it is absent."""
    values = optional(table, name, list, where)
    if values is None:
        return None
    for value in values:
        if not isinstance(value, str):
            raise ImageError(f"{where}: {name} holds {value!r}, only strings expected")
    return tuple(values)
