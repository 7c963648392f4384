"""`pyrun exec`: another process in a container that runs."""

from __future__ import annotations

import os

from runtime.engine.cli import say
from runtime.engine.containers import state_directory
from runtime.engine.env_file import merged, with_files
from runtime.engine.joining import open_store_beside, running
from runtime.errors import UsageError
from runtime.lifecycle.exec import ExecOptions, execute
from runtime.lifecycle.exec_options import user_of
from runtime.lifecycle.kept import spec_of
from runtime.options import OptionTable
from runtime.sandbox.foreground import attend, hold_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.oci.spec import Process
    from runtime.sandbox.landlock import Ruleset

HELP = """\
usage: pyrun exec [OPTIONS] CONTAINER COMMAND...

Run a command in a container that runs, confined as that is: its capabilities, its filter of system
calls, its limits. Its variables, directory and user are the container's, unless said otherwise.

  -i, --interactive          connect standard input
  -t, --tty                  give it a terminal
  -d, --detach               do not wait for it
  -e, --env NAME[=VALUE]     set a variable, or pass on the caller's
      --env-file FILE        variables, one in a line
  -u, --user USER[:GROUP]    names are looked up in the container
  -w, --workdir DIR          working directory

Exit status: the command's own; 128+N if signal N ended it; 127 if it is not found,
126 if it cannot be executed, 125 if pyrun itself failed.
"""

TABLE = OptionTable(
    "pyrun exec",
    values={
        "--root": "root",
        "-u": "user",
        "--user": "user",
        "-w": "cwd",
        "--workdir": "cwd",
    },
    lists={"-e": "env", "--env": "env", "--env-file": "env_files"},
    flags={
        "-i": "interactive",
        "--interactive": "interactive",
        "-t": "terminal",
        "--tty": "terminal",
        "-d": "detach",
        "--detach": "detach",
        "--help": "help",
    },
)


def main(_: str, arguments: list[str]) -> int:
    """Run the command; returns its exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=True)
    if fields.get("help"):
        say(HELP)
        return 0
    if len(operands) < 2:
        raise UsageError(
            "pyrun exec: a container and a command expected", hint="pyrun exec --help"
        )
    interactive, detach = bool(fields.get("interactive")), bool(fields.get("detach"))
    if fields.get("terminal") and detach:
        raise UsageError("-d and -t: nobody would see the terminal", hint="leave -t out")
    if fields.get("terminal") and interactive and not os.isatty(0):
        raise UsageError("-i and -t: standard input is not a terminal", hint="leave -t out")
    env = with_files(fields)
    store, path = open_store_beside(fields.get("root"), operands[0])
    record = running(store, path).record
    directory = state_directory(record.id)
    base = spec_of(directory).process
    if record.secrets:
        from runtime.engine.secret_mounts import with_variables

        base = with_variables(store, record, base)
    process = _process(base, fields, env, tuple(operands[1:]))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    if not detach:
        hold_signals()
    options = ExecOptions(
        detach=detach,
        # What is started beside the caller must not hold what somebody reads to its end.
        stdio=(null, null, null) if detach else (0 if interactive else null, 1, 2),
        landlock=ruleset(record.landlock),
    )
    container = execute(directory, process, options)
    return 0 if detach else attend(container, interactive=interactive)


def ruleset(rules: tuple[str, ...]) -> Ruleset | None:
    """What `--landlock` asked for when the container was made."""
    if not rules:
        return None
    from runtime.sandbox.landlock import parse_rules

    return parse_rules(rules)


def _process(
    base: Process, fields: dict[str, Any], env: tuple[str, ...], command: tuple[str, ...]
) -> Process:
    terminal = bool(fields.get("terminal"))
    cwd = fields.get("cwd") or base.cwd
    if not cwd.startswith("/"):
        raise UsageError(f"-w {cwd!r}: an absolute path expected")
    values = merged(base.env, env)
    if terminal and not any(item.startswith("TERM=") for item in values):
        values = (*values, "TERM=xterm")
    return base.replace(
        args=command,
        env=values,
        cwd=cwd,
        user=user_of(fields["user"]) if fields.get("user") else base.user,
        terminal=terminal,
        console_size=None,
    )
