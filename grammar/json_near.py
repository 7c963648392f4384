"""Text that was probably meant as a JSON array, and why it is none.

Such text is no error: BuildKit takes it for the other form of the instruction without a word. A
shell's test, `[ "$a" = b ] && …`, starts like an array too, so what follows decides.
"""

from __future__ import annotations

import json
import re

from grammar.record import Record

_BLANK = re.compile(r"\s*")
_BARE = re.compile(r"[^\s,\[\]\"']+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"|\'[^\']*+\'')


class NearMiss(Record, kw_only=False):
    """Why an array cannot be read; `start` and `end` are offsets in the text."""

    reason: str
    start: int
    end: int


def near_miss(text: str) -> NearMiss | None:
    """What is wrong with an array, or None when `text` was hardly meant as one.

    Call it only with text that is no JSON array.
    """
    if not text.startswith("["):
        return None
    text = text.rstrip()
    position = _skip(text, 1)
    fault: NearMiss | None = None
    count = 0
    while True:
        if text.startswith("]", position):
            if count and fault is None:
                fault = NearMiss("a comma before ]", position, position + 1)
            return _closed(text, position, fault, count)
        match = _STRING.match(text, position) or _BARE.match(text, position)
        if match is None:
            return fault or _no_string(text, position, count)
        fault = fault or _bad_string(match)
        count += 1
        end = match.end()
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
        elif text.startswith("]", position):
            return _closed(text, position, fault, count)
        elif position == len(text):
            bare = count == 1 and text[1] not in "'\""
            return None if bare else fault or NearMiss("the ] is missing", end - 1, end)
        elif count == 1 and not text.startswith(('"', "'"), position):
            return None  # [ "$a" = b ] and [ -f x ]: a shell's test
        else:
            return fault or NearMiss("a comma is missing", position, position + 1)


def _closed(text: str, position: int, fault: NearMiss | None, count: int) -> NearMiss | None:
    """What follows the closing bracket decides between an array and a test."""
    if position + 1 < len(text):
        if text[1] not in "'\"" or not count:
            return None
        return fault or NearMiss("text after the ]", position + 1, len(text))
    if count == 1 and fault is not None and text[1] not in "'\"":
        return None  # [a-z] and [x]: a pattern
    return fault


def _bad_string(match: re.Match[str]) -> NearMiss | None:
    written = match.group()
    if written.startswith("'"):
        return NearMiss("single quotes: JSON has double ones", match.start(), match.end())
    if not written.startswith('"'):
        return NearMiss("a string without double quotes", match.start(), match.end())
    try:
        json.loads(written)
    except ValueError:
        return NearMiss(
            r"a backslash that JSON does not have: write \\", match.start(), match.end()
        )
    return None


def _no_string(text: str, position: int, count: int) -> NearMiss | None:
    if text.startswith(('"', "'"), position) and position + 1 < len(text):
        return NearMiss("a string without its closing quote", position, len(text))
    if text.startswith(",", position) and count:
        return NearMiss("nothing between two commas", position, position + 1)
    if position == len(text) and count:
        return NearMiss("the ] is missing", position - 1, position)
    return None


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
