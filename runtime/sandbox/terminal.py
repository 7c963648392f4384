"""The caller's terminal joined to a container's: raw mode, copying, window size.

Loaded only for `-t`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty

from runtime.sandbox.running import FORWARDED, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.sandbox.running import Container

_CHUNK = 1 << 14


def attend(container: Container, *, interactive: bool) -> int:
    """Copy between this process's terminal and the container's until it ends; its exit status.

    Signals sent to this process go on to the container. The terminal is restored at the end.
    """
    assert container.master is not None
    master = container.master
    # The handler only makes poll return; the wakeup descriptor says which signal it was.
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write)
    for number in FORWARDED | {signal.SIGCHLD}:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    on_terminal = os.isatty(0)
    saved = termios.tcgetattr(0) if on_terminal and interactive else None
    if saved is not None:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed already is for the container
    _copy_window_size(master)
    try:
        return _Session(container, master, wake_read, interactive=interactive).run()
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


class _Session:
    def __init__(self, container: Container, master: int, wake: int, *, interactive: bool):
        self._container = container
        self._master = master
        self._wake = wake
        self._status: int | None = None
        self._killed_by = 0
        self._shown = True  # until the container's terminal, or our output, is closed
        self._poll = select.poll()
        self._poll.register(master, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        if interactive:
            self._poll.register(0, select.POLLIN)

    def run(self) -> int:
        while self._status is None:
            for fd, _ in self._poll.poll():
                if fd == self._wake:
                    self._take_signals()
                elif fd == self._master:
                    self._show_output()
                else:
                    self._pass_input()
        while self._output_waits():
            self._show_output()
        return 128 + self._killed_by if self._killed_by else self._status

    def _take_signals(self) -> None:
        for number in os.read(self._wake, 256):
            if number == signal.SIGWINCH:
                _copy_window_size(self._master)
            elif number != signal.SIGCHLD and self._container.send(number):
                self._killed_by = number
        pid, wait_status = os.waitpid(self._container.pid, os.WNOHANG)
        if pid:
            self._status = exit_status(wait_status)

    def _output_waits(self) -> bool:
        return self._shown and bool(select.select([self._master], [], [], 0)[0])

    def _show_output(self) -> None:
        try:
            content = os.read(self._master, _CHUNK)
        except OSError:  # EIO: every process of the container has closed its terminal
            self._stop_showing()
            return
        try:
            _write_all(1, content)
        except OSError:  # nobody reads any more: for the container, its terminal hangs up
            self._stop_showing()
            if self._container.send(signal.SIGHUP):
                self._killed_by = signal.SIGHUP

    def _stop_showing(self) -> None:
        self._shown = False
        self._poll.unregister(self._master)

    def _pass_input(self) -> None:
        content = os.read(0, _CHUNK)
        if content:
            _write_all(self._master, content)
        else:
            self._poll.unregister(0)
            _write_all(self._master, b"\x04")  # end of file, as a terminal says it


def _copy_window_size(master: int) -> None:
    if os.isatty(0):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
