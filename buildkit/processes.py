"""Children of the builder: a process in a container with its output read, or one of our own
functions in a mount namespace.

Signals that ask us to stop are held back while a child is being started, so that none is lost
between its birth and the moment that somebody can end it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from buildkit.errors import BuildError, Cancelled, HostError
from runtime.errors import CommandError, ContainerError
from runtime.oci.spec import Process, Spec
from runtime.sandbox import syscalls
from runtime.sandbox.chroot import start_in_chroot
from runtime.sandbox.container import Placement, start
from runtime.sandbox.entry import Entry
from runtime.sandbox.rootfs import make_private
from runtime.sandbox.running import exit_status

if TYPE_CHECKING:
    from runtime.cgroup.group import Group
    from runtime.sandbox.rootfs import RootFilesystem
    from runtime.store.store import Store

_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_CHUNK = 1 << 16
_TICK_MS = 100
_AGAIN_S = 0.002
_DESCRIPTORS = 1024  # as many as this process may have, most often
_Value = TypeVar("_Value")
_woken = -1  # readable once a signal came


def stop_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise Cancelled in the main thread, once."""
    if _woken < 0:
        # What our caller ignores stays ignored: nohup, a job in the background.
        hear_signals(n for n in _STOPPING if signal.getsignal(n) is not signal.SIG_IGN)


def hear_signals(numbers: Iterable[int], *, ignored: Iterable[int] = ()) -> None:
    """Let these signals raise Cancelled, whatever another process that we are a copy of heard."""
    global _woken

    def cancel(number: int, _frame: object) -> None:
        for other in _STOPPING:  # what cleans up must not be interrupted again
            signal.signal(other, signal.SIG_IGN)
        raise Cancelled(number)

    sys.unraisablehook = _unraisable
    _woken, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for number in numbers:
        signal.signal(number, cancel)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Raise Cancelled again, a little later, if it came where it goes no further than a message.

    Python calls handlers of signals also in callbacks, of a fork or the collector of garbage.
    """
    if not isinstance(problem.exc_value, Cancelled):
        sys.__unraisablehook__(problem)
        return
    number = problem.exc_value.signal_number

    def again(_number: int, _frame: object) -> None:
        raise Cancelled(number)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def await_any(fds: Sequence[int], tick: Callable[[], None] | None = None) -> list[int]:
    """Wait until one of these descriptors is readable (or at its end); returns those that are.

    Meanwhile `tick` is called about ten times a second.

    A signal that comes just before a system call blocks would be handled only after it: Python's
    handlers run between calls. Its wakeup descriptor (signal.set_wakeup_fd) ends the wait.
    """
    poll = select.poll()
    for watched in {*fds, _woken} - {-1}:
        poll.register(watched, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll(None if tick is None else _TICK_MS)]
        if tick is not None:
            tick()
        if _woken in ready:
            os.read(_woken, _CHUNK)
            ready.remove(_woken)
        if ready:
            return ready


def _await(fd: int, attendant: Attendant | None, tick: Callable[[], None] | None = None) -> None:
    """Wait until a descriptor is readable, and let the attendant work meanwhile."""
    while True:
        asked = -1 if attendant is None else attendant.fd
        ready = await_any([fd] if asked < 0 else [fd, asked], tick)
        if attendant is not None and asked in ready:
            attendant.attend()
        if fd in ready:
            return


def _read(
    fd: int, attendant: Attendant | None = None, tick: Callable[[], None] | None = None
) -> bytes:
    _await(fd, attendant, tick)
    return os.read(fd, _CHUNK)


def await_end(pid: int, attendant: Attendant | None = None) -> int:
    """The wait status of a child, once it has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        _await(pidfd, attendant)
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def fork_to(function: Callable[[], NoReturn]) -> int:
    """Fork a child that calls a function which ends it, and that dies with us; returns its id.

    To be called with `signals_held`: so they are in the child until it calls `hear_signals`.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked to hear of it
            os._exit(1)
        function()
    finally:  # nothing may unwind into the parent's code
        os._exit(1)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back for a moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_container(
    spec: Spec,
    rootfs: RootFilesystem,
    *,
    scratch: str,
    output: Callable[[bytes], None],
    devices: tuple[str, ...] = ("/dev",),
    prepare: Callable[[], None] | None = None,
    final: Entry | None = None,
    group: Group | None = None,
    attendant: Attendant | None = None,
) -> int:
    """Run a container to its end, handing on what it writes; returns its exit status.

    Meanwhile `attendant` is given what concerns it.
    Raises BuildError if its command cannot be executed, HostError if there can be no container.
    Whatever interrupts the wait kills the container, and nothing of it is left.
    """

    def begin(stdio: tuple[int, int, int]) -> _Running:
        placement = Placement(
            scratch=scratch, stdio=stdio, devices=devices, prepare=prepare, group=group
        )
        return start(spec, rootfs, placement, final or Entry())

    return _run_to_end(begin, output, attendant)


def run_in_chroot(
    process: Process,
    root: str,
    *,
    output: Callable[[bytes], None],
    final: Entry | None = None,
    attendant: Attendant | None = None,
) -> int:
    """The same for a process without namespaces whose `/` is the directory `root`."""

    def begin(stdio: tuple[int, int, int]) -> _Running:
        return start_in_chroot(process, root, stdio=stdio, final=final or Entry())

    return _run_to_end(begin, output, attendant)


class Attendant(Protocol):
    """Somebody that a running process asks something."""

    @property
    def fd(self) -> int:
        """Readable when there is something to do; -1 if there will be nothing more."""

    def begin(self) -> None:
        """The process runs."""

    def attend(self) -> None:
        """Do what there is to do."""


class _Running(Protocol):
    """What has been started: a container or a process."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


def _run_to_end(
    begin: Callable[[tuple[int, int, int]], _Running],
    output: Callable[[bytes], None],
    attendant: Attendant | None,
) -> int:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    container = None
    try:
        with signals_held():
            container = begin((null, write_end, write_end))
        os.close(write_end)
        write_end = -1
        if attendant is not None:
            attendant.begin()
        while chunk := _read(read_end, attendant):
            output(chunk)
        status = await_end(container.pid, attendant)
        container = None
        return exit_status(status)
    except CommandError as error:
        raise BuildError(error.message, hint=error.hint) from error
    except ContainerError as error:
        message = f"the container could not be set up: {error.message}"
        raise HostError(message, hint=error.hint) from error
    finally:
        if container is not None:
            container.kill()
        os.close(read_end)
        os.close(null)
        if write_end >= 0:
            os.close(write_end)


def call_in_mount_namespace(function: Callable[[], _Value]) -> _Value:
    """Call a function of ours in a child with a mount namespace of its own; returns its value.

    What it mounts goes with it. A BuildError or OSError that it raises is raised here, as a
    BuildError.
    """

    def call() -> _Value:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        return function()

    return call_in_child(call)


def call_in_child(
    function: Callable[[], _Value], tick: Callable[[], None] | None = None
) -> _Value:
    """The same for a function that mounts nothing; its umask is 0, and it may change its root.

    Meanwhile `tick` is called about ten times a second.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with signals_held():
        pid = fork_to(lambda: _call_and_exit(function, write_end))
    os.close(write_end)
    try:
        report = b""
        while chunk := _read(read_end, tick=tick):
            report += chunk
        status = await_end(pid)
        pid = 0
    finally:
        os.close(read_end)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if status or not report:
        raise BuildError(f"a helper process ended with status {exit_status(status)}")
    kind, message, hint, value = pickle.loads(report)
    if message:
        raise kind(message, hint=hint)
    result: _Value = value
    return result


def _call_and_exit(function: Callable[[], _Value], report: int) -> NoReturn:
    message, hint, value = "", None, None
    kind: type[BuildError] = BuildError
    try:
        hear_signals((), ignored=_STOPPING)  # the builder decides, and kills
        os.umask(0)
        value = function()
    except (BuildError, ContainerError) as error:
        message, hint = error.message, error.hint
        if isinstance(error, BuildError):
            kind = type(error)  # of it depends how pybuild ends
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        message = f"{where}{error.strerror}"
    except BaseException as error:
        message = f"internal error: {error!r}"
    content = pickle.dumps((kind, message, hint, value))
    while content:
        content = content[os.write(report, content) :]
    os._exit(0)


def sweep_at_last(store: Store) -> None:
    """Remove what was being made when a signal came, as the last thing that this process does.

    It can come where nothing can catch it: between the making of a directory and the `try` that
    removes it, or in the first moment of a `finally`.
    """
    from runtime.store.workspace import sweep

    os.closerange(3, _DESCRIPTORS)  # what they lock is nobody's any more
    sweep(store)
