"""A build that is stopped in the middle leaves nothing behind and breaks nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, mounts, processes
from tests.conftest import remove
from tests.support import CHECKOUT, wait_for_script

FIRST = f"{SHELL}RUN echo 1 > /a\n"
_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}
stopping = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"]
)


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is so; the process must not have ended before."""
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.002)


def _stop(
    pybuild: Pybuild, process: subprocess.Popen[bytes], number: int, *, group: bool = False
) -> None:
    """Send a signal and wait for the end, which must be the one that it asks for."""
    began = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    status = process.wait(30)
    assert status == _STATUS[signal.Signals(number)], pybuild.log
    assert time.monotonic() - began < 5
    assert "Traceback" not in pybuild.log


def _is_busy(pybuild: Pybuild) -> bool:
    """Whether processes are there, or locks of ones that are ending.

    A process closes its files last: nothing else tells of it by then.
    """
    if processes(pybuild.directory):
        return True
    for path in (pybuild.store / "tmp").iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def _wait_until_idle(pybuild: Pybuild) -> None:
    until = time.monotonic() + 5  # a killed process is collected by whoever inherits it
    while _is_busy(pybuild) and time.monotonic() < until:
        time.sleep(0.02)


def _check_nothing_is_left(pybuild: Pybuild, number: int) -> None:
    _wait_until_idle(pybuild)
    assert processes(pybuild.directory) == []
    assert mounts(pybuild.directory) == []
    if number == signal.SIGKILL:  # nobody was left to clean up: the next one that works does
        assert pybuild.try_build(FIRST, "--no-cache").status == 0
    assert os.listdir(pybuild.store / "tmp") == []
    assert os.listdir(pybuild.work) == ["image.tar"]


@stopping
def test_a_build_that_is_stopped_in_a_run_leaves_nothing(anybody: Pybuild, number: int) -> None:
    anybody.build(FIRST)
    output, store = anybody.output.read_bytes(), anybody.store_files()
    process = anybody.start(f"{FIRST}RUN (sleep 1000 &) ; echo rea''dy; sleep 1000\n")
    _wait_for(lambda: " ready\n" in anybody.log, process)
    _stop(anybody, process, number)
    assert anybody.output.read_bytes() == output
    assert anybody.store_files() == store
    _check_nothing_is_left(anybody, number)
    assert anybody.steps(FIRST) == ["CACHED"] * 3


@stopping
@pytest.mark.needs_program("ssh-agent", "ssh-add", "ssh-keygen")
def test_a_run_with_mounts_that_is_stopped_leaves_its_caches_alone(
    anybody: Pybuild, number: int
) -> None:
    anybody.build(FIRST)
    key, secret = anybody.directory / "key", anybody.directory / "secret"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    secret.write_text("1")
    for path in (key, secret):
        os.chown(path, anybody.caller.uid, anybody.caller.gid)
    types = "type=cache,target=/c type=tmpfs,target=/t type=secret,id=s type=ssh target=/x"
    flags = " ".join(f"--mount={mount}" for mount in types.split())
    count = "echo x >> /c/n; wc -l < /c/n > /n"
    process = anybody.start(
        f"{FIRST}RUN {flags} {count}; echo rea''dy; sleep 1000\n",
        f"--secret=id=s,src={secret}",
        f"--ssh=default={key}",
    )
    _wait_for(lambda: " ready\n" in anybody.log, process)
    _stop(anybody, process, number)
    _check_nothing_is_left(anybody, number)
    lost = number == signal.SIGKILL and anybody.launcher  # it had been moved into the tree
    image = anybody.build(f"{FIRST}RUN --mount=type=cache,target=/c {count}\n")
    assert image.read("n") == (b"1\n" if lost else b"2\n")


def test_control_c_at_a_terminal_reaches_all_and_is_status_130(anybody: Pybuild) -> None:
    anybody.build(FIRST)
    process = anybody.start(f"{FIRST}RUN echo rea''dy; sleep 1000\n")
    _wait_for(lambda: " ready\n" in anybody.log, process)
    _stop(anybody, process, signal.SIGINT, group=True)
    assert "pybuild: stopped" in anybody.log
    _check_nothing_is_left(anybody, signal.SIGINT)


def test_a_terminal_that_closes_stops_the_build(pybuild: Pybuild) -> None:
    pybuild.build(FIRST)
    process = pybuild.start(f"{FIRST}RUN echo rea''dy; sleep 1000\n")
    _wait_for(lambda: " ready\n" in pybuild.log, process)
    _stop(pybuild, process, signal.SIGHUP)
    _check_nothing_is_left(pybuild, signal.SIGHUP)


def test_a_run_that_ignores_signals_is_stopped_all_the_same(pybuild: Pybuild) -> None:
    pybuild.build(FIRST)
    process = pybuild.start(f"{FIRST}RUN trap '' INT TERM; echo rea''dy; sleep 1000\n")
    _wait_for(lambda: " ready\n" in pybuild.log, process)
    _stop(pybuild, process, signal.SIGTERM)
    _check_nothing_is_left(pybuild, signal.SIGTERM)


@stopping
def test_an_archive_that_is_half_written_is_not_there(anybody: Pybuild, number: int) -> None:
    anybody.build(FIRST)
    output = anybody.output.read_bytes()
    process = anybody.start(f"{FIRST}RUN truncate -s 300M /big\n")
    _wait_for(lambda: _writes_in(process.pid, anybody.work), process)
    _stop(anybody, process, number)
    assert anybody.output.read_bytes() == output
    _check_nothing_is_left(anybody, number)


def _writes_in(pid: int, directory: Path) -> bool:
    """Whether a process has a file of a directory open: one without a name, or with another."""
    folder = f"/proc/{pid}/fd"
    try:
        open_files = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    except OSError:
        return False
    return any(path.startswith(f"{directory}/") for path in open_files)


@stopping
@pytest.mark.needs_program("dnf")
def test_dnf_that_is_stopped_in_a_scriptlet_leaves_nothing(
    anybody: Pybuild, tiny_repository: Path, number: int
) -> None:
    anybody.build(FIRST)
    output, store = anybody.output.read_bytes(), anybody.store_files()
    url = f"url=file://{tiny_repository}"
    process = anybody.start(
        f"FROM scratch\nBOOTSTRAP --nogpgcheck --repo=id=a,{url}/repo "
        f"--repo=id=b,{url}/broken/slowpost bad-slowpost\n"
    )
    _wait_for(lambda: any("sleep" in line for line in processes(anybody.store)), process)
    _stop(anybody, process, number)
    assert (anybody.output.read_bytes(), anybody.store_files()) == (output, store)
    _check_nothing_is_left(anybody, number)


# --- Killed at any moment


def _sweep(pybuild: Pybuild, repository: Path, moments: list[float]) -> None:
    """Kill a build after each of so many seconds; then it must build as if nothing had been."""
    for name in ("repo", "RPM-GPG-KEY-hello", "motd"):
        source, target = repository / name, pybuild.context / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    text = (CHECKOUT / "examples/hello/Containerfile").read_text()
    expected = pybuild.try_build(text, "--root", "other").stdout
    assert expected
    pybuild.output.unlink()
    remove(pybuild.work / "other")
    for number, moment in enumerate(moments):
        process = pybuild.start(text, *(["--no-cache"] if number % 2 else []))
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if pybuild.output.exists():
            assert Image(pybuild.output).descriptor["digest"] == expected.strip()
        assert mounts(pybuild.directory) == []
    _wait_until_idle(pybuild)
    ended = pybuild.try_build(text)
    assert (ended.status, ended.stdout) == (0, expected), ended.stderr
    _check_nothing_is_left(pybuild, 0)


@pytest.mark.needs_program("dnf")
def test_killed_at_four_moments_a_build_still_comes_to_the_same(
    pybuild: Pybuild, hello_repository: Path
) -> None:
    _sweep(pybuild, hello_repository, [0.15, 0.45, 0.75, 1.05])


@pytest.mark.slow
@pytest.mark.needs_program("dnf")
def test_killed_at_eighty_moments_a_build_still_comes_to_the_same(
    anybody: Pybuild, hello_repository: Path
) -> None:
    _sweep(anybody, hello_repository, [0.02 * number for number in range(1, 81)])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_stopped_at_forty_moments_a_build_cleans_up_each_time(
    anybody: Pybuild, number: int
) -> None:
    anybody.build(FIRST)
    text = f"{FIRST}COPY busybox /b\nWORKDIR /w\nRUN sleep 0.3; truncate -s 20M /big\n"
    for moment in (0.02 * n for n in range(1, 41)):
        process = anybody.start(text, "--no-cache")
        assert wait_for_script(process)
        time.sleep(moment)
        process.send_signal(number)
        assert process.wait(30) in (0, 128 + number, -number), anybody.log
        assert "Traceback" not in anybody.log
        _wait_until_idle(anybody)  # what maps a user's ids ends by itself, if it is very early
        assert processes(anybody.directory) == []
        assert os.listdir(anybody.store / "tmp") == []


@pytest.mark.slow
def test_a_signal_that_comes_just_before_the_wait_is_not_lost(pybuild: Pybuild) -> None:
    pybuild.build(FIRST)
    for _ in range(60):
        process = pybuild.start(f"{FIRST}RUN echo rea''dy; sleep 1000\n")
        _wait_for(lambda: " ready\n" in pybuild.log, process)
        _stop(pybuild, process, signal.SIGINT)
