"""The descriptors of one piece of work, which all end with it, however it ends."""

from __future__ import annotations

import os


class Descriptors:
    """Open descriptors that leaving the `with` closes."""

    def __init__(self) -> None:
        """Own none yet."""
        self._open: set[int] = set()

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(*self._open)

    def own(self, *fds: int | None) -> None:
        """Close these too, unless they are closed before; None is none."""
        self._open.update(fd for fd in fds if fd is not None)

    def pipe(self) -> tuple[int, int]:
        """A pipe: its read end and its write end."""
        ends = os.pipe2(os.O_CLOEXEC)
        self.own(*ends)
        return ends

    def close(self, *fds: int) -> None:
        """Close some of them now."""
        for fd in fds:
            self._open.remove(fd)
            os.close(fd)

    def keep(self, fd: int) -> int:
        """Leave one open: it is somebody else's from now on."""
        self._open.remove(fd)
        return fd
