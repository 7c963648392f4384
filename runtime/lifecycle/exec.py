"""`exec`: another process in a running container (what nsenter(1) does by hand).

All namespaces are joined by one setns(2) on a pidfd, after that was checked to be the recorded
process. The joining process is not dumpable before it joins anything, so what runs inside cannot
look into it (CVE-2016-9962), and it leaves by the same last steps as a container's first process.
"""

from __future__ import annotations

import os

from runtime.cgroup.files import enter
from runtime.errors import ContainerError
from runtime.lifecycle.kept import filter_of, spec_of
from runtime.lifecycle.operations import group_of, look
from runtime.lifecycle.state import open_process
from runtime.record import Record
from runtime.sandbox import entry, namespaces, syscalls
from runtime.sandbox.capabilities import Held, held_capabilities
from runtime.sandbox.descriptors import Descriptors
from runtime.sandbox.entry import Entry
from runtime.sandbox.privileges import set_from_outside
from runtime.sandbox.reports import raise_report, report_failure
from runtime.sandbox.running import Container
from runtime.sandbox.signals import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.lifecycle.state import ContainerDirectory, State
    from runtime.oci.spec import Process
    from runtime.sandbox.entry import Equipment
    from runtime.sandbox.landlock import Ruleset
else:
    import _signal as signal


class ExecOptions(Record):
    """How a process is added, beside what it is."""

    pid_file: str = ""
    console_socket: str = ""
    preserved_fds: int = 0
    detach: bool = False
    stdio: tuple[int, int, int] = (0, 1, 2)  # unless it has a terminal
    landlock: Ruleset | None = None  # which no configuration of the specification has


class _Plan(Record):
    process: Process
    state: State
    flags: int
    pidfd: int
    report: int
    permit: int
    stdio: tuple[int, int, int]
    terminal: int | None
    root: int | None  # of the container, if only that and not its mounts are its own
    entry: Entry
    equipment: Equipment
    group_entries: tuple[int, ...]  # files by which the process puts itself into v1's groups
    unified: int | None  # directory of v2's group, which it is born in


def execute(directory: ContainerDirectory, process: Process, options: ExecOptions) -> Container:
    """Start a process in a container; it is a child of the caller.

    Raises ContainerError unless the container runs, CommandError if the command cannot be
    executed.
    """
    seen = look(directory)
    if seen.status == "paused":
        raise ContainerError(
            f"container {directory.id!r} is paused", hint="`resume` it first, or this would hang"
        )
    if seen.status != "running":
        raise ContainerError(f"container {directory.id!r} is {seen.status}, not running")
    if not process.args:
        raise ContainerError("process.args: no command was given")
    return join(seen.state, process, _entry(directory, options), options)


def join(
    state: State,
    process: Process,
    final: Entry,
    options: ExecOptions,
    kinds: frozenset[str] = frozenset(namespaces.FLAGS),
) -> Container:
    """Start a process in some kinds of namespaces of a process that runs, as `execute` does.

    It is in the control groups that `state` names, whatever it joins. Raises ContainerError,
    CommandError.
    """
    with Descriptors() as ours:
        report_read, report_write = ours.pipe()
        permit_read, permit_write = ours.pipe()
        master_channel, channel = _terminal(process, options)
        ours.own(master_channel, channel)
        plan = _plan(final, process, state, kinds, (report_write, permit_read, channel))
        plan = plan.replace(stdio=options.stdio)
        ours.own(plan.pidfd, plan.root, plan.unified)
        ours.own(*plan.group_entries, *plan.equipment.descriptors)
        pid = _fork(plan)
        try:
            ours.close(report_write)
            _accompany(pid, plan, options, report_read, permit_write)
            master = None
            if master_channel is not None:
                from runtime.sandbox.console import receive_master

                master = receive_master(ours.keep(master_channel))
            return Container(pid=pid, master=master)
        except BaseException:
            _end(pid)
            raise


def _plan(
    final: Entry,
    process: Process,
    state: State,
    kinds: frozenset[str],
    channels: tuple[int, int, int | None],
) -> _Plan:
    report, permit, terminal = channels
    group = group_of(state)
    pidfd = open_process(state)
    return _Plan(
        process=process,
        state=state,
        pidfd=pidfd,
        root=_own_root(state.pid, pidfd) if "mount" in kinds else None,
        flags=_flags(state.pid, kinds),
        report=report,
        permit=permit,
        stdio=(0, 1, 2),
        terminal=terminal,
        entry=final,
        equipment=entry.equip(final, process, report),
        group_entries=() if group is None else group.entries(unified=False),
        unified=None if group is None or group.is_divided() else group.open_unified(),
    )


def _terminal(process: Process, options: ExecOptions) -> tuple[int | None, int | None]:
    if not process.terminal:
        return None, None
    from runtime.sandbox import console

    if options.console_socket:
        return None, console.connect_console_socket(options.console_socket)
    if options.detach:
        raise ContainerError("a detached process's terminal needs --console-socket")
    return console.terminal_channel()


def _flags(pid: int, kinds: frozenset[str]) -> int:
    """The namespaces to join: those in which the container's process and this one differ."""
    flags = 0
    for kind, flag in namespaces.FLAGS.items():
        if kind not in kinds:
            continue
        try:
            if not namespaces.is_same(pid, kind):
                flags |= flag
        except FileNotFoundError:  # a kernel without this kind
            continue
    return flags


def _own_root(pid: int, pidfd: int) -> int | None:
    """The root of a container without mounts of its own: joining would lead to the host's."""
    if namespaces.is_same(pid, "mount"):
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        signal.pidfd_send_signal(pidfd, 0)  # it was that process's: it has not ended
        return root
    return None


def _entry(directory: ContainerDirectory, options: ExecOptions) -> Entry:
    program, flags = filter_of(directory)
    return Entry(
        seccomp=program,
        seccomp_flags=flags,
        landlock=options.landlock,
        preserved_fds=options.preserved_fds,
        personality=spec_of(directory).personality,
        dies_with_parent=False,
    )


def _fork(plan: _Plan) -> int:
    """Fork a process that is in the container, by one in between; the pid as we count."""
    pid_read, pid_write = os.pipe2(os.O_CLOEXEC)
    middle = namespaces.clone_into(0, plan.unified)  # its child will be there too
    if middle == 0:
        try:
            # Before it joins: from inside, nobody may look at the host's descriptors it holds.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            reset_signals()
            if plan.process.cpu_affinity is not None and plan.process.cpu_affinity[0]:
                _set_affinity(0, plan.process.cpu_affinity[0])
            held, groups_allowed = _held_inside(plan), _groups_allowed_inside(plan)
            if plan.process.terminal:
                from runtime.sandbox import console  # noqa: F401  # used after the root changed
            entry.block_imports()
            if plan.flags:
                syscalls.setns(plan.pidfd, plan.flags)
            if plan.root is not None:
                os.fchdir(plan.root)
                os.chroot(".")
            pid = syscalls.clone(syscalls.CLONE_PARENT)
            if pid == 0:
                _enter(plan, held, groups_allowed=groups_allowed)
            os.write(pid_write, b"%d" % pid)
            os._exit(0)
        except BaseException as error:
            report_failure(plan.report, error)
            os._exit(125)
    os.close(pid_write)
    pid = int(os.read(pid_read, 16) or b"0")
    os.close(pid_read)
    os.waitpid(middle, 0)
    return pid


def _set_affinity(pid: int, cpus: str) -> None:
    """Bind a process to CPUs given as a list such as `0-3,7` (config.md, `execCPUAffinity`)."""
    wanted: set[int] = set()
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        wanted.update(range(int(first), int(last or first) + 1))
    try:
        os.sched_setaffinity(pid, wanted)
    except OSError as error:
        raise ContainerError(f"process.execCPUAffinity: {cpus!r}: {error.strerror}") from error


def _held_inside(plan: _Plan) -> Held:
    """The capabilities that the process has once it has joined (user_namespaces(7))."""
    if not plan.flags & syscalls.CLONE_NEWUSER:
        return held_capabilities()
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        everything = (2 << int(file.read())) - 1
    return Held(effective=everything, bounding=everything)


def _groups_allowed_inside(plan: _Plan) -> bool:
    with open(f"/proc/{plan.state.pid}/setgroups", "rb") as file:
        return file.read(4) != b"deny"


def _accompany(pid: int, plan: _Plan, options: ExecOptions, report: int, permit: int) -> None:
    if pid:
        set_from_outside(pid, plan.process)
        if plan.process.cpu_affinity is not None and plan.process.cpu_affinity[1]:
            _set_affinity(pid, plan.process.cpu_affinity[1])
        group = group_of(plan.state)
        if group is not None and plan.unified is None and group.unified is not None:
            group.attach(pid, beside=plan.state.pid)
        os.write(permit, b"g")
    said = b""
    while chunk := os.read(report, 4096):
        said += chunk
    if said:
        raise_report(said, plan.process.args[0])
    if options.pid_file:
        from runtime.lifecycle.pid_file import write_pid_file

        write_pid_file(options.pid_file, pid)


def _end(pid: int) -> None:
    try:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended, and was collected


def _enter(plan: _Plan, held: Held, *, groups_allowed: bool) -> NoReturn:
    """The rest, inside: the same last steps as a container's first process."""
    try:
        os.setsid()
        try:
            enter(plan.group_entries)
        except OSError as error:
            raise ContainerError(f"control group: cannot be entered: {error.strerror}") from error
        if plan.flags & syscalls.CLONE_NEWUSER:
            namespaces.become_root_inside()
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        process = plan.process
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stdio = plan.stdio
        if process.terminal:
            from runtime.sandbox.console import open_terminal

            assert plan.terminal is not None
            stdio = open_terminal(root_fd, plan.terminal, process.console_size, console=False)
        prepared = entry.prepare(
            plan.entry,
            process,
            plan.equipment,
            root_fd,
            held=held,
            groups_allowed=groups_allowed,
        )
        entry.connect(stdio, controlling=process.terminal)
        if not os.read(plan.permit, 1):
            os._exit(125)  # the host's side gave up, and says why itself
        entry.execute(prepared, plan.report)
    except BaseException as error:
        report_failure(plan.report, error)
        os._exit(125)
