"""Challenges: what WWW-Authenticate says of how to log in (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re

from runtime.record import Record

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|(?=,)|$)")
_BETWEEN = re.compile(r"[\s,]*")


class Challenge(Record):
    """One way to log in."""

    scheme: str  # in lower case
    parameters: tuple[tuple[str, str], ...] = ()  # names in lower case

    def get(self, name: str) -> str:
        """A parameter; empty if it is not there."""
        return dict(self.parameters).get(name, "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header; what is not understood ends them."""
    found: list[Challenge] = []
    position = _end(_BETWEEN.match(header))
    while position < len(header):
        if (parameter := _PARAMETER.match(header, position)) and found:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            last = found.pop()
            parameters = (*last.parameters, (name.lower(), value))
            found.append(last.replace(parameters=parameters))
            position = parameter.end()
        elif scheme := _SCHEME.match(header, position):
            found.append(Challenge(scheme=scheme[1].lower()))
            position = scheme.end()
        else:
            break
        position = _end(_BETWEEN.match(header, position))
    return tuple(found)


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # it matches nothing, too
    return match.end()
