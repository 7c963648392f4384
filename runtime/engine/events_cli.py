"""`pyrun events`."""

from __future__ import annotations

import json
from time import sleep, time_ns

from runtime.engine.cli import open_store, say
from runtime.engine.events import FILES, events_path
from runtime.engine.log_reader import RotatedLines
from runtime.engine.logfile import timestamp
from runtime.engine.times import read_time
from runtime.errors import UsageError
from runtime.options import OptionTable
from runtime.templates import filled_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELP = """\
usage: pyrun events [OPTIONS]

Show what happens to containers: create, start, die, oom, kill, stop, restart, pause, unpause,
rename, update, remove.

      --since TIME      also what has happened since then: RFC 3339, seconds since 1970, or 10m
      --until TIME      end there
      --stream=false    do not wait for more
  -f, --filter KEY=VALUE
                        event, container (name or id), image, label, type
      --format json|TEMPLATE
                        {{.Type}} .Action .ID .Name .Image .Attributes .Time .timeNano
      --root DIR
"""
TABLE = OptionTable(
    "pyrun events",
    values={
        "--root": "root",
        "--since": "since",
        "--until": "until",
        "--format": "format",
    },
    lists={"-f": "filters", "--filter": "filters"},
    flags={"--stream": "stream", "--help": "help"},
)
_KEYS = ("event", "container", "image", "label", "type")
_SOON_S = 0.1


def main(_: str, arguments: list[str]) -> int:
    """Show events as they come."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if operands:
        raise UsageError(f"pyrun events: {operands[0]!r} is too much")
    filters = _filters(fields.get("filters", ()))
    now = time_ns()
    until = read_time(fields["until"], "--until", now) if "until" in fields else None
    streams = fields.get("stream", True)
    since = read_time(fields["since"], "--since", now) if "since" in fields else now
    if not streams and "since" not in fields:
        since = 0
    form = fields.get("format", "")
    _text(_EXAMPLE, form)
    reader = RotatedLines(events_path(open_store(fields.get("root"))), FILES)
    while True:
        over = not streams or (until is not None and time_ns() >= until)
        for line in reader.new():
            event = _parsed(line)
            if event is None or event["timeNano"] < since:
                continue
            if until is not None and event["timeNano"] > until:
                return 0
            if _is_wanted(event, filters):
                say(f"{_text(event, form)}\n")
        if over:
            return 0
        sleep(_SOON_S)


_EXAMPLE = {
    "Type": "container",
    "Action": "start",
    "ID": "0",
    "Attributes": {"name": "", "image": ""},
    "timeNano": 0,
}


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:  # half of one, of a full disk
        return None
    return event if isinstance(event, dict) and "timeNano" in event else None


def _filters(texts: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if key not in _KEYS or not equals:
            raise UsageError(f"--filter {text!r}: {'=, '.join(_KEYS)}= expected")
        found.setdefault(key, []).append(value)
    return found


def _is_wanted(event: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    about = event["Attributes"]

    def fits(key: str, value: str) -> bool:
        match key:
            case "event" if value == "health_status":
                return bool(event["Action"].startswith("health_status: "))
            case "event":
                return bool(event["Action"] == value)
            case "type":
                return bool(event["Type"] == value)
            case "image":
                return bool(about["image"] == value)
            case "container":
                return bool(about["name"] == value or event["ID"].startswith(value))
            case _:
                name, equals, wanted = value.partition("=")
                return name in about and (not equals or about[name] == wanted)

    return all(
        (all if key == "label" else any)(fits(key, value) for value in values)
        for key, values in filters.items()
    )


def _text(event: dict[str, Any], form: str) -> str:
    about = event["Attributes"]
    time = timestamp(event["timeNano"])
    if form == "json":
        return json.dumps(event | {"Name": about["name"], "Image": about["image"], "Time": time})
    if form:
        named = {"Name": about["name"], "Image": about["image"], "Time": time}
        return filled_in(form, event | named)
    words = ", ".join(f"{name}={about[name]}" for name in sorted(about))
    return f"{time} {event['Type']} {event['Action']} {event['ID']} ({words})"
