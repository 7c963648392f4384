"""Hooks: programs of the host that run at points of a container's life (config.md "Hooks").

Each gets the container's state as JSON on its standard input, and no environment but its own:
nothing of the image reaches it (CVE-2025-23266).
"""

from __future__ import annotations

import os
import select
from time import monotonic

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox.signals import reset_signals
from runtime.stub import enter
from runtime.stub.enter import decode_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runtime.oci.spec import Hook
else:
    import _signal as signal

_KEPT = 2000  # bytes of what a failing hook said


class Stub(Record):
    """The way into a program of the container's (`runtime.stub`), for hooks that are one."""

    memfd: int
    report: int  # the descriptor that it was made for


def run_hooks(point: str, hooks: tuple[Hook, ...], state: bytes, stub: Stub | None = None) -> None:
    """Run the hooks of one point in order; raises ContainerError at the first that fails.

    Where their programs are the container's, they are entered by a stub: executed from here, a
    hook of "#!/proc/self/exe" would be our Python (CVE-2019-5736).
    """
    for index, hook in enumerate(hooks):
        where = f"hooks.{point}[{index}]: {hook.path}"
        status, said = _run(where, hook, state, stub)
        if status:
            failure = decode_report(said)
            text = said.decode("utf-8", "backslashreplace").strip()
            if failure is not None:
                text = os.strerror(failure.errno)
            last = f": {text.splitlines()[-1]}" if text else ""
            raise ContainerError(f"{where}: {_ending(status)}{last}")


def _ending(wait_status: int) -> str:
    if os.WIFSIGNALED(wait_status):
        return f"killed by signal {os.WTERMSIG(wait_status)}"
    return f"ended with status {os.WEXITSTATUS(wait_status)}"


def _run(where: str, hook: Hook, state: bytes, stub: Stub | None) -> tuple[int, bytes]:
    """Run one hook; its wait status, and the end of what it wrote."""
    state_fd = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(state_fd, state)
    os.lseek(state_fd, 0, os.SEEK_SET)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _execute(hook, state_fd, write_end, stub)
    os.close(state_fd)
    os.close(write_end)
    pidfd = os.pidfd_open(pid)
    try:
        said = _listen(read_end, pidfd, hook.timeout_s)
        if said is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise ContainerError(f"{where}: not finished after {hook.timeout_s} s")
        return os.waitpid(pid, 0)[1], said
    finally:
        os.close(pidfd)
        os.close(read_end)


def _execute(hook: Hook, state: int, output: int, stub: Stub | None) -> None:
    try:
        reset_signals()
        for number, fd in enumerate((state, output, output)):
            os.dup2(fd, number)
        environment = dict(item.partition("=")[::2] for item in hook.env)
        args = hook.args or (hook.path,)
        if stub is None:
            os.execve(hook.path, args, environment)
        os.dup2(output, stub.report)
        enter.execute(stub.memfd, hook.path, args, environment, stub.report)
    except OSError as error:
        os.write(2, os.fsencode(error.strerror or ""))
    finally:
        os._exit(127)


def _listen(output: int, pidfd: int, timeout_s: int | None) -> bytes | None:
    """What the hook writes until it ends, its last bytes; None if it takes too long.

    Until it ends, not until its output is closed: a hook may leave a process behind.
    """
    ends = None if timeout_s is None else monotonic() + timeout_s
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    said = b""
    while True:
        left = None if ends is None else max(0, ends - monotonic()) * 1000
        ready = dict(poll.poll(left))
        if output in ready:
            chunk = os.read(output, 1 << 16)
            said = (said + chunk)[-_KEPT:]
            if not chunk:
                poll.unregister(output)
                continue
            continue
        if pidfd in ready:
            return said
        if not ready:
            return None
