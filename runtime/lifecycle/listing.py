"""`list` and `ps`: containers and their processes, as a table or as JSON."""

from __future__ import annotations

import os

from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.operations import group_of, look, look_at_all
from runtime.lifecycle.state import report
from runtime.oci.json_text import to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.lifecycle.operations import Seen
    from runtime.lifecycle.state import ContainerDirectory


def _check_format(text: str) -> None:
    if text not in ("table", "json"):
        raise UsageError(f"--format {text!r}: table or json expected")


def print_containers(root: str, form: str, quiet: object) -> str:
    """All containers below a state directory."""
    _check_format(form)
    seen = look_at_all(root)
    if quiet:
        return "".join(f"{one.state.id}\n" for one in seen)
    if form == "json":
        return to_text([_row(one) for one in seen]) + "\n"
    rows = [
        (r["id"], str(r["pid"]), r["status"], r["bundle"], r["created"], r["owner"])
        for r in map(_row, seen)
    ]
    return _table(("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"), rows)


def _row(seen: Seen) -> dict[str, object]:
    pid = 0 if seen.status == "stopped" else seen.state.pid
    return report(seen.state, seen.status, pid) | {"owner": _owner(seen.state.uid)}


def _owner(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [tuple(map(str, line)) for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def print_processes(directory: ContainerDirectory, form: str) -> str:
    """The processes of one container, by the host's process ids."""
    _check_format(form)
    seen = look(directory)
    pids = sorted(processes(seen))
    if form == "json":
        return to_text(pids) + "\n"
    rows = []
    for pid in pids:
        try:
            rows.append((pid, *_describe(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended since it was listed
    return _table(("PID", "PPID", "UID", "STATE", "COMMAND"), rows)


def processes(seen: Seen) -> tuple[int, ...]:
    """The pids of a container's processes: of its control group, else of its PID namespace."""
    if seen.status == "stopped":
        raise ContainerError(f"container {seen.state.id!r} is stopped")
    group = group_of(seen.state)
    if group is not None:
        return tuple(group.processes())
    wanted = os.stat(f"/proc/{seen.state.pid}/ns/pid").st_ino
    if wanted == os.stat("/proc/self/ns/pid").st_ino:
        return (seen.state.pid,)  # it has neither: only the first process is known
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
                    found.append(int(name))
            except OSError:  # it ended, or is somebody else's
                continue
    return tuple(found)


def _describe(pid: int) -> tuple[str, str, str, str]:
    fields = {}
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="backslashreplace") as file:
        for line in file:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read().replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
    # What a container calls its processes must not steer the terminal of who looks.
    shown = "".join(c if c.isprintable() else "?" for c in command or f"[{fields['Name']}]")
    return fields["PPid"], fields["Uid"].split()[0], fields["State"][0], shown
