"""`ADD --checksum`: a digest of a file, or the start of a commit's name for git sources."""

from __future__ import annotations

import re

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Checksum(Record):
    """`algorithm:hex`; the algorithm "git" stands for a commit, perhaps shortened."""

    algorithm: str
    hex: str


def parse_checksum(text: str) -> Checksum:
    """Read a value of --checksum; raises InvalidValue."""
    algorithm, colon, digits = text.partition(":")
    if not colon and _COMMIT.fullmatch(text):
        return Checksum(algorithm="git", hex=text)
    if not colon:
        hint = "it is written sha256:HEX, or as a commit for a git repository"
        raise _invalid(f"{quoted(text)} is no checksum", 0, len(text), hint)
    if algorithm not in _LENGTHS:
        hint = did_you_mean(algorithm, _LENGTHS) or f"known are {', '.join(_LENGTHS)}"
        raise _invalid(f"unknown algorithm {quoted(algorithm)}", 0, len(algorithm), hint)
    wrong = re.search(r"[^0-9a-f]", digits)
    start = len(algorithm) + 1
    if wrong is not None:
        place = start + wrong.start()
        message = f"{quoted(wrong.group())} is no hexadecimal digit in lower case"
        raise _invalid(message, place, place + 1)
    if len(digits) != _LENGTHS[algorithm]:
        message = f"{algorithm} has {_LENGTHS[algorithm]} digits, found {len(digits)}"
        raise _invalid(message, start, len(text))
    return Checksum(algorithm=algorithm, hex=digits)


def _invalid(message: str, start: int, end: int, hint: str | None = None) -> InvalidValue:
    return InvalidValue(message, start, end, code="bad-checksum", hint=hint)
