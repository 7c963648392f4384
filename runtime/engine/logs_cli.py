"""`pyrun logs`."""

from __future__ import annotations

import os
from collections import deque
from time import sleep, time_ns

from runtime.engine.cli import one_or_more, open_store, say
from runtime.engine.containers import EXITED, Seen, look, look_at
from runtime.engine.log_reader import Entry, LogReader
from runtime.engine.logfile import timestamp
from runtime.engine.run_line import whole_number
from runtime.engine.times import read_time
from runtime.errors import ContainerError, UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runtime.store.store import Store

HELP = """\
usage: pyrun logs [OPTIONS] CONTAINER...

Show what containers have said, on standard output and on standard error.

  -f, --follow          go on until they end
  -n, --tail N|all      the last N lines alone
      --since TIME      RFC 3339, seconds since 1970, or a while ago, such as 10m
      --until TIME
  -t, --timestamps      the time before each line
      --names           the name before each line
      --root DIR
"""
TABLE = OptionTable(
    "pyrun logs",
    values={
        "--root": "root",
        "-n": "tail",
        "--tail": "tail",
        "--since": "since",
        "--until": "until",
    },
    lists={},
    flags={
        "-f": "follow",
        "--follow": "follow",
        "-t": "times",
        "--timestamps": "times",
        "--names": "names",
        "--help": "help",
    },
)
_SOON_S = 0.05


def main(_: str, arguments: list[str]) -> int:
    """Show what containers have said."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    names = one_or_more(operands, "logs")
    tail = fields.get("tail", "all")
    last = None if tail in ("all", "-1") else whole_number(tail, "--tail")
    now = time_ns()
    since, until = (
        timestamp(read_time(fields[name], f"--{name}", now)) if name in fields else ""
        for name in ("since", "until")
    )
    if since and until and until < since:
        raise UsageError("--until is before --since: there is nothing between them")
    store = open_store(fields.get("root"))
    shown = [_Shown(look_at(store, name), since, until, fields) for name in names]
    for one in shown:
        one.begin(last)
    follows = bool(fields.get("follow"))
    while follows:
        # Looked at before it is read: what it said last is not missed.
        living = [one for one in shown if _may_say_more(store, one.seen)]
        for one in shown:
            one.go_on()
        if not living or (until and timestamp(time_ns()) > until):
            break
        shown = living
        sleep(_SOON_S)
    return 0


def _may_say_more(store: Store, seen: Seen) -> bool:
    try:
        return look(store, seen.path).status != EXITED
    except (ContainerError, FileNotFoundError):  # removed
        return False


class _Shown:
    """One container's log on its way to the caller."""

    def __init__(self, seen: Seen, since: str, until: str, fields: dict[str, object]) -> None:
        self.seen = seen
        self._reader = LogReader(seen.path, seen.record.log_files)
        self._since, self._until = since, until
        self._times = bool(fields.get("times"))
        self._name = f"{seen.record.name} " if fields.get("names") else ""
        self._begins = [True, True]  # each stream: whether a line begins

    def begin(self, last: int | None) -> None:
        """Show what there is, or the last lines of it."""
        entries: Iterable[Entry] = self._wanted()
        if last is not None:
            entries = _last_lines(entries, last)
        self._show(entries)

    def go_on(self) -> None:
        """Show what has come since."""
        self._show(self._wanted())

    def _wanted(self) -> Iterable[Entry]:
        for entry in self._reader.entries():
            if entry.time >= self._since and (not self._until or entry.time <= self._until):
                yield entry

    def _show(self, entries: Iterable[Entry]) -> None:
        texts: list[list[bytes]] = [[], []]
        before = 0
        for entry in entries:
            if entry.stream != before or len(texts[before]) > 256:
                _write(before, texts[before])
                before = entry.stream
            text = entry.text + (b"\n" if entry.ends else b"")
            if self._begins[entry.stream]:
                time = f"{entry.time} " if self._times else ""
                text = f"{self._name}{time}".encode() + text
            self._begins[entry.stream] = entry.ends
            texts[entry.stream].append(text)
        _write(before, texts[before])


def _write(stream: int, texts: list[bytes]) -> None:
    content = b"".join(texts)
    texts.clear()
    while content:
        content = content[os.write(stream + 1, content) :]


def _last_lines(entries: Iterable[Entry], count: int) -> Iterable[Entry]:
    """The last lines; a line in pieces counts once."""
    lines: deque[list[Entry]] = deque(maxlen=count)
    begun: dict[int, list[Entry]] = {}
    for entry in entries:
        line = begun.get(entry.stream)
        if line is None:
            line = []
            if count:
                lines.append(line)
        line.append(entry)
        if entry.ends:
            begun.pop(entry.stream, None)
        else:
            begun[entry.stream] = line
    return [entry for line in lines for entry in line]
