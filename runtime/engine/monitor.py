"""The process beside a container: it starts it, takes in what it says, and notes how it ended.

It is the container's parent, and all that stays of the command that started it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress
from time import time_ns

from runtime.engine import protocol
from runtime.engine.clients import Client
from runtime.engine.containers import FAILURE, hold_monitor_lock, remove, state_directory
from runtime.engine.events import note
from runtime.engine.logfile import LogWriter, timestamp
from runtime.engine.protocol import ATTACH
from runtime.engine.record import Exit, Run, write_exit, write_run
from runtime.engine.setting_up import Job, listen, namespaces_of, pipes, start_container
from runtime.errors import CommandError, PyrunError
from runtime.lifecycle.create import now
from runtime.lifecycle.operations import delete_container
from runtime.sandbox.running import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.engine.health_timer import HealthTimer
else:
    import _signal as signal

_CHUNK = 1 << 14
_MOST_WAITING = 1 << 18  # bytes for somebody who is attached: then the container waits as well
MOUNTS = "mounts.json"  # what `added_mounts` keeps


def begin(job: Job, client: socket.socket | None) -> None:
    """Fork the monitor, and return once the container runs.

    `client` is our end's other end: attached from the beginning. Raises what went wrong.
    """
    answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(answer_read)
        _monitor(job, client, answer_write)
    os.close(answer_write)
    answer = b""
    while chunk := os.read(answer_read, 4096):
        answer += chunk
    os.close(answer_read)
    if answer == b"ok":
        return
    os.waitpid(pid, 0)
    _raise(answer)


def _raise(answer: bytes) -> NoReturn:
    status, _, text = answer.decode("utf-8", "surrogateescape").partition("\0")
    message, _, hint = text.partition("\0")
    message = message or "the monitor of the container died"
    raise CommandError(message, hint=hint or None, status=int(status or 125))


def _monitor(job: Job, client: socket.socket | None, answer: int) -> NoReturn:
    """The life of the monitor."""
    status = 1
    try:
        os.setsid()
        try:
            monitor = _Monitor(job)
            monitor.start(client)
        except PyrunError as error:
            text = f"{error.status}\0{error.message}\0{error.hint or ''}"
            os.write(answer, text.encode("utf-8", "surrogateescape"))
            os._exit(1)
        except OSError as error:
            text = f"{PyrunError.status}\0container {job.record.name}: {error}\0"
            os.write(answer, text.encode("utf-8", "surrogateescape"))
            raise
        os.write(answer, b"ok")
        os.close(answer)
        monitor.attend()
        status = 0
    except BaseException as error:
        # The container ends with us: whoever looks next is to know why.
        with suppress(OSError), open(f"{job.path}/{FAILURE}", "w", encoding="utf-8") as file:
            file.write(repr(error))
        if os.environ.get("PYBUILD_DEBUG"):
            sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class _Monitor:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._directory = state_directory(job.record.id)
        self._lock = hold_monitor_lock(job.path)
        self._clients: dict[int, Client] = {}
        self._outputs: dict[int, int] = {}  # descriptors, and the streams that they are
        self._input: int | None = None  # of the container
        self._typed = bytearray()  # for it
        self._input_ends = False  # when it has all of that
        self._ended: Exit | None = None
        self._health: HealthTimer | None = None

    # --- the beginning

    def start(self, client: socket.socket | None) -> None:
        """Start the container; raises PyrunError, and leaves nothing behind then."""
        job = self._job
        for name in ("run.json", "exit.json", "health.json", FAILURE, MOUNTS, ATTACH):
            _unlink(f"{job.path}/{name}")
        self._wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        theirs, ours = pipes(job.record, null)
        self._listener = listen(job.path)
        self._directory.make()
        with self._directory:
            try:
                self._group, self._container = start_container(job, self._directory, theirs)
            except BaseException:
                self._directory.remove()
                _unlink(f"{job.path}/{ATTACH}")
                raise
        for fd in theirs:
            if fd != null:
                os.close(fd)
        self._take_ends(ours)
        for fd in range(3):  # those of who started us
            os.dup2(null, fd)
        os.chdir("/")
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        os.write(wake_write, b"\0")  # it may have ended before: look once
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._log = LogWriter(job.path, job.record.log_size, job.record.log_files)
        if client is not None:
            self._add(client)
        pid = self._container.pid
        run = Run(pid=pid, monitor=os.getpid(), started=now(), namespaces=namespaces_of(pid))
        write_run(job.path, run)
        # What this container needs is known to who prunes: others may have the store alone.
        os.close(job.store.lock)
        note(job.store, "start", job.record)
        if job.record.health is not None:
            from runtime.engine.health_timer import HealthTimer

            self._health = HealthTimer(job.store.root, job.path, job.record)

    def _take_ends(self, ours: tuple[int, ...]) -> None:
        master = self._container.master
        if master is not None:
            self._outputs, self._input = {master: 0}, master
        else:
            source, out, err = ours
            self._outputs = {out: 0, err: 1}
            self._input = None if source < 0 else source
        for fd in (*self._outputs, *(() if self._input is None else (self._input,))):
            os.set_blocking(fd, False)

    # --- the life

    def attend(self) -> None:
        """Stay until the container has ended and all that it said is written."""
        while self._ended is None or any(client.waiting for client in self._clients.values()):
            for fd, _ in self._poll(self._patience_ms()):
                self._hear(fd)
            if self._health is not None and self._ended is None:
                self._health.look()
            if self._ended is not None and not self._flush_all():
                break

    def _patience_ms(self) -> int | None:
        if self._ended is not None:
            return 1000
        return None if self._health is None else self._health.timeout_ms()

    def _poll(self, timeout_ms: int | None) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        for fd, client in self._clients.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if client.waiting else 0))
        # Somebody does not read: the container waits, as it would for a terminal.
        wanted: dict[int, int] = {}
        if all(len(client.waiting) < _MOST_WAITING for client in self._clients.values()):
            wanted = dict.fromkeys(self._outputs, select.POLLIN)
        if self._input is not None and self._typed:  # a terminal is input and output
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        for fd, events in wanted.items():
            poll.register(fd, events)
        return poll.poll(timeout_ms)

    def _hear(self, fd: int) -> None:
        if fd == self._wake:
            os.read(self._wake, 256)
            self._look_for_end()
        elif fd == self._listener.fileno():
            self._add(self._listener.accept()[0])
        elif fd in self._outputs:
            self._take_output(fd)
        elif fd in self._clients:
            self._serve(self._clients[fd])
        self._type()

    def _add(self, connection: socket.socket) -> None:
        self._clients[connection.fileno()] = Client(connection)

    def _drop(self, client: Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()

    def _take_output(self, fd: int) -> bool:
        try:
            content = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: every process of the container has closed its terminal
            content = b""
        stream = self._outputs[fd]
        if not content:
            del self._outputs[fd]
            if fd != self._input:
                os.close(fd)
            return False
        self._log.write(stream, content)
        self._tell(protocol.message(protocol.STDERR if stream else protocol.STDOUT, content))
        return True

    def _tell(self, message: bytes) -> None:
        for client in list(self._clients.values()):
            self._send(client, message)

    def _send(self, client: Client, message: bytes) -> None:
        client.waiting += message
        if not client.flush():
            self._drop(client)

    def _serve(self, client: Client) -> None:
        if not client.flush():
            self._drop(client)
            return
        try:
            content = client.connection.recv(_CHUNK)
            if not content:
                raise ValueError("gone")
            for kind, text in client.messages.take(content):
                client.sent += len(text) if kind == protocol.STDIN else 0
                self._obey(kind, text)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._drop(client)

    def _obey(self, kind: int, content: bytes) -> None:
        if kind == protocol.STDIN:
            self._typed += content
        elif kind == protocol.END_OF_INPUT:
            self._end_input()
        elif kind == protocol.RESIZE and self._container.master is not None:
            import fcntl
            import termios

            fcntl.ioctl(self._container.master, termios.TIOCSWINSZ, content)
        elif kind == protocol.SIGNAL and self._ended is None:
            self._container.send(content[0])

    def _type(self) -> None:
        try:
            while self._typed and self._input is not None:
                del self._typed[: os.write(self._input, self._typed)]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads there any more
            self._typed.clear()
        if self._input_ends and not self._typed and self._input is not None:
            os.close(self._input)
            self._input = None
        if len(self._typed) < _MOST_WAITING:
            for client in [client for client in self._clients.values() if client.sent]:
                self._send(client, protocol.message(protocol.TAKEN, client.sent.to_bytes(4)))
                client.sent = 0

    def _end_input(self) -> None:
        if self._input is not None and self._input == self._container.master:
            self._typed += b"\x04"  # end of file, as a terminal says it
        else:
            self._input_ends = True

    # --- the end

    def _look_for_end(self) -> None:
        pid, wait_status = os.waitpid(self._container.pid, os.WNOHANG)
        if not pid:
            return
        for fd in list(self._outputs):
            while self._take_output(fd):
                pass
        job = self._job
        self._log.close()
        _unlink(f"{job.path}/{ATTACH}")
        _unlink(f"{job.path}/{MOUNTS}")
        status, oom_killed = exit_status(wait_status), self._was_oom_killed()
        error = ""
        try:
            delete_container(self._directory, force=True)
        except PyrunError as failure:
            error = failure.message
        self._ended = Exit(
            status=status, finished=timestamp(time_ns()), oom_killed=oom_killed, error=error
        )
        write_exit(job.path, self._ended)
        if oom_killed:
            note(job.store, "oom", job.record)
        note(job.store, "die", job.record, exitCode=str(status))
        if job.record.auto_remove:
            remove(job.store, job.path, job.record, volumes=True)
        self._tell(protocol.message(protocol.ENDED, bytes((status,))))

    def _was_oom_killed(self) -> bool:
        from runtime.cgroup.oom import oom_count

        return oom_count(self._group) > 0

    def _flush_all(self) -> bool:
        """Send the last words; False when nobody waits for them."""
        for client in list(self._clients.values()):
            if not client.flush():
                self._drop(client)
        return any(client.waiting for client in self._clients.values())


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
