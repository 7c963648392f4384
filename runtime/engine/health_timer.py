"""When a container is asked whether it is well; its monitor keeps this, and stays small.

Each check is a child of the monitor that lives for that one answer: what it needs is imported
there. The next one is due when it has ended, so there are never two.
"""

from __future__ import annotations

import os
from time import monotonic

from runtime.engine.health import STARTING, begin, read_health

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runtime.engine.record import ContainerRecord
else:
    import _signal as signal

# Exit statuses of the child
KNOWN, STILL_STARTING = 0, 1


def _close_all() -> None:
    """Close what the monitor holds: others wait for the ends of its pipes and sockets."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.close(int(name))
        except OSError:  # that of the directory itself
            continue


class HealthTimer:
    """The checks of one container that has just been started."""

    def __init__(self, store_root: str, path: str, record: ContainerRecord) -> None:
        """Raises ContainerError for a check that makes no sense."""
        self._store_root = store_root
        self._path = path
        self._record = record
        self._health = read_health(record.health)
        self._status = STARTING
        self._child = 0
        begin(path)
        self._began = monotonic()
        self._due = self._next()

    def _is_starting(self) -> bool:
        period = self._health.start_period_s
        return self._status == STARTING and monotonic() - self._began < period

    def _next(self) -> float:
        health = self._health
        return monotonic() + (
            min(health.start_interval_s, health.interval_s)
            if self._is_starting()
            else health.interval_s
        )

    def timeout_ms(self) -> int | None:
        """How long to wait for the next one; None if one is at work."""
        return None if self._child else max(0, round((self._due - monotonic()) * 1000))

    def look(self) -> None:
        """Take the answer of a check that has ended; begin one that is due."""
        if self._child:
            pid, wait_status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                self._child = 0
                still = os.waitstatus_to_exitcode(wait_status) == STILL_STARTING
                self._status = self._status if still else ""
                self._due = self._next()
        elif monotonic() >= self._due:
            self._child = os.fork()
            if self._child == 0:
                self._ask()

    def _ask(self) -> None:
        status = STILL_STARTING
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _close_all()
            from runtime.engine.health_check import check

            if check(self._store_root, self._path) != STARTING:
                status = KNOWN
        except BaseException:
            if os.environ.get("PYBUILD_DEBUG"):
                import sys

                sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
