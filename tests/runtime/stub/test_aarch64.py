"""The stub for aarch64 in an emulator of user processes: it executes, reports, and stays as init.

What it executes is a program of this machine: the emulator hands that call to the kernel. It has
no seccomp(2), so filters are not tested here beyond their failure, nor are sealed memfds.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from runtime.stub import enter
from tests.runtime.stub.support import SHELL, read_some
from tests.support import wait_for, which

EMULATOR = "qemu-aarch64-static"  # Debian's qemu-user-static
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_program(EMULATOR, "busybox")
either_mode = pytest.mark.parametrize("init", [False, True], ids=["alone", "init"])


_started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for child in _started:
        if child.poll() is None:  # its test failed
            child.kill()
        child.communicate()
    _started.clear()


def _start(
    folder: Path, path: str, *args: str, init: bool = False, seccomp: bytes = b""
) -> tuple[subprocess.Popen[bytes], int]:
    """The emulated stub on its way to `path`, and the read end of its report."""
    read, report = os.pipe()
    stub = folder / "stub"
    stub.write_bytes(enter.program("aarch64", report=report, init=init, seccomp=seccomp))
    stub.chmod(0o755)
    child = subprocess.Popen(
        [which(EMULATOR), "-0", path, stub, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[report],
        env={"A": "b", "PATH": "/bin"},
    )
    os.close(report)
    _started.append(child)
    return child, read


def _run(
    folder: Path, path: str, *args: str, init: bool = False, seccomp: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Status, output and report of the emulated stub."""
    child, read = _start(folder, path, *args, init=init, seccomp=seccomp)
    output, _ = child.communicate(timeout=60)
    report = read_some(read)
    os.close(read)
    return child.returncode, output, report


@either_mode
def test_the_program_runs_with_its_arguments_and_its_status(init: bool, tmp_path: Path) -> None:
    script = 'echo "$0" "$@" $A; exit 7'
    ended = _run(tmp_path, SHELL, "sh", "-c", script, "zero", "one", "", "two  three", init=init)
    assert ended == (7, b"zero one  two  three b\n", b"")


@either_mode
@pytest.mark.parametrize(
    ("path", "number", "status"), [("/no/such", 2, 127), ("/etc/passwd", 13, 126)]
)
def test_a_failure_is_reported(
    path: str, number: int, status: int, init: bool, tmp_path: Path
) -> None:
    ended = _run(tmp_path, path, "x", init=init)
    assert (ended[0], ended[1]) == (status, b"")
    assert enter.decode_report(ended[2]) == enter.Failure(phase="exec", errno=number)


def test_a_filter_that_cannot_be_installed_is_reported(tmp_path: Path) -> None:
    ended = _run(tmp_path, SHELL, "true", seccomp=bytes(8))
    failure = enter.decode_report(ended[2])
    assert failure is not None
    assert (ended[0], failure.phase) == (125, "seccomp")


def test_executed_again_it_ends_with_127(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_bytes(enter.program("aarch64", report=77))  # not open
    stub.chmod(0o755)
    argv = [which(EMULATOR), "-0", SHELL, str(stub), "echo", "reached"]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (127, b"")


def test_as_init_it_sends_signals_on_and_ends_with_the_program(tmp_path: Path) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.02; done"
    child, read = _start(tmp_path, SHELL, "sh", "-c", script, init=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert read_some(read) == b""
    os.close(read)
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=60)[0] == b"caught\n"
    assert child.returncode == 9


def test_as_init_it_reports_death_by_a_signal(tmp_path: Path) -> None:
    assert _run(tmp_path, SHELL, "sh", "-c", "kill -9 $$", init=True)[0] == 137


def test_as_init_it_collects_its_children(tmp_path: Path) -> None:
    child, read = _start(tmp_path, SHELL, "sleep", "60", init=True)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    wait_for(lambda: children.read_text() != "")
    program = int(children.read_text())
    wait_for(lambda: os.readlink(f"/proc/{program}/exe") == os.path.realpath(SHELL))
    os.kill(program, signal.SIGKILL)
    assert child.wait(60) == 137
    assert not Path(f"/proc/{program}").exists()
    os.close(read)
