"""The limits that `update` asks for: a file of resources, or single options."""

from __future__ import annotations

import sys

from runtime.errors import UsageError
from runtime.lifecycle.command_line import LIMITS, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.oci.resources import Resources

_TEXTS = frozenset({"cpu.cpus", "cpu.mems"})


def asked_limits(fields: Mapping[str, Any]) -> Resources:
    """Resources as the command line gives them; raises UsageError if it gives none."""
    from runtime.oci.config_resources import parse_resources

    document: dict[str, Any] = {}
    where = "update"
    if "resources" in fields:
        document, where = _read(fields["resources"])
    # An error names the first spelling of several, which is the long one.
    options = {member: option for option, member in reversed(LIMITS.items())}
    for member, option in options.items():
        if member in fields:
            outer, _, inner = member.partition(".")
            text = fields[member]
            value = text if member in _TEXTS else _size(text, option)
            document.setdefault(outer, {})[inner] = value
    if not document:
        raise UsageError("update: no limit given", hint="pyrun oci --help")
    return parse_resources(document, where)


def _read(path: str) -> tuple[dict[str, Any], str]:
    from runtime.oci.reader import parse_json

    if path == "-":
        return dict(parse_json(sys.stdin.buffer.read(), "standard input")), "standard input"
    try:
        with open(path, "rb") as file:
            return dict(parse_json(file.read(), path)), path
    except OSError as error:
        raise UsageError(f"--resources {path}: {error.strerror}") from error


def _size(text: str, option: str) -> int:
    """A number, with k, m, g for powers of 1024 as docker and runc take them."""
    factors = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    letter = text[-1:].lower()
    if letter in factors:
        return number(text[:-1], option) * factors[letter]
    return number(text, option)
