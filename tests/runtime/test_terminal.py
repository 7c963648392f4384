"""-t: a terminal of the container's own, joined to pyrun's."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.support import Caller, Result, command, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Shell = Callable[..., Result]
    Open = Callable[..., "Terminal"]


class Terminal:
    """A terminal of ours with `pyrun -it` on it."""

    def __init__(self, argv: list[str], caller: Caller, env: dict[str, str]) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 80)
        os.fchmod(self.slave, 0o666)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            **caller.switch,
        )
        self._seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until `text` has been shown; everything shown so far."""
        deadline = time.monotonic() + 10
        while text not in self._seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown, but {self._seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self._seen += os.read(self.master, 4096).decode()
        return self._seen

    def end(self) -> int:
        return self.process.wait(timeout=10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def opened(warm_store: Path, caller: Caller, busybox: Path) -> Iterator[Open]:
    """Run a script on a terminal."""
    terminals = []

    def call(script: str, *options: str) -> Terminal:
        argv = [*command("pyrun"), "-it", *options, str(busybox), "sh", "-c", script]
        terminals.append(Terminal(argv, caller, environment(caller, PYBUILD_ROOT=str(warm_store))))
        return terminals[-1]

    yield call
    for terminal in terminals:
        terminal.close()


def test_the_container_has_a_terminal_of_its_own(opened: Open) -> None:
    script = "tty; readlink /proc/self/fd/1; ls /dev/pts; stat -c %F /dev/console; echo end"
    terminal = opened(script)
    lines = terminal.wait_for("end").splitlines()
    assert lines[:2] == ["/dev/pts/0", "/dev/pts/0"]
    assert set(lines[2].split()) == {"0", "ptmx"}
    assert lines[3] == "character special file"
    assert terminal.end() == 0


def test_it_is_the_controlling_terminal(opened: Open) -> None:
    terminal = opened("echo through > /dev/tty; echo end")
    assert "through" in terminal.wait_for("end")


def test_a_line_typed_before_the_container_runs_reaches_it(opened: Open) -> None:
    terminal = opened("read line; echo got $line")
    terminal.type("hello\r")
    assert "got hello" in terminal.wait_for("got hello")
    assert terminal.end() == 0


def test_control_c_is_the_containers(opened: Open) -> None:
    terminal = opened("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    terminal.wait_for("ready")
    time.sleep(0.1)
    terminal.type("\x03")
    terminal.wait_for("caught")
    assert terminal.end() == 5


def test_control_c_reaches_the_foreground_command_only(opened: Open) -> None:
    terminal = opened("trap : INT; echo ready; sleep 30; echo status $?")
    terminal.wait_for("ready")
    time.sleep(0.1)
    terminal.type("\x03")
    assert "status 130" in terminal.wait_for("status")


def test_control_d_is_end_of_file(opened: Open) -> None:
    terminal = opened("echo ready; cat; echo end")
    terminal.wait_for("ready")
    time.sleep(0.1)  # until pyrun's terminal is raw, the key is for that one
    terminal.type("\x04")
    terminal.wait_for("end")
    assert terminal.end() == 0


def test_the_window_size_is_ours_and_follows(opened: Open) -> None:
    script = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    terminal = opened(script)
    assert "24 80" in terminal.wait_for("ready")
    terminal.resize(50, 132)
    terminal.process.send_signal(signal.SIGWINCH)
    assert "50 132" in terminal.wait_for("132")
    assert terminal.end() == 0


def test_our_terminal_is_raw_meanwhile_and_restored_afterwards(opened: Open) -> None:
    terminal = opened("echo ready; read line")
    terminal.wait_for("ready")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.type("\r")
    assert terminal.end() == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_our_terminal_is_restored_when_pyrun_gets_a_signal(opened: Open) -> None:
    terminal = opened("echo ready; sleep 60")
    terminal.wait_for("ready")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_everything_that_was_printed_is_shown(opened: Open) -> None:
    terminal = opened("seq 20000; echo end")
    shown = terminal.wait_for("end").split()
    assert shown == [*map(str, range(1, 20001)), "end"]
    assert terminal.end() == 0


@pytest.mark.parametrize("status", [0, 42])
def test_the_exit_status_is_the_containers(status: int, opened: Open) -> None:
    assert opened(f"exit {status}").end() == status


def test_a_terminal_without_input_goes_to_a_pipe(shell: Shell) -> None:
    result = shell("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo $TERM", "-t")
    assert result == Result(0, "/dev/pts/0\r\nxterm\r\n", "")


def test_a_command_that_closes_its_terminal_may_go_on(shell: Shell) -> None:
    result = shell("echo shown; exec <&- >&- 2>&-; sleep 0.3; exit 6", "-t")
    assert result == Result(6, "shown\r\n", "")


def test_a_reader_that_went_away_is_no_traceback(
    busybox: Path, warm_store: Path, caller: Caller
) -> None:
    env = environment(caller, PYBUILD_ROOT=str(warm_store))
    argv = [*command("pyrun"), "-t", str(busybox), "yes"]
    script = '{ "$@"; echo "status $?" >&2; } | head -c 10'
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *argv],
        env=env, cwd="/", capture_output=True, text=True, timeout=30, **caller.switch,
    )  # fmt: skip
    assert "error" not in ended.stderr.lower()
    assert "Traceback" not in ended.stderr
    assert "status" in ended.stderr
    assert ended.stderr.strip() != "status 0"


def test_input_without_a_terminal_is_refused_for_it(shell: Shell) -> None:
    result = shell("true", "-it", stdin=b"")
    assert result.status == 125
    assert result.stderr == (
        "pyrun: -i and -t: standard input is not a terminal\nhint: leave -t out\n"
    )


def test_without_t_there_is_no_terminal_even_if_the_caller_has_one(
    busybox: Path, warm_store: Path, caller: Caller
) -> None:
    # With the caller's as controlling terminal, the container could type into it (CVE-2017-5226).
    argv = [*command("pyrun"), "-i", str(busybox), "sh", "-c", "echo x > /dev/tty; echo $? end"]
    terminal = Terminal(argv, caller, environment(caller, PYBUILD_ROOT=str(warm_store)))
    try:
        assert "1 end" in terminal.wait_for("end")
    finally:
        terminal.close()
