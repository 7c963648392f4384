"""Ending every process that came of one, where there is no PID namespace that would do it.

A process of ours adopts what the others leave behind (prctl(2), PR_SET_CHILD_SUBREAPER), so all
of it is found by walking from parent to child, however often it forked and called setsid(2).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # it imports enum: two milliseconds
    import _signal as signal

_GIVE_UP_S = 20.0  # what has not ended by then hangs in the kernel, or is not ours to kill


def end_descendants() -> bool:
    """Kill every descendant of this process, which must adopt orphans; whether that worked.

    SIGCHLD must be blocked.
    """
    give_up = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < give_up:
        for pid, parent in _descendants(os.getpid()).items():
            _kill(pid, parent)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # orphans come to us, so there is nobody left
            return True
        signal.sigtimedwait((signal.SIGCHLD,), 0.02)
    return False


def _descendants(of: int) -> dict[int, int]:
    """The pids of all descendants, each with its parent's."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(_parent(int(name)), []).append(int(name))
    found: dict[int, int] = {}
    waiting = [of]
    while waiting:
        parent = waiting.pop()
        for pid in children.get(parent, ()):
            found[pid] = parent
            waiting.append(pid)
    return found


def _parent(pid: int) -> int:
    """The parent of a process (proc(5), /proc/PID/stat); 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it is in parentheses, and may hold anything.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _kill(pid: int, parent: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # ended meanwhile
        return
    try:
        # By descriptor, and only while it is still the same one: pids are given out again.
        if _parent(pid) in (parent, os.getpid()):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the latter shows in that it does not end
        pass
    finally:
        os.close(fd)
