"""EXPOSE: `port[-port][/protocol]` (Dockerfile reference, "EXPOSE").

`[address:][host-port:]port`, as `docker run --publish` has it, is read as well: BuildKit takes
the port of the container and ignores the rest.
"""

from __future__ import annotations

import re

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

PROTOCOLS = ("tcp", "udp", "sctp")

_RANGE = re.compile(r"([^-]*)(?:-(.*))?", re.DOTALL)
_MAX_PORT = 65_535


class Ports(Record):
    """The ports from `first` to `last`, both included."""

    first: int
    last: int
    protocol: str  # lower case
    mapping: str = ""  # what stood before the container's port; it has no effect

    @property
    def names(self) -> tuple[str, ...]:
        """The ports as the image configuration names them: `80/tcp`."""
        return tuple(f"{port}/{self.protocol}" for port in range(self.first, self.last + 1))


def parse_ports(text: str) -> Ports:
    """Read one word of EXPOSE; raises InvalidValue."""
    numbers, slash, written = text.partition("/")
    protocol = written.lower() or "tcp"
    if protocol not in PROTOCOLS:
        start = len(numbers) + len(slash)
        message = f"protocol {quoted(written)} is not tcp, udp or sctp"
        hint = did_you_mean(protocol, PROTOCOLS)
        raise InvalidValue(message, start, len(text), code="bad-port", hint=hint)
    mapping, colon, container = numbers.rpartition(":")
    host = mapping.rpartition(":")[2]
    if host and not host.endswith("]"):
        _range(host, len(mapping) - len(host))
    first, last = _range(container, len(mapping) + len(colon))
    return Ports(first=first, last=last, protocol=protocol, mapping=mapping)


def parse_port(text: str) -> tuple[str, ...]:
    """The names of the ports that one word of EXPOSE means; raises InvalidValue."""
    return parse_ports(text).names


def _range(text: str, offset: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    assert match is not None
    first = _number(match.group(1), offset)
    if match.group(2) is None:
        return first, first
    last = _number(match.group(2), offset + match.start(2))
    if last < first:
        message = f"the range {first}-{last} runs backwards"
        raise InvalidValue(message, offset, offset + len(text), code="bad-port")
    return first, last


def _number(digits: str, offset: int) -> int:
    if not (digits.isascii() and digits.isdigit()):
        message = f"{quoted(digits)} is no port number"
    elif not 0 < int(digits[:6]) <= _MAX_PORT:
        message = f"port {quoted(digits)} is not between 1 and {_MAX_PORT}"
    else:
        return int(digits)
    raise InvalidValue(message, offset, offset + len(digits), code="bad-port")
