"""`pyrun stop`, `kill`, `wait` and `rm`."""

from __future__ import annotations

import os
from time import monotonic, sleep

from runtime.engine.cli import for_each, one_or_more, open_store, say
from runtime.engine.containers import Seen, is_monitored, look_at, look_at_all, remove
from runtime.engine.events import note
from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.cli import signal_number
from runtime.options import OptionTable
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TABLES = {
    "stop": OptionTable(
        "pyrun stop",
        values={"-t": "time", "--time": "time", "--timeout": "time", "--root": "root"},
        lists={},
        flags={"-a": "all", "--all": "all", "--help": "help"},
    ),
    "kill": OptionTable(
        "pyrun kill",
        values={"-s": "signal", "--signal": "signal", "--root": "root"},
        lists={},
        flags={"-a": "all", "--all": "all", "--help": "help"},
    ),
    "wait": OptionTable(
        "pyrun wait", values={"--root": "root"}, lists={}, flags={"--help": "help"}
    ),
    "rm": OptionTable(
        "pyrun rm",
        values={"--root": "root", "-t": "time", "--time": "time"},
        lists={},
        flags={
            "--help": "help",
            "-f": "force",
            "--force": "force",
            "-a": "all",
            "--all": "all",
            "-v": "volumes",
            "--volumes": "volumes",
        },
    ),
}
HELPS = {
    "stop": """\
usage: pyrun stop [-t SECONDS] [--all] [--root DIR] CONTAINER...

Send containers the signal that they want to end at, and kill those that run some time later (10
seconds, unless --stop-timeout or -t says otherwise).
""",
    "kill": """\
usage: pyrun kill [-s SIGNAL] [--all] [--root DIR] CONTAINER...

Send the first process of containers a signal (default: KILL).
""",
    "wait": """\
usage: pyrun wait [--root DIR] CONTAINER...

Wait until containers have ended; print their exit statuses.
""",
    "rm": """\
usage: pyrun rm [-f [-t SECONDS]] [--all] [--root DIR] CONTAINER...

Remove containers that do not run, with what they have written. -f: also those that run, which
get so many seconds (default: none) to end.
""",
}
_SOON_S = 0.01


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs for all that are named; the first error counts."""
    fields, operands = TABLES[verb].parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELPS[verb])
        return 0
    if not fields.get("all"):
        one_or_more(operands, verb)
    store = open_store(fields.get("root"))
    if fields.get("all"):
        wanted = [seen.record.id for seen in look_at_all(store) if seen.is_alive or verb == "rm"]
    else:
        wanted = operands
    do = _action(verb, fields)
    for_each(wanted, lambda word: do(store, word))
    return 0


def _action(verb: str, fields: dict[str, str]) -> Callable[[Store, str], None]:
    timeout = fields.get("time")
    if timeout is not None and not (timeout.isascii() and timeout.isdigit()):
        raise UsageError(f"--time {timeout!r}: seconds expected")
    seconds = None if timeout is None else int(timeout)
    number = signal_number(fields.get("signal", "KILL"))
    match verb:
        case "stop":
            return lambda store, word: _stop(store, word, seconds)
        case "kill":
            return lambda store, word: _kill(store, word, number)
        case "wait":
            return _wait
        case _:
            return lambda store, word: _remove(
                store,
                word,
                seconds,
                force=bool(fields.get("force")),
                volumes=bool(fields.get("volumes")),
            )


def _stop(store: Store, word: str, seconds: int | None) -> None:
    seen = look_at(store, word)
    if seen.is_alive:
        stop(seen, seconds)
        note(store, "stop", seen.record)
    say(f"{word}\n")


def stop(seen: Seen, seconds: int | None = None) -> None:
    """Send the container's stop signal, and kill it when so many seconds have passed."""
    record = seen.record
    _send(seen, signal_number(record.stop_signal))
    if not _ends(seen.path, record.stop_timeout_s if seconds is None else seconds):
        _send(seen, signal_number("KILL"))
        _ends(seen.path, None)


def _kill(store: Store, word: str, number: int) -> None:
    seen = look_at(store, word)
    if not seen.is_alive:
        raise ContainerError(f"container {word} is {seen.status}, not running")
    _send(seen, number)
    note(store, "kill", seen.record, signal=str(number))
    say(f"{word}\n")


def _send(seen: Seen, number: int) -> None:
    """Send a signal; one that the first process would not get at all kills it, if it is to end."""
    from runtime.engine.containers import state_directory
    from runtime.lifecycle.operations import kill_container
    from runtime.sandbox.running import Container

    directory = state_directory(seen.record.id)
    try:
        assert seen.state is not None
        if not Container(pid=seen.state.pid).handles(number):
            number = signal_number("KILL")
        kill_container(directory, number)
    except (ContainerError, FileNotFoundError, ProcessLookupError):
        if seen.state is not None and seen.state.is_alive:
            raise  # it did not end meanwhile


def _ends(path: str, seconds: float | None) -> bool:
    """Whether a container has ended within a time, or ever (None)."""
    ends = None if seconds is None else monotonic() + seconds
    while is_monitored(path):
        if ends is not None and monotonic() > ends:
            return False
        sleep(_SOON_S)
    return True


def _wait(store: Store, word: str) -> None:
    seen = look_at(store, word)
    while seen.is_alive:
        _ends(seen.path, None)
        if not os.path.isdir(seen.path):
            raise ContainerError(f"container {word} was removed when it ended")
        seen = look_at(store, word)
    if seen.exit is None:
        raise ContainerError(f"container {word} was not started yet")
    say(f"{seen.exit.status}\n")


def _remove(store: Store, word: str, seconds: int | None, *, force: bool, volumes: bool) -> None:
    seen = look_at(store, word)
    if seen.is_alive:
        if not force:
            raise ContainerError(
                f"container {word} is {seen.status}",
                hint=f"`pyrun stop {word}` first, or `pyrun rm -f {word}`",
            )
        stop(seen, 0 if seconds is None else seconds)
    if os.path.isdir(seen.path):  # with --rm it is gone by now
        remove(store, seen.path, seen.record, volumes=volumes or seen.record.auto_remove)
    say(f"{word}\n")
