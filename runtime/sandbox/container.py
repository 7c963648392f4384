"""Starting a container and waiting for it; the host's side of `init`."""

from __future__ import annotations

import os

from runtime.errors import CommandError, ContainerError
from runtime.record import Record
from runtime.sandbox import syscalls
from runtime.sandbox.init import Start, become
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.oci.spec import Spec
    from runtime.sandbox.rootfs import RootFilesystem
else:  # the modules below these two import enum: two milliseconds
    import _signal as signal

# Signals whose default action ends a process (signal(7)), and that can be sent on.
_ENDING = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
    }
)
FORWARDED = _ENDING | {signal.SIGWINCH, signal.SIGCONT}


class Container(Record):
    """A container that is running: its first process, a child of ours."""

    pid: int
    master: int | None = None  # of its terminal
    supervised: bool = False  # `pid` is a process of ours that waits for it

    def send(self, number: int) -> bool:
        """Send a signal; True if the container was killed because nothing would have happened.

        The kernel drops signals to a PID namespace's first process that it has no handler for.
        Its users expect the default action, so for one that ends a process we kill it.
        """
        if number in _ENDING and not self._handles(number):
            number, killed = signal.SIGKILL, True
        else:
            killed = False
        os.kill(self.pid, number)
        return killed

    def _handles(self, number: int) -> bool:
        """Whether the process blocks, ignores or catches a signal (proc(5), /proc/PID/status)."""
        with open(f"/proc/{self.pid}/status", "rb") as status:
            for line in status:
                name, _, mask = line.partition(b":")
                if name in (b"SigBlk", b"SigIgn", b"SigCgt") and int(mask, 16) >> number - 1 & 1:
                    return True
        return False

    def kill(self) -> None:
        """Kill it, and with it every process of its PID namespace; then collect it."""
        os.kill(self.pid, signal.SIGTERM if self.supervised else signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start(
    spec: Spec,
    rootfs: RootFilesystem,
    *,
    scratch: str,
    stdio: tuple[int, int, int] = (0, 1, 2),
    devices: tuple[str, ...] = ("/dev",),
    prepare: Callable[[], None] | None = None,
    more_to_come: bool = False,
) -> Container:
    """Start a container and return once its process runs.

    `scratch` is an empty directory that the root is mounted on, in a mount namespace of its own.
    Each of `devices` gets a /dev of the container's own. With `more_to_come` the caller can start
    further children afterwards.
    Raises ContainerError if it cannot be set up, CommandError if its command cannot be executed;
    nothing is left behind then.
    """
    if not spec.process.args:
        raise CommandError("no command: the image has none and none was given", status=125)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    ours, theirs = _terminal_channel() if spec.process.terminal else (None, None)
    plan = Start(
        spec=spec,
        rootfs=rootfs,
        scratch=scratch,
        stdio=stdio,
        report=report_write,
        terminal_socket=theirs,
        devices=devices,
        prepare=prepare,
    )
    supervised = more_to_come and in_user_namespace()
    pid = _fork_supervised(report_write) if supervised else _fork(more_to_come)
    if pid == 0:
        os.close(report_read)
        become(plan)
    os.close(report_write)
    if theirs is not None:
        os.close(theirs)
    report = _read_all(report_read)
    if report:
        os.waitpid(pid, 0)
        _raise_report(report)
    master = None if ours is None else _receive_master(ours)
    return Container(pid=pid, master=master, supervised=supervised)


def _fork(more_to_come: bool) -> int:
    """Fork the first process of a new PID namespace, as os.fork().

    The caller's later children would be born there as well, and could not be once that first
    process is dead (fork(2), ENOMEM); with `more_to_come` they get the caller's own again.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        except PermissionError as error:
            raise ContainerError(
                "this process may not make namespaces",
                hint="run as root, or where unprivileged user namespaces are allowed",
            ) from error
        pid = os.fork()
        if pid and more_to_come:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
    finally:
        os.close(own)
    return pid


def _fork_supervised(report: int) -> int:
    """As `_fork`, with a process of ours in between; the parent gets that one's pid.

    In a user namespace there is no way back to the PID namespace that the caller came from, so
    somebody else must leave it. SIGTERM to the process in between kills the container.
    """
    pid = os.fork()
    if pid:
        return pid
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    watched = (signal.SIGCHLD, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        first = _fork(more_to_come=False)
    except ContainerError as error:
        os.write(report, b"125 " + os.fsencode(error.message))
        os._exit(125)
    if first == 0:
        return 0
    os.closerange(0, 1 << 16)  # the pipes of the container must end with it
    while True:
        if signal.sigwaitinfo(watched).si_signo == signal.SIGTERM:
            os.kill(first, signal.SIGKILL)
        ended, wait_status = os.waitpid(first, os.WNOHANG)
        if ended:
            os._exit(exit_status(wait_status))


def exit_status(wait_status: int) -> int:
    """The status as a shell gives it: 0-255, or 128+N for signal N."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def _terminal_channel() -> tuple[int, int]:
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


def _receive_master(channel: int) -> int:
    import socket

    with socket.socket(fileno=channel) as received:
        _, fds, _, _ = socket.recv_fds(received, 1, 1)
    os.set_inheritable(fds[0], False)
    return fds[0]


def _read_all(fd: int) -> bytes:
    content = b""
    while chunk := os.read(fd, 4096):
        content += chunk
    os.close(fd)
    return content


def _raise_report(report: bytes) -> NoReturn:
    status, _, message = os.fsdecode(report).partition(" ")
    if status in ("126", "127"):
        raise CommandError(message, status=int(status))
    raise ContainerError(message)
