"""A container that runs, as whoever started it sees it: signals to it, and its exit status."""

from __future__ import annotations

import os

from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # the module below this one imports enum: two milliseconds
    import _signal as signal

# Signals whose default action ends a process (signal(7)), and that can be sent on.
_ENDING = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
    }
)
FORWARDED = _ENDING | {signal.SIGWINCH, signal.SIGCONT}


class Container(Record):
    """A container that is running: its first process, a child of ours."""

    pid: int
    master: int | None = None  # of its terminal

    def send(self, number: int) -> bool:
        """Send a signal; True if the container was killed because nothing would have happened.

        The kernel drops signals to a PID namespace's first process that it has no handler for.
        Its users expect the default action, so for one that ends a process we kill it.
        """
        if number in _ENDING and not self.handles(number):
            number, killed = signal.SIGKILL, True
        else:
            killed = False
        os.kill(self.pid, number)
        return killed

    def handles(self, number: int) -> bool:
        """Whether the process blocks, ignores or catches a signal (proc(5), /proc/PID/status)."""
        with open(f"/proc/{self.pid}/status", "rb") as status:
            for line in status:
                name, _, mask = line.partition(b":")
                if name in (b"SigBlk", b"SigIgn", b"SigCgt") and int(mask, 16) >> number - 1 & 1:
                    return True
        return False

    def kill(self) -> None:
        """Kill it, and with it every process of its PID namespace; then collect it."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # collected already: a signal came between that and what would have noted it


def exit_status(wait_status: int) -> int:
    """The status as a shell gives it: 0-255, or 128+N for signal N."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)
