"""Entering a program by way of the stub from a forked child, and seeing how that ended."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.sandbox.rootfs import make_private
from runtime.sandbox.running import exit_status
from runtime.stub import enter
from tests.support import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

SHELL = "/bin/busybox"
LONE_ID = 54321  # no account has it


@dataclass(frozen=True)
class Ended:
    """A program's end: its status as a shell gives it, and what it and the stub wrote."""

    status: int
    output: str
    report: bytes = b""

    @property
    def failure(self) -> enter.Failure | None:
        """What the stub could not do."""
        return enter.decode_report(self.report)


_running: list[Running] = []


def kill_all() -> None:
    """End what a failed test left running."""
    while _running:
        os.kill(_running[0].pid, signal.SIGKILL)
        os.waitpid(_running[0].pid, 0)
        _running[0].forget()


@dataclass(frozen=True)
class Running:
    """A child that becomes the program."""

    pid: int
    output: int
    report: int

    def read_until(self, text: str) -> str:
        """Output up to and with `text`."""
        read = ""
        while text not in read:
            chunk = read_some(self.output)
            assert chunk, f"ended with {read!r}"
            read += chunk.decode()
        return read

    def reported(self) -> bytes:
        """The next bytes of the report; none once nobody can write any."""
        return read_some(self.report)

    def child(self) -> int:
        """The pid of the first child of the first process."""
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        wait_for(lambda: bool(Path(path).read_text()))
        return int(Path(path).read_text().split()[0])

    def _read_all(self, fd: int) -> bytes:
        content = b""
        while chunk := read_some(fd):
            content += chunk
        return content

    def forget(self) -> None:
        """Close what is ours."""
        _running.remove(self)
        os.close(self.report)
        os.close(self.output)

    def wait(self) -> Ended:
        """Everything it writes, and its status."""
        report, output = self._read_all(self.report), self._read_all(self.output)
        self.forget()
        _, wait_status = os.waitpid(self.pid, 0)
        return Ended(exit_status(wait_status), output.decode("utf-8", "backslashreplace"), report)


def begin(
    path: str | Path,
    *args: str,
    env: dict[str, str] | None = None,
    init: bool = False,
    seccomp: bytes = b"",
    seccomp_flags: int = 0,
    alone: bool = False,
    terminal: int | None = None,
    first: Callable[[], None] = lambda: None,
    before: Callable[[], None] = lambda: None,
    by_stub: bool = True,
) -> Running:
    """Fork, and enter `path`; `alone` makes it the first process of a PID namespace with a /proc.

    `first` is called in the child, `before` there between `prepare` and `execute`. `args` start
    with argv[0].
    """
    report_read, report = os.pipe()
    output_read, output = os.pipe()
    pid = _fork_alone() if alone else os.fork()
    if pid:
        os.close(report)
        os.close(output)
        running = Running(pid, output_read, report_read)
        _running.append(running)
        return running
    try:
        if alone:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            make_private()
            syscalls.mount("proc", "/proc", "proc")
        os.dup2(os.open("/dev/null", os.O_RDONLY) if terminal is None else terminal, 0)
        for fd in (1, 2):
            os.dup2(output, fd)
        syscalls.close_range_cloexec(3)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        first()
        memfd = enter.prepare(
            report=report, init=init, seccomp=seccomp, seccomp_flags=seccomp_flags
        )
        before()
        environment = {"PATH": "/bin:/usr/bin"} if env is None else env
        if by_stub:
            enter.execute(memfd, str(path), args, environment, report)
        os.execve(path, args, environment)
    except ContainerError as error:
        os.write(2, f"{error.message}\n{error.hint}".encode())
    except OSError as error:
        os.write(2, f"raised {error.errno}".encode())
    except BaseException as error:
        os.write(2, repr(error).encode())
    os._exit(99)


def run_by_stub(path: str | Path, *args: str, **choices: Any) -> Ended:
    """Enter `path` and wait for its end; the choices are those of `begin`."""
    return begin(path, *args, **choices).wait()


def shell(script: str, **choices: Any) -> Ended:
    """Enter a shell."""
    return run_by_stub(SHELL, "sh", "-c", script, **choices)


def in_child(function: Callable[[], int]) -> int:
    """The status of a forked child that calls `function` and exits with what it returns."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function())
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(99)
    return exit_status(os.waitpid(pid, 0)[1])


def become_nobody() -> None:
    """Give up root for an id that owns nothing."""
    os.setgroups([])
    os.setresgid(LONE_ID, LONE_ID, LONE_ID)
    os.setresuid(LONE_ID, LONE_ID, LONE_ID)


def read_some(fd: int) -> bytes:
    """What a pipe has; nothing if it has ended."""
    if not select.select([fd], [], [], 20)[0]:
        raise AssertionError("it hangs")
    return os.read(fd, 1 << 16)


def bpf(*instructions: tuple[int, int, int, int]) -> bytes:
    """A filter of (code, jt, jf, k), as struct sock_filter[]."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def filter_of(numbers: Sequence[int], *, named: int, others: int) -> bytes:
    """A seccomp filter that returns `named` for some system calls, and `others` for the rest."""
    count = len(numbers)
    tests = [(0x15, count - i, 0, number) for i, number in enumerate(numbers)]
    return bpf((0x20, 0, 0, 0), *tests, (0x06, 0, 0, others), (0x06, 0, 0, named))


def compile_static(path: Path, source: str, *flags: str, gcc: str = "gcc") -> Path:
    """Compile a freestanding program, whose `_start` is in `source`."""
    argv = [gcc, "-Os", "-ffreestanding", "-nostdlib", "-static", "-fno-stack-protector"]
    argv += ["-w", *flags, "-x", "c", "-", "-o", str(path)]
    subprocess.run(argv, input=source, text=True, check=True)
    path.chmod(0o755)
    return path


def _fork_alone() -> int:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWPID)
    pid = os.fork()
    if pid:
        syscalls.setns(own, syscalls.CLONE_NEWPID)
    os.close(own)
    return pid
