"""What families of sub-commands have in common: their words, platforms, errors of the disk."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from buildkit.errors import DiskError, UsageError
from runtime.errors import UsageError as OptionError
from runtime.oci.platform import asked_platform

if TYPE_CHECKING:
    from runtime.options import OptionTable

Fields = dict[str, Any]
MANY = 1 << 16  # operands


def parsed(
    table: OptionTable,
    arguments: list[str],
    *,
    allowed: Set[str],
    operands: tuple[int, int],
    hint: str,
) -> tuple[Fields, list[str]]:
    """Options and operands of a command, whose name is the first argument; raises UsageError.

    `allowed` are the fields of its options beside --help, with which nothing else is checked;
    `operands` are how few and how many there may be.
    """
    command = arguments[0]
    try:
        fields, words = table.parse(arguments[1:], operands_end_options=False)
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if fields.get("help"):
        return fields, words
    for field in sorted(fields.keys() - allowed):
        option = field.replace("_", "-")
        raise UsageError(f"pybuild {command} has no option --{option}", hint=hint)
    if not operands[0] <= len(words) <= operands[1]:
        given = " ".join(words) or "none"
        raise UsageError(f"pybuild {command}: wrong operands: {given}", hint=hint)
    return fields, words


def platform_of(fields: Fields) -> str:
    """What --platform asks for, in full; empty if it is not there. Raises UsageError."""
    text = str(fields.get("platform", ""))
    try:
        return asked_platform(text) if text else ""
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what is wrong with the store's disk into DiskError."""
    try:
        yield
    except BrokenPipeError:  # of standard output
        raise
    except OSError as error:
        raise DiskError(f"{error.filename or 'the store'}: {error.strerror}") from error
