"""`pyrun enter`: a command in some namespaces of a container or process, as nsenter(1) does it."""

from __future__ import annotations

import os

from runtime.bundle import Options, entry_of
from runtime.engine.cli import open_store, say
from runtime.engine.containers import state_directory
from runtime.engine.exec_cli import ruleset
from runtime.engine.joining import join_users, open_store_beside, running
from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.exec import ExecOptions, join
from runtime.lifecycle.kept import filter_of, spec_of
from runtime.lifecycle.state import State, process_start
from runtime.oci.spec import Capabilities, Process, Spec, User
from runtime.options import OptionTable
from runtime.sandbox import capabilities, defaults, namespaces
from runtime.sandbox.entry import Entry
from runtime.sandbox.foreground import attend, hold_signals
from runtime.store.store import default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELP = """\
usage: pyrun enter [OPTIONS] CONTAINER|PID [COMMAND...]

Run a command, or a shell, in namespaces of a container or of any process: what is not joined is
the caller's. It has the capabilities and the filter of system calls of the container, of a process
those that `pyrun` gives, unless said otherwise.

      --ns KIND,...          pid, mnt, net, uts, ipc, user, cgroup, time (default: all)
  -u, --user USER[:GROUP]    (default: root)
  -w, --workdir DIR          (default: / where mnt is joined, else the caller's)
      --all-capabilities     those of the caller
      --security-opt seccomp=FILE|unconfined
      --root DIR             the store

Without root, the namespace of users is always joined. Exit status: as of `pyrun exec`.
"""

TABLE = OptionTable(
    "pyrun enter",
    values={
        "--root": "root",
        "--ns": "ns",
        "-u": "user",
        "--user": "user",
        "-w": "cwd",
        "--workdir": "cwd",
    },
    lists={"--security-opt": "security_opt"},
    flags={"--all-capabilities": "everything", "--help": "help"},
)
_KINDS = {kind: kind for kind in namespaces.FLAGS} | {"mnt": "mount", "net": "network"}


def main(_: str, arguments: list[str]) -> int:
    """Run the command; returns its exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=True)
    if fields.get("help"):
        say(HELP)
        return 0
    if not operands:
        raise UsageError("pyrun enter: which container or process?", hint="pyrun enter --help")
    kinds, seccomp = _kinds(fields), _seccomp(fields)
    target, command = operands[0], tuple(operands[1:])
    state, base, entry, store = _target(target, fields.get("root"))
    if "mount" in kinds:
        default, env, cwd = "sh", base.env, "/"
    else:
        default, env, cwd = os.environ.get("SHELL", "/bin/sh"), _environment(), os.getcwd()
        entry = entry.replace(landlock=None)  # its paths are the container's
    process = base.replace(
        args=command or (default,),
        env=env,
        cwd=fields.get("cwd") or cwd,
        user=fields.get("user") or User(),
        terminal=os.isatty(0) and os.isatty(1),
        console_size=None,
    )
    if process.terminal and not any(item.startswith("TERM=") for item in process.env):
        process = process.replace(env=(*process.env, f"TERM={os.environ.get('TERM', 'xterm')}"))
    if fields.get("everything"):
        process = process.replace(capabilities=Capabilities.granted(capabilities.ALL))
    if seccomp:
        spec = Spec(process=process)
        entry = entry_of(spec, Options(seccomp=seccomp), store).replace(
            keyring="", dies_with_parent=False, landlock=entry.landlock
        )
    hold_signals()
    container = join(state, process, entry, ExecOptions(), kinds)
    return attend(container, interactive=True)


def _kinds(fields: dict[str, Any]) -> frozenset[str]:
    if "ns" not in fields:
        return frozenset(namespaces.FLAGS)
    words = fields["ns"].split(",")
    for word in words:
        if word not in _KINDS:
            raise UsageError(
                f"--ns {word!r}: pid, mnt, net, uts, ipc, user, cgroup or time expected"
            )
    return frozenset(_KINDS[word] for word in words)


def _seccomp(fields: dict[str, Any]) -> str:
    profile = ""
    for item in fields.get("security_opt", ()):
        key, _, profile = item.partition("=")
        if key != "seccomp" or not profile:
            raise UsageError(f"--security-opt {item!r}: seccomp=FILE|unconfined expected")
    return profile


def _environment() -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in os.environ.items())


def _target(word: str, root: str | None) -> tuple[State, Process, Entry, str]:
    """Whose namespaces, what a process there is like, and where the store is."""
    if word.isascii() and word.isdigit() and len(word) < 10:
        return _process(int(word), root)
    store, path = open_store_beside(root, word)
    seen = running(store, path)
    directory = state_directory(seen.record.id)
    spec = spec_of(directory)
    program, flags = filter_of(directory)
    entry = Entry(
        seccomp=program,
        seccomp_flags=flags,
        landlock=ruleset(seen.record.landlock),
        personality=spec.personality,
        dies_with_parent=False,
    )
    assert seen.state is not None
    return seen.state, spec.process, entry, store.root


def _process(pid: int, root: str | None) -> tuple[State, Process, Entry, str]:
    place = root or default_root()
    if not os.path.exists(f"/proc/{pid}"):
        raise ContainerError(f"there is no process {pid}")
    if os.geteuid() != 0:
        join_users(pid)
    store = open_store(place)
    try:
        start = process_start(pid)[1]
    except FileNotFoundError:
        raise ContainerError(f"there is no process {pid}") from None
    state = State(
        id=f"process {pid}",
        pid=pid,
        start_time=start,
        bundle="",
        rootfs="",
        created="",
        uid=os.getuid(),
    )
    granted = Capabilities.granted(capabilities.RUN_DEFAULT)
    process = Process(
        args=("sh",), env=(f"PATH={defaults.PATH}",), capabilities=granted, no_new_privileges=True
    )
    entry = entry_of(Spec(process=process), Options(), store.root)
    return state, process, entry.replace(keyring="", dies_with_parent=False), store.root
