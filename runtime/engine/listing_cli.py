"""`pyrun ps`."""

from __future__ import annotations

from time import time_ns

from runtime.engine.cli import open_store, say
from runtime.engine.containers import CREATED, PAUSED, Seen, look_at_all, short
from runtime.engine.filters import Filters
from runtime.engine.health import STARTING, health_of
from runtime.engine.record import NAMESPACES
from runtime.engine.run_line import whole_number
from runtime.engine.times import duration_text, nanoseconds
from runtime.errors import UsageError
from runtime.options import OptionTable
from runtime.templates import aligned, rows_text

HELP = """\
usage: pyrun ps [OPTIONS]

List the containers that run.

  -a, --all             those that do not run as well
  -q, --quiet           ids alone
      --no-trunc        nothing is shortened
  -f, --filter KEY=VALUE
                        name (a regular expression), id, status (created, running, paused,
                        exited), label, ancestor (the image), exited (the status), health
                        (starting, healthy, unhealthy, none)
  -n, --last N          the N newest, whether they run or not;  -l, --latest: the newest
      --ns              the ids of their namespaces
      --format json|TEMPLATE
                        {{.ID}} .Image .Command .CreatedAt .RunningFor .Status .State .Ports
                        .Names .Labels .Pid .ExitCode, and of --ns: .PIDNS .MNT .NET .IPC .UTS
                        .USERNS .CGROUPNS .TIME; `table TEMPLATE` has a head
      --root DIR
"""
TABLE = OptionTable(
    "pyrun ps",
    values={
        "--root": "root",
        "--format": "format",
        "-n": "last",
        "--last": "last",
    },
    lists={"-f": "filters", "--filter": "filters"},
    flags={
        "-a": "all",
        "--all": "all",
        "-q": "quiet",
        "--quiet": "quiet",
        "--no-trunc": "whole",
        "-l": "latest",
        "--latest": "latest",
        "--ns": "namespaces",
        "--namespace": "namespaces",
        "--help": "help",
    },
)
_TITLES = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Pid": "PID",
    "ExitCode": "EXIT CODE",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
# podman's names
_NAMESPACE_TITLES = {
    "pid": "PIDNS",
    "mnt": "MNT",
    "net": "NET",
    "ipc": "IPC",
    "uts": "UTS",
    "user": "USERNS",
    "cgroup": "CGROUPNS",
    "time": "TIME",
}
_COMMAND = 20  # characters, as docker's


def main(_: str, arguments: list[str]) -> int:
    """List containers."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if operands:
        raise UsageError(f"pyrun ps: {operands[0]!r} is too much", hint="--filter name=NAME")
    filters = Filters(fields.get("filters", ()))
    last = 1 if fields.get("latest") else whole_number(fields.get("last", "0"), "--last")
    every = fields.get("all") or last or filters.names_status
    store = open_store(fields.get("root"))
    found = [seen for seen in look_at_all(store) if (seen.is_alive or every) and filters.let(seen)]
    if last:
        found = found[:last]
    whole = bool(fields.get("whole"))
    if fields.get("quiet"):
        say("".join(f"{seen.record.id if whole else short(seen.record.id)}\n" for seen in found))
        return 0
    now = time_ns()
    rows = [row_of(seen, now, whole=whole) for seen in found]
    titles = _TITLES | {name: name for name in _NAMESPACE_TITLES.values()}
    if "format" in fields:
        say(rows_text(rows, fields["format"], titles))
        return 0
    columns = ("ID", "Names", "Pid", *_NAMESPACE_TITLES.values())
    columns = columns if fields.get("namespaces") else _COLUMNS
    table = [tuple(titles[name] for name in columns)]
    table += [tuple(str(row[name]) for name in columns) for row in rows]
    say(aligned(table))
    return 0


def row_of(seen: Seen, now_ns: int, *, whole: bool) -> dict[str, object]:
    """What is shown of a container."""
    record = seen.record
    command = " ".join(record.command)
    if not whole and len(command) > _COMMAND:
        command = f"{command[: _COMMAND - 1]}…"
    namespaces = (seen.run.namespaces if seen.run is not None and seen.is_alive else None) or {}
    # What a command is called must not steer the terminal of who looks.
    command = "".join(c if c.isprintable() else "?" for c in command)
    return {
        "ID": record.id if whole else short(record.id),
        "Image": record.image,
        "Command": f'"{command}"',
        "CreatedAt": record.created,
        "RunningFor": f"{duration_text(now_ns - nanoseconds(record.created))} ago",
        "Status": status_text(seen, now_ns),
        "State": seen.status,
        "Ports": "",
        "Names": record.name,
        "Labels": ",".join(f"{name}={value}" for name, value in record.labels),
        "Pid": seen.state.pid if seen.state is not None else 0,
        "ExitCode": seen.exit.status if seen.exit is not None else 0,
        **{_NAMESPACE_TITLES[name]: namespaces.get(name, "") for name in NAMESPACES},
    }


def status_text(seen: Seen, now_ns: int) -> str:
    """As docker has it: "Up 5 minutes", "Exited (0) 3 minutes ago"."""
    if seen.exit is not None:
        ago = duration_text(now_ns - nanoseconds(seen.exit.finished))
        return f"Exited ({seen.exit.status}) {ago} ago"
    if seen.status == CREATED or seen.run is None:
        return "Created"
    up = f"Up {duration_text(now_ns - nanoseconds(seen.run.started))}"
    if seen.status == PAUSED:
        return f"{up} (Paused)"
    status = health_of(seen)
    return f"{up} ({'health: ' if status == STARTING else ''}{status})" if status else up
