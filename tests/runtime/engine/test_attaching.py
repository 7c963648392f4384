"""Terminals, and being attached: from the beginning, later, and no longer."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from tests.runtime.engine.engine_calls import Engine, Terminal
from tests.support import wait_for

_SHELL = "stty -echo; echo ready; while read line; do echo got:$line; done; exit 6"


def test_a_terminal_is_the_containers(everyones: Engine) -> None:
    terminal = Terminal(everyones, "run", "-it", "--name", "tty", everyones.image, "sh")
    terminal.type("tty && echo two$((1 + 1))\n")
    terminal.expect("/dev/pts/0")
    terminal.expect("two2")
    terminal.type("exit 9\n")
    assert terminal.status() == 9
    assert "two2" in everyones("logs", "tty").stdout


def test_a_terminal_follows_the_size_of_the_callers(engine: Engine) -> None:
    terminal = Terminal(engine, "run", "-it", "--rm", engine.image, "sh")
    terminal.type("echo re''ady\n")
    terminal.expect("ready")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    terminal.process.send_signal(signal.SIGWINCH)
    deadline = time.monotonic() + 20
    while "33 101" not in terminal.seen and time.monotonic() < deadline:
        terminal.type("stty size; echo do''ne\n")
        terminal.seen = ""
        _read_to(terminal, "done")
    assert "33 101" in terminal.seen
    terminal.type("exit\n")
    assert terminal.status() == 0


def _read_to(terminal: Terminal, text: str) -> None:
    while text not in terminal.seen:
        terminal.seen += os.read(terminal.master, 4096).decode()


def test_the_keys_leave_a_container_running_and_attach_comes_back(everyones: Engine) -> None:
    terminal = Terminal(
        everyones, "run", "-it", "--name", "left", everyones.image, "sh", "-c", _SHELL
    )
    terminal.expect("ready")
    terminal.type("\x10\x11")
    assert terminal.status() == 0
    assert "left" in everyones.done("ps")
    again = Terminal(everyones, "attach", "--detach-keys", "ctrl-x,q", "left")
    again.type("back\n")
    again.expect("got:back")
    again.type("\x18q")
    assert again.status() == 0
    third = Terminal(everyones, "attach", "left")
    third.type("end\n")
    third.expect("got:end")
    third.type("\x04")
    assert third.status() == 6


def test_half_of_the_keys_is_input(engine: Engine) -> None:
    terminal = Terminal(engine, "run", "-it", "--rm", engine.image, "sh", "-c", _SHELL)
    terminal.expect("ready")
    terminal.type("\x10x\n")
    terminal.expect("got:\x10x")
    terminal.type("\x04")
    assert terminal.status() == 6


def test_who_is_attached_from_the_start_gets_the_first_word(engine: Engine) -> None:
    identity = engine.done("create", "-i", engine.image, "sh", "-c", "echo first; cat; exit 3")
    started = engine("start", "-ai", identity, stdin=b"then\n")
    assert (started.status, started.stdout) == (3, "first\nthen\n")


def test_all_who_are_attached_hear_the_same(engine: Engine) -> None:
    script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo heard; exit 2"
    identity = engine.background(script)
    both = [engine.popen("attach", identity, stdout=subprocess.PIPE) for _ in range(2)]
    monitor = engine.file(identity, "run.json")["monitor"]
    wait_for(lambda: len(_sockets(monitor)) >= 3)  # it listens, and has two
    (engine.folder(identity) / "upper/tmp").mkdir(exist_ok=True)
    pid = engine.file(identity, "run.json")["pid"]
    Path(f"/proc/{pid}/root/tmp/go").touch()
    assert [process.communicate(timeout=20)[0] for process in both] == [b"heard\n"] * 2
    assert [process.returncode for process in both] == [2, 2]


def _sockets(pid: int) -> list[str]:
    links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return [link for link in links if link.startswith("socket:")]


def test_one_who_goes_away_does_not_end_a_container(engine: Engine) -> None:
    identity = engine.background("while :; do echo more; sleep 0.02; done")
    process = engine.popen("attach", identity, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"more\n"
    process.kill()
    process.communicate()
    assert engine.done("ps", "-q") == identity[:12]


def test_input_that_a_container_does_not_read_is_not_piled_up(engine: Engine) -> None:
    with open("/dev/zero", "rb") as zeros:
        process = engine.popen(
            "run", "-i", "--name", "deaf", engine.image, "sh", "-c", "sleep 1000", stdin=zeros
        )
    wait_for(lambda: "deaf" in engine.done("ps"))
    identity = engine.done("ps", "-q", "--no-trunc")
    monitor = engine.file(identity, "run.json")["monitor"]
    time.sleep(0.5)
    status = Path(f"/proc/{monitor}/status").read_text()
    assert int(status.partition("VmRSS:")[2].split()[0]) < 30_000  # KiB
    process.send_signal(signal.SIGTERM)  # still heard
    assert process.wait(20) == 137


def test_attaching_to_what_does_not_run_is_an_error(engine: Engine) -> None:
    identity = engine.done("create", engine.image, "true")
    failed = engine("attach", identity)
    assert failed.status == 125
    assert "created, not running" in failed.stderr
