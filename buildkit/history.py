"""What an image's history says of an instruction (image-spec config.md, "history").

In BuildKit's words, which tools that read a history know: values after expansion, lists as Go
prints them, `# buildkit` after what has made a layer of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

COMMENT = "buildkit.dockerfile.v0"
_HEALTH_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_RUNES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 39: "'", 92: "\\"}


def readable(text: str) -> str:
    """The entry with a mark for each byte of an argument that is no text: documents are UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def made_files(text: str) -> str:
    """The entry of an instruction that changes files."""
    return f"{text} # buildkit"


def pairs(name: str, items: Iterable[tuple[str, str]]) -> str:
    """ENV and LABEL."""
    return " ".join((name, *(f"{key}={value}" for key, value in items)))


def quoted(name: str, items: Iterable[str]) -> str:
    """CMD and ENTRYPOINT: Go's `%q` of a list."""
    return f"{name} {_quoted(items)}"


def listed(name: str, items: Iterable[str]) -> str:
    """EXPOSE, VOLUME and SHELL: Go's `%v` of a list."""
    return f"{name} [{' '.join(items)}]"


def healthcheck(check: Mapping[str, object]) -> str:
    """HEALTHCHECK: Go's `%q` of the value, as `Healthcheck` of a configuration has it."""
    test = check["Test"]
    assert isinstance(test, list)
    times = " ".join(f'"{_duration(check.get(name, 0))}"' for name in _HEALTH_TIMES)
    return f"HEALTHCHECK &{{{_quoted(test)} {times} {_rune(check.get('Retries', 0))}}}"


def _quoted(items: Iterable[str]) -> str:
    return f"[{' '.join(json.dumps(item, ensure_ascii=False) for item in items)}]"


def _duration(nanoseconds: object) -> str:
    """As Go's time.Duration prints itself: `1m30s`, `1.5s`, `500ms`."""
    assert isinstance(nanoseconds, int)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanoseconds >= size:
                return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(number: int, unit: int) -> str:
    whole, fraction = divmod(number, unit)
    digits = f"{fraction:0{len(str(unit)) - 1}}".rstrip("0") if unit > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _rune(number: object) -> str:
    """As Go's strconv.QuoteRune: a number that is printed as a character."""
    assert isinstance(number, int)
    if number in _RUNES:
        return f"'\\{_RUNES[number]}'"
    if number < 0x20 or number == 0x7F:
        return f"'\\x{number:02x}'"
    try:
        char = chr(number)
    except (ValueError, OverflowError):
        char = "�"
    return f"'{char}'"
