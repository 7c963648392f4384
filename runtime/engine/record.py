"""What is kept of a container: `<store>/containers/<id>/`, there until somebody removes it.

record.json    who it is and what was asked for
spec           its configuration, ready for use (`runtime.oci.packed`)
run.json       the process that it is, or was last
exit.json      how that ended; not there while it runs
health.json    whether it is well (`health`)
upper, work    what it has written, over the layers of its image
log, log.1...  what it has said (`logfile`)
attach         the socket of its monitor, while it runs
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError, PyrunError
from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOG_SIZE, LOG_FILES = 10 << 20, 3  # bytes of a file, files: a log that nobody reads stays small
STOP_TIMEOUT_S = 10  # docker's and podman's
NAMESPACES = ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup", "time")


class ContainerRecord(Record):
    """A container, as it was asked for."""

    id: str  # 64 hexadecimal digits
    name: str
    image: str  # as it was named; an archive's path is absolute
    platform: str = ""
    descriptor: Any = None  # of the image's manifest (image-spec descriptor.md); None: an archive
    created: str  # RFC 3339
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()  # what of the command is that
    labels: tuple[tuple[str, str], ...] = ()
    auto_remove: bool = False
    interactive: bool = False  # standard input stays open
    terminal: bool = False
    init: bool = False
    stop_signal: str = "TERM"
    stop_timeout_s: int = STOP_TIMEOUT_S
    log_size: int = LOG_SIZE
    log_files: int = LOG_FILES
    seccomp: str = ""
    landlock: tuple[str, ...] = ()
    asked_pids: bool = False  # somebody wants the limit of processes that it has
    secrets: tuple[Any, ...] = ()  # references to them, as `secret_words` has them
    health: Any = None  # what it is asked, as `health` has it

    def to_json(self) -> dict[str, object]:
        """What is written to record.json."""
        values = {field: getattr(self, field) for field in ContainerRecord._fields}
        return values | {"labels": dict(self.labels)}


class Run(Record):
    """The process that a container is, or was last."""

    pid: int
    monitor: int  # pid of its monitor
    started: str  # RFC 3339
    namespaces: Any = None  # of NAMESPACES: the number of each, as /proc/PID/ns has it


class Exit(Record):
    """How a container ended."""

    status: int  # as a shell has it
    finished: str  # RFC 3339
    oom_killed: bool = False
    error: str = ""  # what went wrong beside it


def read_record(path: str) -> ContainerRecord:
    """The record of a container's directory; raises ContainerError for a damaged one."""
    values = _read(path, "record.json", ContainerRecord._fields)
    if values is None:
        raise ContainerError(f"{path}/record.json: missing")
    try:
        for field in ("command", "entrypoint", "landlock", "secrets"):
            values[field] = tuple(values.get(field) or ())
        values["labels"] = tuple((values.get("labels") or {}).items())
        return ContainerRecord(**values)
    except (TypeError, AttributeError) as error:
        raise ContainerError(f"{path}/record.json: damaged ({error})") from error


def read_run(path: str) -> Run | None:
    """The process of a container's directory; None if it was never started."""
    values = _read(path, "run.json", Run._fields)
    return None if values is None else Run(**values)


def read_exit(path: str) -> Exit | None:
    """How a container ended; None if it did not, or was not started."""
    values = _read(path, "exit.json", Exit._fields)
    return None if values is None else Exit(**values)


def _read(path: str, name: str, fields: tuple[str, ...]) -> dict[str, Any] | None:
    where = f"{path}/{name}"
    try:
        with open(where, "rb") as file:
            document = parse_json(file.read(), where)
    except FileNotFoundError:
        return None
    except PyrunError as error:
        raise ContainerError(f"{where}: damaged ({error.message})") from error
    return {field: document[field] for field in fields if field in document}


def write_file(path: str, name: str, document: dict[str, object]) -> None:
    """Write a document of a container's directory, whole or not at all."""
    aside = f"{path}/.{name}.{os.getpid()}"
    with open(aside, "wb") as file:
        file.write(to_text(document).encode("utf-8", "surrogateescape"))
    os.rename(aside, f"{path}/{name}")


def write_run(path: str, run: Run) -> None:
    """Record which process it is."""
    write_file(path, "run.json", {field: getattr(run, field) for field in Run._fields})


def write_exit(path: str, ended: Exit) -> None:
    """Record how it ended."""
    write_file(path, "exit.json", {field: getattr(ended, field) for field in Exit._fields})
