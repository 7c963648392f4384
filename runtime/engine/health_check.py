"""One health check: a command in the container, its answer, and what follows from that."""

from __future__ import annotations

import fcntl
import os
import select
import sys
from time import monotonic, time_ns

from runtime.engine import health
from runtime.engine.containers import RUNNING, Seen, look, state_directory
from runtime.engine.events import note
from runtime.engine.logfile import timestamp
from runtime.engine.times import nanoseconds
from runtime.errors import ContainerError, PyrunError
from runtime.lifecycle.exec import ExecOptions, execute
from runtime.lifecycle.kept import spec_of
from runtime.sandbox.running import exit_status
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal

_OUTPUT = 4096  # bytes that are kept of one, as docker does
_TIMED_OUT = -1  # docker's exit code of it


def check(store_root: str, path: str) -> str:
    """Ask a container; its status afterwards.

    One that is paused, or has ended meanwhile, keeps the status that it has.
    """
    store = Store(store_root)
    seen = look(store, path)
    if seen.status == RUNNING:
        try:
            return ask(store, seen)[0]
        except ContainerError:
            if not os.path.isdir(path) or look(store, path).status == RUNNING:
                raise
    return health.health_of(seen)


def ask(store: Store, seen: Seen) -> tuple[str, int]:
    """Ask a container that runs; its status afterwards, and the exit status of the command.

    What was asked for when it fails is done. Raises ContainerError unless the container runs.
    """
    record = seen.record
    asked = health.read_health(record.health)
    lock = os.open(f"{seen.path}/health", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # never two at once, by whoever
        answer = _answer(store, seen, asked)
        # Of no fault of the command's: an answer of one that is paused or gone is none.
        after = look(store, seen.path)
        if after.status != RUNNING or _started_ns(after) != _started_ns(seen):
            raise ContainerError(f"container {record.name} ended or was paused while it was asked")
        before = health.read_state(seen.path)
        if before is None:
            raise ContainerError(f"container {record.name} was never asked whether it is well")
        counts = time_ns() - _started_ns(seen) >= asked.start_period_s * 1e9
        counts = counts or before["Status"] != health.STARTING
        state = health.answered(before, answer, asked.retries, counts=counts)
        health.write_state(seen.path, state)
    finally:
        os.close(lock)
    if state["Status"] != before["Status"]:
        note(store, f"health_status: {state['Status']}", record)
    if state["Status"] == health.UNHEALTHY and answer["ExitCode"]:
        _act(store, seen, asked.on_failure)
    return state["Status"], answer["ExitCode"]


def _started_ns(seen: Seen) -> int:
    return 0 if seen.run is None else nanoseconds(seen.run.started)


def _answer(store: Store, seen: Seen, asked: health.Health) -> dict[str, Any]:
    """Run the command, until its time is over."""
    from runtime.engine.exec_cli import ruleset

    directory = state_directory(seen.record.id)
    process = spec_of(directory).process.replace(
        args=asked.command, terminal=False, console_size=None
    )
    if seen.record.secrets:
        from runtime.engine.secret_mounts import with_variables

        process = with_variables(store, seen.record, process)
    output, theirs = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    began = time_ns()
    options = ExecOptions(
        stdio=(null, theirs, theirs), landlock=ruleset(seen.record.landlock), detach=True
    )
    try:
        pid = execute(directory, process, options).pid
    except PyrunError as error:
        os.close(theirs)
        return _entry(began, error.status, error.message)
    finally:
        os.close(null)
    os.close(theirs)
    text, status = _attended(pid, output, asked.timeout_s)
    if status == _TIMED_OUT:
        text = f"Health check exceeded timeout ({asked.timeout_s:g}s)"
    os.close(output)
    return _entry(began, status, text)


def _attended(pid: int, output: int, timeout_s: float) -> tuple[str, int]:
    """What a process says until it ends, and how it does; it is killed with its descendants."""
    said = b""
    ends = monotonic() + timeout_s
    os.set_blocking(output, False)
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(output, select.POLLIN)
    has_ended = timed_out = False
    while not has_ended and not timed_out:
        ready = dict(poll.poll(max(0, (ends - monotonic()) * 1000)))
        has_ended, timed_out = process in ready, not ready
        while chunk := _read(output):
            said = (said + chunk)[:_OUTPUT]
        if ready.get(output, 0) & select.POLLHUP:  # all have closed it
            poll.unregister(output)
    try:
        os.killpg(pid, signal.SIGKILL)  # it is the first of a session
    except ProcessLookupError:
        pass  # there was nobody else
    _, wait_status = os.waitpid(pid, 0)
    os.close(process)
    status = _TIMED_OUT if timed_out else exit_status(wait_status)
    return said.decode("utf-8", "replace"), status


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _OUTPUT)
    except BlockingIOError:
        return b""


def _entry(began_ns: int, status: int, text: str) -> dict[str, Any]:
    return {
        "Start": timestamp(began_ns),
        "End": timestamp(time_ns()),
        "ExitCode": status,
        "Output": text,
    }


def _act(store: Store, seen: Seen, action: str) -> None:
    """Do with a container what was asked for when it is not well."""
    if action == health.NONE:
        return
    if action == health.RESTART:
        _restart(store, seen)
    elif action == health.KILL:
        from runtime.lifecycle.operations import kill_container

        note(store, "kill", seen.record, signal=str(int(signal.SIGKILL)))
        kill_container(state_directory(seen.record.id), signal.SIGKILL)
    else:
        from runtime.engine.ending_cli import stop

        stop(seen)
        note(store, "stop", seen.record)


def _restart(store: Store, seen: Seen) -> None:
    """By a process of its own: a monitor that began in here would have all that this one has,
    and the one after it all that both had.
    """
    words = ("-P", "-m", "runtime", "restart", "--root", store.root, seen.record.id)
    pid = os.posix_spawn(
        sys.executable,
        (sys.executable, *words),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )
    os.waitpid(pid, 0)
