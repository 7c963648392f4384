"""A process of the builder's own that does one piece of work beside it, and reports.

It is forked, so that what it works on need not be handed over. What it says comes through a pipe
as pickled messages, each after its length: output while it works, at the end a value or an
exception.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from buildkit.errors import BuildError, Cancelled
from buildkit.processes import await_end, fork_to, hear_signals
from runtime.sandbox.running import exit_status

_CHUNK = 1 << 16
_PREFIX = 4  # bytes of a message's length
_OUTPUT, _VALUE, _ERROR = range(3)

Output = Callable[[bytes], None]


class Worker:
    """One piece of work that is being done; `fd` is readable when there is news of it."""

    def __init__(self, function: Callable[[Output], Any], output: Output) -> None:
        """Begin. The function gets what takes its output, which `output` is then called with.

        To be called with `signals_held`, until somebody knows what to stop.
        """
        self.value: Any = None  # what the function returned, once `take_news` says the end
        self._output = output
        self._received = bytearray()
        self.fd, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = fork_to(lambda: _work(function, write_end))
        except BaseException:
            os.close(self.fd)
            raise
        finally:
            os.close(write_end)

    def take_news(self) -> bool:
        """Take in what has come through the pipe; whether that was the end.

        Raises what the function raised, or BuildError if the process died.
        """
        chunk = os.read(self.fd, _CHUNK)
        if not chunk:
            raise self._death()
        self._received += chunk
        while len(self._received) >= _PREFIX:
            end = _PREFIX + int.from_bytes(self._received[:_PREFIX])
            if len(self._received) < end:
                break
            kind, content = pickle.loads(self._received[_PREFIX:end])
            del self._received[:end]
            if kind == _OUTPUT:
                self._output(content)
                continue
            self._collect()
            if kind == _ERROR:
                raise content
            self.value = content
            return True
        return False

    def stop(self) -> None:
        """Have the process end early, if it has not ended; it removes what it has made."""
        if self._pid:
            os.close(self.fd)  # nobody may wait until we read
            os.kill(self._pid, signal.SIGTERM)
            await_end(self._pid)
            self._pid = 0

    def _collect(self) -> int:
        os.close(self.fd)
        pid, self._pid = self._pid, 0
        return await_end(pid)

    def _death(self) -> BuildError:
        status = exit_status(self._collect())
        hint = "often the machine ran out of memory" if status == 128 + signal.SIGKILL else None
        return BuildError(f"a process of pybuild's own ended with status {status}", hint=hint)


def _work(function: Callable[[Output], Any], fd: int) -> NoReturn:
    """Do the work in the forked process, and end it."""
    status = 1
    try:
        # Control-C reaches all of a terminal's processes: the builder alone decides.
        hear_signals((signal.SIGTERM,), ignored=(signal.SIGINT, signal.SIGHUP))
        try:
            value = function(lambda chunk: _send(fd, _OUTPUT, chunk))
        except Exception as error:
            _send(fd, _ERROR, _portable(error))
        else:
            _send(fd, _VALUE, value)
        status = 0
    except (Cancelled, BrokenPipeError):  # nobody wants to know any more
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _send(fd: int, kind: int, content: object) -> None:
    message = pickle.dumps((kind, content))
    message = len(message).to_bytes(_PREFIX) + message
    while message:
        message = message[os.write(fd, message) :]


def _portable(error: Exception) -> Exception:
    """The exception, or one that says the same where its class cannot be pickled."""
    if not isinstance(error, BuildError):
        error.add_note(traceback.format_exc())  # the frames stay here
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error
