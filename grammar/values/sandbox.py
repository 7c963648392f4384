"""`RUN --network`, `--security` and `--device`: what the command may reach."""

from __future__ import annotations

from collections.abc import Sequence

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

NETWORKS = ("default", "none", "host")
SECURITY_MODES = ("sandbox", "insecure")


class Device(Record):
    """A device by its CDI name; without `required` a missing one does not matter."""

    name: str
    required: bool


def parse_network(text: str) -> str:
    """Read a value of --network; raises InvalidValue."""
    return _one_of("network", text, NETWORKS, "bad-network")


def parse_security(text: str) -> str:
    """Read a value of --security; raises InvalidValue."""
    return _one_of("security mode", text, SECURITY_MODES, "bad-security")


def parse_device(text: str) -> Device:
    """Read `NAME[,required]` or `name=NAME,required=false`; raises InvalidValue."""
    name, required = "", False
    offset = 0
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key == "required" and value.lower() in ("", "true", "false"):
            required = value.lower() != "false"
        elif key == "name" and equals:
            name = value
        elif offset == 0 and not (equals and "/" not in key):
            name = field  # vendor.com/class=device has an equals sign of its own
        else:
            hint = did_you_mean(key, ("name", "required"))
            message = f"unexpected {quoted(field)} in a device"
            end = offset + len(field)
            raise InvalidValue(message, offset, end, code="bad-device", hint=hint)
        offset += len(field) + 1
    if not name:
        raise InvalidValue("the device has no name", 0, len(text), code="bad-device")
    return Device(name=name, required=required)


def _one_of(kind: str, text: str, known: Sequence[str], code: str) -> str:
    if text in known:
        return text
    hint = did_you_mean(text, known) or f"it is {', '.join(known[:-1])} or {known[-1]}"
    raise InvalidValue(f"unknown {kind} {quoted(text)}", 0, len(text), code=code, hint=hint)
