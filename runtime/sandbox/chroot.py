"""A process below another root without any namespace: where neither CAP_SYS_ADMIN nor a user
namespace is to be had, as in a plain container.

chroot(2) confines paths and nothing else: the process has the machine's network, hostname and
other processes in sight, and as root it can leave. So this is for steps of a build that may do
what the builder itself may, never for a stranger's image. In place of a PID namespace a process of
ours adopts what the first one leaves behind, and kills it.
"""

from __future__ import annotations

import os

from runtime.errors import CommandError, ContainerError
from runtime.record import Record
from runtime.sandbox import capabilities, entry, syscalls
from runtime.sandbox.descendants import end_descendants
from runtime.sandbox.init import die_with_parent, make_working_directory
from runtime.sandbox.privileges import setgroups_allowed
from runtime.sandbox.reports import raise_report, report_failure
from runtime.sandbox.running import exit_status
from runtime.sandbox.signals import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.oci.spec import Process
    from runtime.sandbox.entry import Entry, Equipment
else:  # the module below this one imports enum: two milliseconds
    import _signal as signal

_ENTRY = entry.Entry()


class _Start(Record):
    """What is to become of the process that is forked."""

    final: Entry
    process: Process
    root: str
    stdio: tuple[int, int, int]
    report: int  # where failures are written to
    equipment: Equipment


class Supervised(Record):
    """A process that is running, and all that comes of it; `pid` is a child of ours in between.

    That child ends as the process did (128+N for signal N), once nothing else is left.
    """

    pid: int

    def kill(self) -> None:
        """Kill all of it, and collect it."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # collected already: a signal came between that and what would have noted it


def start_in_chroot(
    process: Process,
    root: str,
    *,
    stdio: tuple[int, int, int] = (0, 1, 2),
    final: Entry = _ENTRY,
) -> Supervised:
    """Start a process whose `/` is the directory `root`; returns once it runs.

    When it ends, is killed, or the caller dies, every process that came of it is killed. It gets
    those capabilities of `process` that the caller has.
    Raises ContainerError, or CommandError if the command cannot be executed.
    """
    if not process.args:
        raise CommandError("no command: the image has none and none was given", status=125)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    equipment = entry.equip(final, process, report_write)
    asked = _Start(
        final=final,
        process=process,
        root=root,
        stdio=stdio,
        report=report_write,
        equipment=equipment,
    )
    pid = os.fork()
    if pid == 0:
        os.close(report_read)
        _supervise(asked)
    for fd in (report_write, *equipment.descriptors):
        os.close(fd)
    report = b""
    while chunk := os.read(report_read, 4096):
        report += chunk
    os.close(report_read)
    if report:
        os.waitpid(pid, 0)
        raise_report(report, process.args[0])
    return Supervised(pid=pid)


def _supervise(asked: _Start) -> NoReturn:
    """Be the parent of all that comes of the process; SIGTERM ends it."""
    watched = (signal.SIGCHLD, signal.SIGTERM)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        # Ctrl-C at a terminal goes to all of us: the caller decides, and kills.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(asked.report, signal.SIGTERM)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        first = os.fork()
    except OSError as error:
        os.write(asked.report, b"125 " + os.fsencode(str(error.strerror)))
        os._exit(125)
    if first == 0:
        _become(asked)
    os.closerange(0, 1 << 16)  # the pipes of the process must end with it
    while True:
        if signal.sigwaitinfo(watched).si_signo == signal.SIGTERM:
            end_descendants()
            os._exit(128 + signal.SIGTERM)
        wait_status = _collect(first)
        if wait_status is not None:
            os._exit(exit_status(wait_status) if end_descendants() else 125)


def _collect(first: int) -> int | None:
    """Collect what has ended; the wait status of the process `first` once it is among them."""
    while True:
        ended, wait_status = os.waitpid(-1, os.WNOHANG)
        if ended == first:
            return wait_status
        if not ended:
            return None


def _become(asked: _Start) -> NoReturn:
    """Turn the calling child into the process, or exit having reported why."""
    try:
        _change_root_and_execute(asked)
    except BaseException as error:  # what is not foreseen must not unwind into the parent's code
        report_failure(asked.report, error)
        os._exit(125)


def _change_root_and_execute(asked: _Start) -> NoReturn:
    die_with_parent(asked.report)
    os.setsid()
    reset_signals()
    os.umask(0)
    # All that must be asked of /proc comes before the root changes: below it there is none.
    held, groups_allowed = capabilities.held_capabilities(), setgroups_allowed()
    root_fd = os.open(asked.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    prepared = entry.prepare(
        asked.final,
        asked.process,
        asked.equipment,
        root_fd,
        held=held,
        groups_allowed=groups_allowed,
    )
    make_working_directory(root_fd, asked.process.cwd)
    entry.block_imports()
    os.fchdir(root_fd)
    try:
        os.chroot(".")
    except PermissionError as error:
        raise ContainerError("chroot is refused: CAP_SYS_CHROOT is missing") from error
    os.chdir("/")
    entry.connect(asked.stdio, controlling=False)
    entry.execute(prepared, asked.report)
