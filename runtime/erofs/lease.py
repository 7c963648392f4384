"""Hearing of it when somebody begins to write into a file that a container runs from."""

from __future__ import annotations

import fcntl
import os

from runtime.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from runtime.erofs.lower import Place
else:
    import _signal as signal


def hold_leases(places: Iterable[Place], end: Callable[[], None]) -> None:
    """Take a read lease on each file for as long as this process lives (fcntl(2), F_SETLEASE).

    Who opens one for writing waits, for /proc/sys/fs/lease-break-time at most: meanwhile `end` is
    called to end who reads it, and ImageError is raised in the main thread. Where the kernel gives
    no lease (somebody has the file open for writing, a network filesystem) nothing is heard.
    """
    held: dict[int, str] = {}
    for place in places:
        try:
            fd = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has another name by now, or none: nobody finds it to write to
            continue
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            held[fd] = place.path
        except OSError:
            os.close(fd)

    def hear(_number: int, _frame: object) -> None:
        # F_GETLEASE says to what a lease is being broken.
        broken = [fd for fd in held if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK]
        if not broken:
            return
        end()
        paths = [held[fd] for fd in broken]
        for fd in held:
            os.close(fd)
        held.clear()
        raise ImageError(
            f"{paths[0]}: somebody writes into it; the container that ran from it was killed",
            hint="put a new file in its place instead: write beside it, then rename",
        )

    if held:
        signal.signal(signal.SIGIO, hear)
