"""`exec`: another process in a running container (what nsenter(1) does by hand).

All namespaces are joined by one setns(2) on a pidfd, after that was checked to be the recorded
process. The joining process is not dumpable before it joins anything, so what runs inside cannot
look into it (CVE-2016-9962), and it leaves by the same last steps as a container's first process.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.lifecycle.operations import group_of, look, spec_of
from runtime.lifecycle.state import open_process
from runtime.record import Record
from runtime.sandbox import entry, namespaces, syscalls
from runtime.sandbox.capabilities import Held, held_capabilities
from runtime.sandbox.container import Container, raise_report
from runtime.sandbox.entry import Entry
from runtime.sandbox.init import report_failure, reset_signals
from runtime.sandbox.privileges import set_from_outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.lifecycle.state import ContainerDirectory, State
    from runtime.oci.spec import Process, Spec
    from runtime.sandbox.entry import Equipment
else:
    import _signal as signal

_ALL = sum(namespaces.FLAGS.values())


class ExecOptions(Record):
    """How a process is added, beside what it is."""

    pid_file: str = ""
    console_socket: str = ""
    preserved_fds: int = 0
    detach: bool = False


class _Plan(Record):
    process: Process
    spec: Spec
    state: State
    flags: int
    pidfd: int
    report: int
    permit: int
    terminal: int | None
    root: int | None  # of the container, if only that and not its mounts are its own
    entry: Entry


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
    spec = spec_of(directory)
    ours, theirs = _terminal(process, options)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    permit_read, permit_write = os.pipe2(os.O_CLOEXEC)
    pidfd = open_process(seen.state)
    plan = _Plan(
        process=process,
        spec=spec,
        state=seen.state,
        flags=_flags(seen.state.pid),
        pidfd=pidfd,
        report=report_write,
        permit=permit_read,
        terminal=theirs,
        root=_own_root(seen.state.pid, pidfd),
        entry=_entry(spec, process, options, seen.state.uid),
    )
    try:
        pid = _fork(plan)
        os.close(report_write)
        report_write = -1
        try:
            _accompany(pid, plan, options, report_read, permit_write)
        except BaseException:
            _end(pid)
            raise
    finally:
        fds = (report_read, report_write, permit_read, permit_write, pidfd, theirs, plan.root)
        for fd in fds:
            if fd is not None and fd >= 0:
                os.close(fd)
    master = None
    if ours is not None:
        from runtime.sandbox.console import receive_master

        master = receive_master(ours)
    return Container(pid=pid, master=master)


def _terminal(process: Process, options: ExecOptions) -> tuple[int | None, int | None]:
    if not process.terminal:
        return None, None
    from runtime.sandbox import console

    if options.console_socket:
        return None, console.connect_console_socket(options.console_socket)
    if options.detach:
        raise ContainerError("a detached process's terminal needs --console-socket")
    return console.terminal_channel()


def _flags(pid: int) -> int:
    """The namespaces in which the container's process and this one differ."""
    flags = 0
    for kind, flag in namespaces.FLAGS.items():
        try:
            if not namespaces.is_same(pid, kind):
                flags |= flag
        except FileNotFoundError:  # a kernel without this kind
            continue
    return flags


def _own_root(pid: int, pidfd: int) -> int | None:
    """The root of a container without a mount namespace of its own: joining brings nobody there."""
    if namespaces.is_same(pid, "mount"):
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        signal.pidfd_send_signal(pidfd, 0)  # it was that process's: it has not ended
        return root
    return None


def _entry(spec: Spec, process: Process, options: ExecOptions, uid: int) -> Entry:
    from runtime.lifecycle.create import seccomp_program

    program, flags = seccomp_program(spec.replace(process=process), uid)
    return Entry(
        seccomp=program,
        seccomp_flags=flags,
        preserved_fds=options.preserved_fds,
        personality=spec.personality,
        dies_with_parent=False,
    )


def _fork(plan: _Plan) -> int:
    """Fork a process that is in the container, by one in between; the pid as we count."""
    pid_read, pid_write = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        try:
            # Before it joins: from inside, nobody may look at the host's descriptors it holds.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            reset_signals()
            held, groups_allowed = _held_inside(plan), _groups_allowed_inside(plan)
            equipment = entry.equip(plan.entry, plan.process, plan.report)
            if plan.process.terminal:
                import runtime.sandbox.console  # noqa: F401  # used when the root has changed
            entry.block_imports()
            if plan.flags:
                syscalls.setns(plan.pidfd, plan.flags)
            if plan.root is not None:
                os.fchdir(plan.root)
                os.chroot(".")
            pid = syscalls.clone(syscalls.CLONE_PARENT)
            if pid == 0:
                _enter(plan, equipment, held, groups_allowed=groups_allowed)
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
        group = group_of(plan.state)
        if group is not None:
            group.attach(pid, beside=plan.state.pid)
        os.write(permit, b"g")
    said = b""
    while chunk := os.read(report, 4096):
        said += chunk
    if said:
        raise_report(said, plan.process.args[0])
    from runtime.lifecycle.create import write_pid_file

    write_pid_file(options.pid_file, pid)


def _end(pid: int) -> None:
    try:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended, and was collected


def _enter(plan: _Plan, equipment: Equipment, held: Held, *, groups_allowed: bool) -> NoReturn:
    """The rest, inside: the same last steps as a container's first process."""
    try:
        os.setsid()
        if plan.flags & syscalls.CLONE_NEWUSER:
            namespaces.become_root_inside()
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        process = plan.process
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stdio = (0, 1, 2)
        if process.terminal:
            from runtime.sandbox.console import open_terminal

            assert plan.terminal is not None
            stdio = open_terminal(root_fd, plan.terminal, process.console_size, console=False)
        prepared = entry.prepare(
            plan.entry,
            process,
            equipment,
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
