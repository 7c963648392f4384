"""Terminals: --console-socket, `run` on a terminal of ours, and `exec --tty`."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import struct
import termios
import time
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import process, terminal
from tests.runtime.lifecycle.runtime_calls import (
    FOREVER,
    Runtime,
    as_root,
    as_root_and_user,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Bundle = Callable[..., Path]


class ConsoleSocket:
    """An engine's end of --console-socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o777)
        self._socket.listen(1)
        self._socket.settimeout(10)
        self.masters: list[int] = []

    def receive(self) -> int:
        """The master of a pty."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(10)
            name, fds, _, _ = socket.recv_fds(connection, 4096, 10)
        assert len(fds) == 1
        assert name
        self.masters += fds
        return fds[0]

    def close(self) -> None:
        """Close what came."""
        for fd in self.masters:
            os.close(fd)
        self._socket.close()


@pytest.fixture
def console(oci: Runtime) -> Iterator[ConsoleSocket]:
    """A listening --console-socket."""
    made = ConsoleSocket(oci.room.place / "console")
    try:
        yield made
    finally:
        made.close()


def read_until(master: int, text: str) -> str:
    """What a terminal shows up to a text."""
    shown, ends = "", time.monotonic() + 10
    while text not in shown:
        left = ends - time.monotonic()
        assert left > 0, f"{text!r} was not shown, but {shown!r}"
        if select.select([master], [], [], left)[0]:
            shown += os.read(master, 4096).decode()
    return shown


def resize(fd: int, rows: int, columns: int) -> None:
    """Change the size of a terminal."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_the_master_comes_by_the_console_socket_and_can_be_resized(
    console: ConsoleSocket, oci: Runtime, bundle: Bundle
) -> None:
    script = "trap 'stty size; echo resized' WINCH; tty; stty size; while :; do sleep 0.02; done"
    size = {"height": 7, "width": 33}
    path = bundle(script, terminal, process(consoleSize=size))
    box = oci.create(path, "--console-socket", console.path)
    master = console.receive()
    oci.ok("start", box)
    shown = read_until(master, "7 33")
    assert "/dev/pts/0" in shown
    resize(master, 40, 100)
    assert "40 100" in read_until(master, "resized")


@as_root_and_user
def test_the_terminal_controls_the_container(
    console: ConsoleSocket, oci: Runtime, bundle: Bundle
) -> None:
    script = "trap 'echo interrupted; exit 1' INT; echo ready; while :; do sleep 0.02; done"
    box = oci.create(bundle(script, terminal), "--console-socket", console.path)
    master = console.receive()
    oci.ok("start", box)
    read_until(master, "ready")
    os.write(master, b"\x03")
    read_until(master, "interrupted")
    oci.wait_stopped(box)


@as_root
def test_the_console_device_is_the_terminal(
    console: ConsoleSocket, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.create(bundle("echo by console > /dev/console; sleep 1000", terminal),
                     "--console-socket", console.path)  # fmt: skip
    master = console.receive()
    oci.ok("start", box)
    read_until(master, "by console")


@as_root_and_user
def test_a_detached_container_needs_a_console_socket_for_its_terminal(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true", terminal)
    words = "process.terminal: a detached container's terminal needs --console-socket"
    assert words in oci.refused("create", "-b", path, oci.new_id())
    assert words in oci.refused("run", "-d", "-b", path, oci.new_id())


@as_root
def test_a_console_socket_without_a_terminal_or_a_listener_is_an_error(
    console: ConsoleSocket, oci: Runtime, bundle: Bundle
) -> None:
    said = oci.refused("create", "-b", bundle(), "--console-socket", console.path, oci.new_id())
    assert "--console-socket: process.terminal is false" in said
    said = oci.refused(
        "create", "-b", bundle("true", terminal), "--console-socket", "/nothing", oci.new_id()
    )
    assert "--console-socket /nothing: No such file or directory" in said
    assert list(oci.root.iterdir()) == []


@as_root_and_user
def test_run_joins_the_containers_terminal_to_ours(oci: Runtime, bundle: Bundle) -> None:
    master, slave = pty.openpty()
    try:
        os.fchmod(slave, 0o666)
        resize(master, 21, 87)
        path = bundle("stty size; read line; echo got $line; exit 5", terminal)
        running = oci.popen(
            *("run", "-b", path, oci.new_id()),
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
            start_new_session=True,
        )
        read_until(master, "21 87")
        os.write(master, b"typed\n")
        read_until(master, "got typed")
        assert running.wait(10) == 5
    finally:
        os.close(master)
        os.close(slave)


@as_root
def test_exec_has_a_terminal_by_a_console_socket(
    console: ConsoleSocket, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER))
    oci.ok("exec", "--tty", "--detach", "--console-socket", console.path, box,
           "sh", "-c", "tty; stty size; read x")  # fmt: skip
    master = console.receive()
    resize(master, 11, 22)
    assert "/dev/pts/0" in read_until(master, "/dev/pts/0")
    os.write(master, b"\n")


@as_root_and_user
def test_exec_joins_its_terminal_to_ours(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    master, slave = pty.openpty()
    try:
        os.fchmod(slave, 0o666)
        resize(master, 9, 99)
        running = oci.popen(
            *("exec", "-t", box, "sh", "-c", "stty size; test -t 0 && echo is one; exit 6"),
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
            start_new_session=True,
        )
        assert "9 99" in read_until(master, "is one")
        assert running.wait(10) == 6
    finally:
        os.close(master)
        os.close(slave)
