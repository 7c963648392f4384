"""`pyrun run`, `create`, `start` and `attach`."""

from __future__ import annotations

import os
import socket

from runtime.engine.attaching import DETACH_KEYS, DETACHED, Attached, connect, read_keys
from runtime.engine.cli import one_or_more, open_store, say
from runtime.engine.containers import find, look, look_at, remove
from runtime.engine.launching import make_container, start_container
from runtime.engine.record import ContainerRecord
from runtime.engine.run_line import HELP, RUN_TABLE, RunLine, parse_run_line
from runtime.errors import ContainerError, UsageError
from runtime.options import OptionTable
from runtime.store.store import Store

_START = OptionTable(
    "pyrun start",
    values={"--root": "root", "--detach-keys": "detach_keys"},
    lists={},
    flags={
        "--help": "help",
        "-a": "attach",
        "--attach": "attach",
        "-i": "interactive",
        "--interactive": "interactive",
    },
)
_ATTACH = OptionTable(
    "pyrun attach",
    values={"--root": "root", "--detach-keys": "detach_keys"},
    lists={},
    flags={"--no-stdin": "no_stdin", "--sig-proxy": "proxy", "--help": "help"},
)
TABLES = {"run": RUN_TABLE, "create": RUN_TABLE, "start": _START, "attach": _ATTACH}
HELPS = {
    "run": HELP,
    "create": HELP,
    "start": """\
usage: pyrun start [--root DIR] CONTAINER...
       pyrun start -a [-i] [--detach-keys KEYS] [--root DIR] CONTAINER

Start containers that do not run. -a: and be attached to one; -i: with its input.
""",
    "attach": """\
usage: pyrun attach [--no-stdin] [--sig-proxy=false] [--detach-keys KEYS] [--root DIR] CONTAINER

Join the caller's terminal, or its standard input and output, to a container that runs. The keys
(ctrl-p,ctrl-q) leave it running. Without --sig-proxy=false it gets the caller's signals.
""",
}


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs; returns the exit status. Raises PyrunError."""
    if verb in ("run", "create"):
        line = parse_run_line(arguments)
        if line.help:
            say(HELP)
            return 0
        return _run(line) if verb == "run" else _create(line)
    fields, operands = TABLES[verb].parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELPS[verb])
        return 0
    names = one_or_more(operands, verb)
    keys = read_keys(fields.get("detach_keys", DETACH_KEYS))
    store = open_store(fields.get("root"))
    if verb == "attach":
        return _attach(
            store,
            _only(names, verb),
            keys,
            stdin=not fields.get("no_stdin"),
            proxy=fields.get("proxy", True),
        )
    if fields.get("attach") or fields.get("interactive"):
        path = find(store, _only(names, verb))
        record = _startable(store, path)
        return _start_attached(
            store, path, record, keys, interactive=bool(fields.get("interactive"))
        )
    for name in names:
        path = find(store, name)
        start_container(store, path, _startable(store, path))
        say(f"{name}\n")
    return 0


def _only(names: list[str], verb: str) -> str:
    if len(names) != 1:
        raise UsageError(f"pyrun {verb}: one container, not {len(names)}")
    return names[0]


def _startable(store: Store, path: str) -> ContainerRecord:
    seen = look(store, path)
    if seen.is_alive:
        raise ContainerError(f"container {seen.record.name} is {seen.status} already")
    return seen.record


def _create(line: RunLine) -> int:
    store = open_store(line.root)
    _, record = _made(store, line)
    say(f"{record.id}\n")
    return 0


def _made(store: Store, line: RunLine) -> tuple[str, ContainerRecord]:
    if line.cidfile and os.path.exists(line.cidfile):
        raise UsageError(f"--cidfile {line.cidfile}: exists already")
    path, record = make_container(store, line)
    if line.cidfile:
        try:
            with open(line.cidfile, "x", encoding="ascii") as file:
                file.write(record.id)
        except OSError as error:
            remove(store, path, record)
            raise UsageError(f"--cidfile {line.cidfile}: {error.strerror}") from error
    return path, record


def _run(line: RunLine) -> int:
    options = line.options
    if options.terminal and options.interactive and not line.detach and not os.isatty(0):
        raise UsageError("-i and -t: standard input is not a terminal", hint="leave -t out")
    keys = read_keys(line.detach_keys or DETACH_KEYS)
    store = open_store(line.root)
    path, record = _made(store, line)
    try:
        if not line.detach:
            return _start_attached(store, path, record, keys, interactive=options.interactive)
        start_container(store, path, record)
    except BaseException:
        if line.auto_remove and os.path.isdir(path):
            remove(store, path, record)
        raise
    say(f"{record.id}\n")
    return 0


def _start_attached(
    store: Store, path: str, record: ContainerRecord, keys: bytes, *, interactive: bool
) -> int:
    ours, theirs = socket.socketpair()
    start_container(store, path, record, theirs)
    theirs.close()
    attached = Attached(ours, interactive=interactive, terminal=record.terminal, keys=keys)
    return _attended(attached)


def _attach(store: Store, name: str, keys: bytes, *, stdin: bool, proxy: bool) -> int:
    seen = look_at(store, name)
    if not seen.is_alive:
        raise ContainerError(f"container {name} is {seen.status}, not running")
    record = seen.record
    return _attended(
        Attached(
            connect(seen.path),
            interactive=stdin and record.interactive,
            terminal=record.terminal,
            keys=keys,
            proxy=proxy,
        )
    )


def _attended(attached: Attached) -> int:
    status = attached.attend()
    return 0 if status == DETACHED else status
