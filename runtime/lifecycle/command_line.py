"""The command line of `pyrun oci`: the verbs and spellings that engines use for an OCI runtime."""

from __future__ import annotations

from runtime.errors import UsageError
from runtime.options import OptionTable
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

HELP = """\
usage: pyrun oci [GLOBAL-OPTIONS] VERB [OPTIONS] [ID] [ARGUMENTS]
       pyrun-oci …              the same, for engines (podman --runtime pyrun-oci)

An OCI runtime (runtime-spec 1.2) for bundles: a directory with config.json and a root.

  create [--bundle DIR] [--pid-file FILE] [--console-socket PATH] [--preserve-fds N]
         [--config FILE] [--no-new-keyring] [--init] ID
  start ID                      run what was created
  run    (create's options) [--detach] [--keep] ID
  state ID                      as JSON
  kill [--all] ID [SIGNAL]      TERM by default
  delete [--force] ID
  exec [--process FILE | [--cwd DIR] [--env K=V] [--user USER] [--cap CAP] [--tty]
         [--no-new-privs]] [--detach] [--pid-file FILE] [--console-socket PATH]
         [--preserve-fds N] ID [COMMAND…]
  list [-q] [-f table|json]     all containers
  ps [-f table|json] ID         the processes of one
  pause ID, resume ID
  update [--resources FILE|-] [--memory BYTES] [--pids-limit N] [--cpu-quota US] … ID
  events [--stats] [--interval SECONDS] ID
  mounts add|remove ID FILE     mounts of a JSON array, in a running container
  features                      what this runtime can do, as JSON
  spec [--bundle DIR] [--rootless]    write an example config.json

Global options: --root DIR (default: /run/pyrun, or $XDG_RUNTIME_DIR/pyrun), --log FILE,
--log-format text|json, --debug, --cgroup-manager cgroupfs, --version, --help

Exit status: `run` and `exec` end as their command does; 128+N if signal N ended it. 127 if it is
not found, 126 if it cannot be executed, 125 if pyrun itself failed.
"""

GLOBAL_TABLE = OptionTable(
    "pyrun oci",
    values={
        "--root": "root",
        "--log": "log",
        "--log-format": "log_format",
        "--cgroup-manager": "cgroup_manager",
    },
    lists={},
    flags={
        "--debug": "debug",
        "--systemd-cgroup": "systemd_cgroup",
        "--version": "version",
        "-v": "version",
        "--help": "help",
        "-h": "help",
    },
)

_CREATE_VALUES = {
    "--bundle": "bundle",
    "-b": "bundle",
    "--config": "config",
    "-f": "config",
    "--pid-file": "pid_file",
    "--console-socket": "console_socket",
    "--preserve-fds": "preserved_fds",
}
_CREATE_FLAGS = {"--no-new-keyring": "no_new_keyring", "--init": "init"}
# Option of `update` -> member of the specification's resources, and of what.
LIMITS = {
    "--memory": "memory.limit",
    "-m": "memory.limit",
    "--memory-reservation": "memory.reservation",
    "--memory-swap": "memory.swap",
    "--cpu-period": "cpu.period",
    "--cpu-quota": "cpu.quota",
    "--cpu-burst": "cpu.burst",
    "--cpu-share": "cpu.shares",
    "--cpu-shares": "cpu.shares",
    "--cpu-rt-period": "cpu.realtimePeriod",
    "--cpu-rt-runtime": "cpu.realtimeRuntime",
    "--cpu-idle": "cpu.idle",
    "--cpuset-cpus": "cpu.cpus",
    "--cpuset-mems": "cpu.mems",
    "--pids-limit": "pids.limit",
    "--blkio-weight": "blockIO.weight",
}


def _table(
    verb: str,
    values: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    lists: Mapping[str, str] | None = None,
) -> OptionTable:
    return OptionTable(
        f"pyrun oci {verb}", values=values or {}, lists=lists or {}, flags=flags or {}
    )


_QUIET = {"--quiet": "quiet", "-q": "quiet"}
VERBS: Mapping[str, Callable[[], OptionTable]] = {
    "create": lambda: _table("create", _CREATE_VALUES, _CREATE_FLAGS),
    "run": lambda: _table(
        "run",
        _CREATE_VALUES,
        _CREATE_FLAGS | {"--detach": "detach", "-d": "detach", "--keep": "keep"},
    ),
    "start": lambda: _table("start"),
    "state": lambda: _table("state"),
    "kill": lambda: _table("kill", flags={"--all": "all", "-a": "all"}),
    "delete": lambda: _table("delete", flags={"--force": "force", "-f": "force"}),
    "exec": lambda: _table(
        "exec",
        {
            "--process": "process",
            "-p": "process",
            "--cwd": "cwd",
            "--user": "user",
            "-u": "user",
            "--pid-file": "pid_file",
            "--console-socket": "console_socket",
            "--preserve-fds": "preserved_fds",
        },
        {
            "--tty": "tty",
            "-t": "tty",
            "--detach": "detach",
            "-d": "detach",
            "--no-new-privs": "no_new_privs",
        },
        {"--env": "env", "-e": "env", "--cap": "cap", "-c": "cap"},
    ),
    "list": lambda: _table("list", {"--format": "format", "-f": "format"}, _QUIET),
    "ps": lambda: _table("ps", {"--format": "format", "-f": "format"}),
    "pause": lambda: _table("pause"),
    "resume": lambda: _table("resume"),
    "update": lambda: _table("update", {"--resources": "resources", "-r": "resources"} | LIMITS),
    "events": lambda: _table("events", {"--interval": "interval"}, {"--stats": "stats"}),
    "mounts": lambda: _table("mounts"),
    "features": lambda: _table("features"),
    "spec": lambda: _table(
        "spec", {"--bundle": "bundle", "-b": "bundle"}, {"--rootless": "rootless"}
    ),
}
# Of these, what follows the id is the command's own.
_COMMANDS = frozenset({"exec"})
_WITHOUT_ID = frozenset({"list", "features", "spec"})


class CommandLine(Record):
    """A parsed command line."""

    verb: str  # "" for --help and --version
    settings: Mapping[str, Any]  # the global options
    fields: Mapping[str, Any]
    operands: tuple[str, ...]  # the id first, where the verb has one


def parse(arguments: list[str]) -> CommandLine:
    """Parse the arguments after `pyrun oci`; raises UsageError."""
    settings, rest = GLOBAL_TABLE.parse(arguments, operands_end_options=True)
    if settings.get("help") or settings.get("version"):
        return CommandLine(verb="", settings=settings, fields={}, operands=())
    if not rest:
        raise UsageError("no verb given", hint="pyrun oci --help")
    verb = rest[0]
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}", hint=_nearest(verb))
    manager = settings.get("cgroup_manager", "cgroupfs")
    if manager != "cgroupfs" or settings.get("systemd_cgroup"):
        raise UsageError(
            "only cgroupfs is there to manage control groups", hint="--cgroup-manager cgroupfs"
        )
    table = VERBS[verb]()
    fields, operands = table.parse(rest[1:], operands_end_options=verb in _COMMANDS)
    if verb not in _WITHOUT_ID and not operands:
        raise UsageError(f"{verb}: no container id given", hint="pyrun oci --help")
    _check_operands(verb, operands)
    return CommandLine(verb=verb, settings=settings, fields=fields, operands=tuple(operands))


def _check_operands(verb: str, operands: list[str]) -> None:
    most = {"kill": 2, "mounts": 3, "list": 0, "features": 0, "spec": 0}.get(verb, 1)
    if verb not in _COMMANDS and len(operands) > most:
        raise UsageError(f"{verb}: unexpected {operands[most]!r}")


def _nearest(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, 1)
    return f"did you mean {near[0]}?" if near else "pyrun oci --help"


def number(text: str, option: str) -> int:
    """An option's value as a number; raises UsageError."""
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise UsageError(f"{option} {text!r}: a number expected")
    return int(text)
