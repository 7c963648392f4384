"""EXPOSE: `port[-port][/protocol]` (Dockerfile reference, "EXPOSE")."""

from __future__ import annotations

_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_port(text: str) -> tuple[str, ...]:
    """Return the ports as the image configuration names them; raises ValueError that says why."""
    numbers, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"port {text!r}: protocol {protocol!r} is not tcp, udp or sctp")
    first, dash, last = numbers.partition("-")
    low = _number(first, text)
    high = _number(last, text) if dash else low
    if high < low:
        raise ValueError(f"port {text!r}: the range runs backwards")
    return tuple(f"{number}/{protocol}" for number in range(low, high + 1))


def _number(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or not 0 < int(digits[:6]) < 1 << 16:
        raise ValueError(f"port {text!r}: {digits!r} is not a port number")
    return int(digits)
