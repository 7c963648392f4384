"""Pieces of work shared out among forked processes, which take the next one when they are done.

They hand back nothing but errors: what they do is seen in files. (`buildkit.worker` does one
piece, and says what came of it.)
"""

from __future__ import annotations

import marshal
import os

from runtime.errors import ImageError
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

MAX_PIECES = 1000  # their numbers fit into a pipe of one page, the least that one can be
_WIDTH = 4  # bytes of a number in the pipe: read(2) takes them whole
_MOST = 8  # processes
_MESSAGE = 1000  # characters; what is written at once to a pipe is not mixed with others' words


def processors() -> int:
    """How many processes are worth it here."""
    return min(_MOST, len(os.sched_getaffinity(0)))


def share_out(work: Callable[[int], None], pieces: int, processes: int) -> None:
    """Call `work` with every number below `pieces`, in ascending order as they are taken.

    Raises the ImageError or OSError of one that failed, after all processes have ended; what they
    have made by then stays.
    """
    assert pieces <= MAX_PIECES
    numbers, fill = os.pipe2(os.O_CLOEXEC)
    os.write(fill, b"".join(number.to_bytes(_WIDTH, "little") for number in range(pieces)))
    os.close(fill)
    reports, report = os.pipe2(os.O_CLOEXEC)
    started: list[int] = []
    try:
        try:
            caller = os.getpid()
            for _ in range(min(processes, pieces)):
                pid = os.fork()
                if pid == 0:
                    _work(work, numbers, report, caller)
                started.append(pid)
        finally:
            os.close(report)
        said = b""
        while chunk := os.read(reports, 1 << 16):
            said += chunk
    except BaseException:  # a signal: nobody wants the rest
        for pid in started:
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(numbers)
        os.close(reports)
        statuses = [os.waitpid(pid, 0)[1] for pid in started]
    if said:
        number, text = marshal.loads(said)  # of the first; the others' follow
        raise OSError(number, text) if number else ImageError(text)
    if any(statuses):
        hint = "often the machine ran out of memory"
        raise ImageError("a process that unpacks was killed", hint=hint)


def _work(work: Callable[[int], None], numbers: int, report: int, caller: int) -> None:
    """In the forked process, which ends here."""
    status = 1
    try:
        # Control-C reaches all of a terminal's processes: who waits for this one decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == caller:
            failed = _take_all(work, numbers)
            if failed:
                os.read(numbers, 1 << 16)  # leave the others nothing
                os.write(report, marshal.dumps(failed))
            status = 0
    finally:
        os._exit(status)


def _take_all(work: Callable[[int], None], numbers: int) -> tuple[int, str] | None:
    try:
        while number := os.read(numbers, _WIDTH):
            work(int.from_bytes(number, "little"))
    except ImageError as error:
        return 0, error.message[:_MESSAGE]
    except OSError as error:
        return error.errno or 5, (error.strerror or str(error))[:_MESSAGE]
    except Exception as error:
        return 0, f"internal error: {error!r}"[:_MESSAGE]
    return None
