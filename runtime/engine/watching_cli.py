"""`pyrun top` and `stats`."""

from __future__ import annotations

import os
from time import monotonic_ns, sleep

from runtime.engine.cli import one_or_more, open_store, say
from runtime.engine.containers import Seen, look, look_at, look_at_all, short, state_directory
from runtime.errors import ContainerError
from runtime.options import OptionTable
from runtime.record import Record
from runtime.templates import aligned, rows_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.store.store import Store

_TOP_HELP = """\
usage: pyrun top [--root DIR] CONTAINER

The processes of a container, by the ids that the host has for them.
"""
_STATS_HELP = """\
usage: pyrun stats [--no-stream] [--format json|TEMPLATE] [-a] [--root DIR] [CONTAINER...]

What containers use: processor time, memory, processes, input and output; anew each second.

      --no-stream  once
  -a, --all        those that do not run as well
      --no-trunc   whole ids
      --format     json, or {{.ID}} .Name .CPUPerc .MemUsage .MemPerc .PIDs .BlockIO .NetIO
"""
_TOP = OptionTable("pyrun top", values={"--root": "root"}, lists={}, flags={"--help": "help"})
_STATS = OptionTable(
    "pyrun stats",
    values={"--root": "root", "--format": "format"},
    lists={},
    flags={
        "--no-stream": "once",
        "--no-trunc": "whole",
        "-a": "all",
        "--all": "all",
        "--help": "help",
    },
)
TABLES = {"top": _TOP, "stats": _STATS}
HELPS = {"top": _TOP_HELP, "stats": _STATS_HELP}
_TITLES = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_INTERVAL_S = 1


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs; raises PyrunError."""
    if verb == "top":
        return _top(arguments)
    fields, operands = _STATS.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(_STATS_HELP)
        return 0
    form = fields.get("format", "")
    if form:
        rows_text([], form, _TITLES)
    store = open_store(fields.get("root"))
    before = _figures(store, operands, every=bool(fields.get("all")))
    while True:
        sleep(_INTERVAL_S)
        now = _figures(store, operands, every=bool(fields.get("all")))
        rows = [
            _row(one, before.get(one.id), whole=bool(fields.get("whole"))) for one in now.values()
        ]
        if form:
            say(rows_text(rows, form, _TITLES))
        else:
            if os.isatty(1) and not fields.get("once"):
                say("\x1b[H\x1b[J")
            table = [tuple(_TITLES.values()), *(tuple(row.values()) for row in rows)]
            say(aligned(table))
        if fields.get("once"):
            return 0
        before = now


def _top(arguments: list[str]) -> int:
    from runtime.lifecycle.listing import print_processes

    fields, operands = _TOP.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(_TOP_HELP)
        return 0
    names = one_or_more(operands, "top")
    seen = look_at(open_store(fields.get("root")), names[0])
    if not seen.is_alive:
        raise ContainerError(f"container {names[0]} is {seen.status}, not running")
    say(print_processes(state_directory(seen.record.id), "table"))
    return 0


class _Figures(Record):
    """What one container has used at one moment."""

    id: str
    name: str
    at_ns: int
    stats: Any = None  # as `Group.stats`; None: it does not run


def _figures(store: Store, words: list[str], *, every: bool) -> dict[str, _Figures]:
    if words:
        seen = [look_at(store, word) for word in words]
        for word, one in zip(words, seen, strict=True):
            if not one.is_alive and not every:
                raise ContainerError(f"container {word} is {one.status}, not running")
    else:
        seen = [one for one in look_at_all(store) if one.is_alive or every]
    return {one.record.id: _figures_of(store, one) for one in seen}


def _figures_of(store: Store, seen: Seen) -> _Figures:
    from runtime.lifecycle.operations import group_of

    stats = None
    if seen.state is not None:
        group = group_of(seen.state)
        if group is None:
            raise ContainerError(
                f"container {seen.record.name} has no control group, so no figures",
                hint="root, or a user with a delegated group (systemd: Delegate=yes), has one",
            )
        try:
            stats = group.stats()
        except (ContainerError, OSError):
            if look(store, seen.path).is_alive:
                raise
    return _Figures(id=seen.record.id, name=seen.record.name, at_ns=monotonic_ns(), stats=stats)


def _row(now: _Figures, before: _Figures | None, *, whole: bool) -> dict[str, str]:
    stats = now.stats or {}
    used, limit = _memory(stats)
    read, written = _block_io(stats)
    pids = stats.get("pids", {}).get("current", 0)
    return {
        "ID": now.id if whole else short(now.id),
        "Name": now.name,
        "CPUPerc": f"{_processors(now, before) * 100:.2f}%",
        "MemUsage": f"{_size(used, 1024, 'iB')} / {_size(limit, 1024, 'iB')}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "NetIO": "-- / --",
        "BlockIO": f"{_size(read, 1000, 'B')} / {_size(written, 1000, 'B')}",
        "PIDs": str(pids),
    }


def _processors(now: _Figures, before: _Figures | None) -> float:
    if before is None or not now.stats or not before.stats or now.at_ns <= before.at_ns:
        return 0.0
    used = now.stats["cpu"]["usage"]["total"] - before.stats["cpu"]["usage"]["total"]
    return float(max(used, 0) / (now.at_ns - before.at_ns))


def _memory(stats: dict[str, Any]) -> tuple[int, int]:
    """Bytes in use, as docker counts them (without what the cache can give back), and allowed."""
    memory = stats.get("memory", {})
    raw, usage = memory.get("raw", {}), memory.get("usage", {})
    inactive = raw.get("total_inactive_file", raw.get("inactive_file", 0))
    used = usage.get("usage", 0)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(used - inactive, 0), min(usage.get("limit", machine), machine)


def _block_io(stats: dict[str, Any]) -> tuple[int, int]:
    entries = stats.get("blkio", {}).get("ioServiceBytesRecursive", [])
    read, written = (
        sum(entry["value"] for entry in entries if entry["op"] == kind)
        for kind in ("Read", "Write")
    )
    return read, written


def _size(count: int, step: int, end: str) -> str:
    amount, unit = float(count), ""
    for bigger in ("k" if step == 1000 else "K", "M", "G", "T"):
        if amount < step:
            break
        amount, unit = amount / step, bigger
    return f"{amount:.4g}{unit}{end}" if unit else f"{count}B"
