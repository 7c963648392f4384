"""Signals reach the container, and nothing of it is left, however its end comes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.support import Caller, command, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., "Running"]


class Running:
    """A `pyrun` that has printed its first line."""

    def __init__(
        self, caller: Caller, warm_store: Path, image: Path, script: str, *options: str
    ) -> None:
        self.mark = f"mark-{uuid.uuid4().hex}"
        argv = [*command("pyrun"), *options, str(image), "sh", "-c", script, self.mark]
        env = environment(caller, PYBUILD_ROOT=str(warm_store))
        self.process = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **caller.switch,
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal to pyrun; its exit status, and what was printed since the first line."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=10)
        return self.process.returncode, output

    def living(self) -> list[str]:
        """Processes of the container, wherever they are."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                pass
        return found

    def is_gone(self) -> bool:
        """Whether all of it ends soon; only a failure waits for the deadline."""
        deadline = time.monotonic() + 20
        while self.living() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.living()


@pytest.fixture
def start(warm_store: Path, caller: Caller, busybox: Path) -> Iterator[Start]:
    """Start a script in a busybox container and wait for its first line."""
    running: list[Running] = []

    def call(script: str, *options: str) -> Running:
        running.append(Running(caller, warm_store, busybox, script, *options))
        return running[-1]

    yield call
    for one in running:
        one.process.kill()
        one.process.communicate()


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]


@pytest.mark.parametrize("number", ENDING)
def test_a_first_process_without_a_handler_ends_with_128_plus_the_signal(
    start: Start, number: int
) -> None:
    # "ready" is said by a program: until it is executed, the shell has its own ways with signals.
    container = start("echo ready > /file; exec tail -f /file")
    assert container.end(number) == (128 + number, "")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_a_first_process_with_a_handler_gets_to_run_it(start: Start, name: str) -> None:
    container = start(
        f"trap 'echo caught; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    )
    assert container.end(signal.Signals[f"SIG{name}"]) == (7, "caught\n")


def test_a_handler_may_go_on_and_a_second_signal_comes_through(start: Start) -> None:
    script = "n=0; trap 'n=$((n+1)); echo $n; [ $n = 2 ] && exit 9' TERM; echo ready;"
    container = start(script + "while :; do sleep 0.05; done")
    container.process.send_signal(signal.SIGTERM)
    assert container.process.stdout is not None
    assert container.process.stdout.readline() == "1\n"
    assert container.end(signal.SIGTERM) == (9, "2\n")


def test_a_signal_that_the_first_process_ignores_does_nothing(start: Start) -> None:
    container = start("trap '' TERM; echo ready; sleep 0.5; echo done")
    assert container.end(signal.SIGTERM) == (0, "done\n")


def test_children_of_the_first_process_end_with_it(start: Start) -> None:
    container = start(
        "sh -c 'sleep 60; : ' $0 & setsid sh -c 'sleep 60; : ' $0 & echo ready; wait"
    )
    assert len(container.living()) >= 3
    assert container.end(signal.SIGTERM)[0] == 143
    assert container.is_gone()


@pytest.mark.parametrize(
    "options", [(), ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges=false")]
)
def test_nothing_is_left_when_pyrun_is_killed(
    start: Start, options: tuple[str, ...], warm_store: Path
) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    container = start("sleep 60 & echo ready; while :; do sleep 1; done", *options)
    assert container.living()
    container.process.kill()
    assert container.is_gone()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(warm_store / "mnt") == os.listdir(warm_store / "tmp") == []


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_nothing_is_left_of_a_users_process_when_pyrun_is_killed(start: Start) -> None:
    container = start("echo ready; while :; do sleep 1; done", "-u", "alice")
    assert container.living()
    container.process.kill()
    assert container.is_gone()


def test_background_processes_do_not_keep_a_container_alive(start: Start) -> None:
    container = start("sleep 60 & echo ready; exit 3")
    container.process.communicate(timeout=10)
    assert container.process.returncode == 3
    assert container.is_gone()


def test_stop_and_continue_of_pyrun_lose_no_signal(start: Start) -> None:
    container = start("trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    container.process.send_signal(signal.SIGSTOP)
    container.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert container.end(signal.SIGCONT) == (7, "caught\n")


@pytest.mark.slow
def test_a_signal_at_any_moment_ends_pyrun(
    busybox: Path, warm_store: Path, caller: Caller
) -> None:
    argv = [*command("pyrun"), str(busybox), "sleep", "60"]
    env = environment(caller, PYBUILD_ROOT=str(warm_store))
    for delay_ms in range(20, 120, 2):
        process = subprocess.Popen(
            argv, env=env, cwd="/", stderr=subprocess.DEVNULL, **caller.switch
        )
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in (143, -15)
