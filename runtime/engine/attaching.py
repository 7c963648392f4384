"""Being attached to a container: its output is ours, our input and signals are its."""

from __future__ import annotations

import os
import select
import socket

from runtime.engine import protocol
from runtime.engine.protocol import ATTACH
from runtime.errors import ContainerError, UsageError
from runtime.sandbox.running import FORWARDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal

_CHUNK = 1 << 14
_MOST_SENT = 1 << 16  # bytes of input on their way
DETACHED = -1
DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def connect(path: str) -> socket.socket:
    """A connection to the monitor of a container; raises ContainerError."""
    connection = socket.socket(socket.AF_UNIX)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{ATTACH}")
    except OSError as error:
        connection.close()
        raise ContainerError("its monitor does not answer: it has just ended") from error
    finally:
        os.close(directory)
    return connection


def read_keys(text: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q` or `a`; raises UsageError."""
    keys = bytearray()
    for word in text.split(",") if text else ():
        name = word.removeprefix("ctrl-")
        if len(word) == 1 and word.isascii():
            keys += word.encode()
        elif word != name and len(name) == 1 and name.isascii() and name.isalpha():
            keys.append(ord(name.lower()) - 96)
        elif word != name and name in _CONTROL:
            keys.append(_CONTROL[name])
        else:
            raise UsageError(f"--detach-keys {text!r}: ctrl-X and single characters expected")
    return bytes(keys)


class Attached:
    """The caller's terminal and signals joined to a container."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        interactive: bool,
        terminal: bool,
        keys: bytes,
        proxy: bool = True,
    ) -> None:
        """`proxy`: signals to this process go on to the container."""
        self._connection = connection
        self._messages = protocol.Messages()
        self._interactive = interactive
        self._terminal = terminal
        self._keys = keys
        self._pressed = b""
        self._sent = 0  # bytes of input that the monitor still holds
        self._status: int | None = None
        self._proxy = proxy

    def attend(self) -> int:
        """Stay until the container ends; its status, or DETACHED once the keys were pressed."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write)
        if self._proxy:
            for number in FORWARDED:
                signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        saved = self._raw() if self._terminal and self._interactive and os.isatty(0) else None
        try:
            self._resize()
            self._loop(wake_read)
        finally:
            if saved is not None:
                import termios

                termios.tcsetattr(0, termios.TCSADRAIN, saved)
        if self._status is None:
            raise ContainerError("its monitor is gone")
        return self._status

    def _raw(self) -> Any:
        import termios
        import tty

        saved = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        return saved

    def _loop(self, wake: int) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(wake, select.POLLIN)
        hears, listens = self._interactive, False
        while self._status is None:
            if listens != (hears and self._sent < _MOST_SENT):
                listens = not listens
                if listens:
                    poll.register(0, select.POLLIN)
                else:
                    poll.unregister(0)
            for fd, _ in poll.poll():
                if fd == wake:
                    self._send_signals(os.read(wake, 256))
                elif fd == 0:
                    hears = self._send_input()
                elif not self._receive():
                    return

    def _send(self, kind: int, content: bytes = b"") -> None:
        try:
            self._connection.sendall(protocol.message(kind, content))
        except OSError:
            pass  # it has ended: the next read says so

    def _send_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                self._resize()
            elif number in FORWARDED:
                self._send(protocol.SIGNAL, bytes((number,)))

    def _resize(self) -> None:
        if self._terminal and os.isatty(0):
            import fcntl
            import termios

            self._send(protocol.RESIZE, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    def _send_input(self) -> bool:
        content = os.read(0, _CHUNK)
        if not content:
            self._send(protocol.END_OF_INPUT)
            return False
        if self._terminal and self._keys:
            content = self._without_keys(content)
        if content:
            self._sent += len(content)
            self._send(protocol.STDIN, content)
        return True

    def _without_keys(self, content: bytes) -> bytes:
        """Hold back what may be the beginning of the keys; detach when they are complete."""
        passed = bytearray()
        for number in content:
            self._pressed += bytes((number,))
            while not self._keys.startswith(self._pressed):
                passed += self._pressed[:1]
                self._pressed = self._pressed[1:]
            if self._pressed == self._keys:
                self._status = DETACHED
                break
        return bytes(passed)

    def _receive(self) -> bool:
        content = self._connection.recv(_CHUNK)
        if not content:
            return False
        for kind, text in self._messages.take(content):
            if kind in (protocol.STDOUT, protocol.STDERR):
                self._show(1 if kind == protocol.STDOUT else 2, text)
            elif kind == protocol.TAKEN:
                self._sent -= int.from_bytes(text)
            elif kind == protocol.ENDED:
                self._status = text[0]
        return True

    def _show(self, fd: int, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(fd, content) :]
        except OSError:  # nobody reads any more
            self._send(protocol.SIGNAL, bytes((signal.SIGHUP,)))
