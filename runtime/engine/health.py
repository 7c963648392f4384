"""Whether a container is well: what it is asked, and what is known of its answers.

What it is asked is in its record, as an image's configuration has it (docker's `Healthcheck`: Test
and times in nanoseconds), with podman's `OnFailure`. The answers are in health.json.
"""

from __future__ import annotations

import os

from runtime.engine.record import write_file
from runtime.errors import ContainerError, PyrunError, UsageError
from runtime.oci.reader import parse_json, parse_json_value
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.engine.containers import Seen

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
NONE, KILL, STOP, RESTART = "none", "kill", "stop", "restart"
_STATE = "health.json"
_LOG = 5  # answers that are kept, as docker does
_NS = 10**9
_ACTIONS = (NONE, KILL, STOP, RESTART)
# Option, member, and docker's least value
_TIMES = (
    ("--health-interval", "Interval", 10**6),
    ("--health-timeout", "Timeout", 10**6),
    ("--health-start-period", "StartPeriod", 0),
    ("--health-start-interval", "StartInterval", 10**6),
)
OPTIONS = {
    "--health-cmd": "health_cmd",
    "--health-interval": "health_interval",
    "--health-timeout": "health_timeout",
    "--health-start-period": "health_start_period",
    "--health-start-interval": "health_start_interval",
    "--health-retries": "health_retries",
    "--health-on-failure": "health_on_failure",
}


class Health(Record):
    """How a container is asked."""

    command: tuple[str, ...]
    interval_s: float = 30  # these are docker's
    timeout_s: float = 30
    start_period_s: float = 0  # failures do not count so long
    start_interval_s: float = 5  # meanwhile
    retries: int = 3
    on_failure: str = NONE


def take_asked(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of a command line out of its fields: members that replace the image's.

    None: `--no-healthcheck`. Raises UsageError.
    """
    given = {name: fields.pop(name) for name in OPTIONS.values() if name in fields}
    if fields.pop("no_healthcheck", False):
        if given:
            raise UsageError("--no-healthcheck: excludes the other --health options")
        return None
    asked: dict[str, Any] = {}
    if "health_cmd" in given:
        asked["Test"] = _test(given["health_cmd"])
    for option, member, least in _TIMES:
        if text := given.get(OPTIONS[option]):
            asked[member] = _duration(text, option, least)
    if retries := given.get("health_retries"):
        from runtime.engine.run_line import whole_number

        asked["Retries"] = whole_number(retries, "--health-retries")
    if action := given.get("health_on_failure"):
        if action not in _ACTIONS:
            raise UsageError(f"--health-on-failure {action!r}: {', '.join(_ACTIONS)} expected")
        asked["OnFailure"] = action
    return asked


def _test(text: str) -> list[str]:
    """A line for a shell, a list of words as podman takes it, or `none`."""
    if text == "none":
        return ["NONE"]
    if not text.strip():
        raise UsageError("--health-cmd: a command expected", hint="--no-healthcheck has none")
    if not text.startswith("["):
        return ["CMD-SHELL", text]
    try:
        words = parse_json_value(text.encode("utf-8", "surrogateescape"), "--health-cmd")
    except PyrunError:
        return ["CMD-SHELL", text]  # `[ -e /ready ]`
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise UsageError(f"--health-cmd {text!r}: a list of strings expected")
    return words if words[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *words]


def _duration(text: str, option: str, least: int) -> int:
    from runtime.engine.durations import read_duration

    found = read_duration(text, option)
    if found < least:
        raise UsageError(f"{option} {text!r}: at least 1ms expected")
    return found


def combined(image: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a record keeps: the image's, with what was asked for; None if there is no check.

    Raises UsageError for times of a check that there is none of, or what makes no sense.
    """
    found = {name: value for name, value in image.items() if value} | dict(asked)
    test = found.get("Test") or []
    if not test or test == ["NONE"]:
        if asked.keys() - {"Test"}:
            raise UsageError(
                "there is no health check that the --health options could be of",
                hint="--health-cmd COMMAND makes one",
            )
        return None
    read_health(found)
    return found


def read_health(members: Mapping[str, Any]) -> Health:
    """How a container is asked, by its record; raises ContainerError for what makes no sense."""
    test = members.get("Test")
    words = test if isinstance(test, list) and all(isinstance(w, str) for w in test) else []
    match words:
        case ["CMD", _, *_]:
            command = tuple(words[1:])
        case ["CMD-SHELL", line]:
            command = ("/bin/sh", "-c", line)
        case _:
            raise ContainerError(f"health check: Test {test!r} is no command")
    numbers = {name: members.get(name) or 0 for name in (*(t[1] for t in _TIMES), "Retries")}
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 0:
            raise ContainerError(f"health check: {name} {value!r} is no time or number")
    usual = Health(command=command)
    return Health(
        command=command,
        interval_s=numbers["Interval"] / _NS or usual.interval_s,
        timeout_s=numbers["Timeout"] / _NS or usual.timeout_s,
        start_period_s=numbers["StartPeriod"] / _NS,
        start_interval_s=numbers["StartInterval"] / _NS or usual.start_interval_s,
        retries=numbers["Retries"] or usual.retries,
        on_failure=str(members.get("OnFailure") or NONE),
    )


def begin(path: str) -> None:
    """A container has been started: nothing is known yet."""
    write_file(path, _STATE, {"Status": STARTING, "FailingStreak": 0, "Log": []})


def read_state(path: str) -> dict[str, Any] | None:
    """Status, FailingStreak and Log, as docker shows them; None if nobody has asked.

    Raises ContainerError for a damaged file.
    """
    where = f"{path}/{_STATE}"
    try:
        with open(where, "rb") as file:
            found = dict(parse_json(file.read(), where))
    except FileNotFoundError:
        return None
    except PyrunError as error:
        raise ContainerError(f"{where}: damaged ({error.message})") from error
    return found


def health_of(seen: Seen) -> str:
    """Whether a container that runs is well; empty if nobody asks it. Raises ContainerError."""
    if seen.record.health is None or not seen.is_alive:
        return ""
    return str((read_state(seen.path) or {}).get("Status", STARTING))


def answered(
    state: dict[str, Any], answer: dict[str, Any], retries: int, *, counts: bool
) -> dict[str, Any]:
    """The state after an answer; `counts` is whether a failure does."""
    status, streak = state["Status"], state["FailingStreak"]
    if answer["ExitCode"] == 0:
        status, streak = HEALTHY, 0
    elif counts:
        streak += 1
        status = UNHEALTHY if streak >= retries else status
    return {
        "Status": status,
        "FailingStreak": streak,
        "Log": [*state["Log"], answer][-_LOG:],
    }


def write_state(path: str, state: dict[str, Any]) -> None:
    """Record what is known; a container that was removed meanwhile needs no record."""
    try:
        write_file(path, _STATE, state)
    except FileNotFoundError:
        if os.path.isdir(path):
            raise
