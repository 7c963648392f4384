"""Processes killed because a group reached memory.limit: how many, and being told."""

from __future__ import annotations

import os
import select

from runtime.cgroup.files import FileError, read_table, write_file
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from runtime.cgroup.group import Group
    from runtime.cgroup.places import Place


def oom_count(group: Group) -> int:
    """Processes killed so far; 0 for a group without the memory controller."""
    place = group.place_of("memory")
    return 0 if place is None else _count(place)


def _count(place: Place) -> int:
    file = "memory.oom_control" if place.version == 1 else "memory.events"
    return read_table(f"{place.directory}/{file}").get("oom_kill", 0)


class OOMWatch:
    """Being told of OOM in a group; `fd` is for poll(2) with `events`, then `read` what it was.

    The end of the group wakes it as well.
    """

    def __init__(self, group: Group) -> None:
        place = group.place_of("memory")
        if place is None:
            raise ContainerError("the container has no control group with the memory controller")
        self._place = place
        if place.version == 1:
            self.fd, self.events = _eventfd(place), select.POLLIN
        else:
            self.fd, self.events = watched_file(f"{place.directory}/memory.events")
        self._seen = _count(place)

    def wait(self, timeout_s: float) -> bool:
        """Wait for an event; False if there was none in time."""
        poll = select.poll()
        poll.register(self.fd, self.events)
        return bool(poll.poll(timeout_s * 1000))

    def read(self) -> int:
        """Make ready for the next event; returns how many processes were killed since the last.

        In v1 the event comes before the kill: it may be 0 once, and a later call gives it.
        """
        if self._place.version == 1:
            try:
                os.read(self.fd, 8)
            except BlockingIOError:
                pass  # called without an event
        else:
            os.pread(self.fd, 4096, 0)  # arms poll again (kernfs)
        try:
            count = _count(self._place)
        except FileError:
            return 0  # the group is gone, which was the event
        killed, self._seen = count - self._seen, count
        return killed

    def close(self) -> None:
        """Stop watching."""
        os.close(self.fd)

    def __enter__(self) -> OOMWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def watched_file(path: str) -> tuple[int, int]:
    """Open a file that poll(2) can wait for, such as memory.events; also what to poll for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(path, error) from error
    os.read(fd, 4096)  # poll tells of changes since the last read
    return fd, select.POLLPRI


def _eventfd(place: Place) -> int:
    """An eventfd that the kernel signals (cgroup-v1/memory.rst "OOM Control")."""
    path = f"{place.directory}/memory.oom_control"
    eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_file(f"{place.directory}/cgroup.event_control", f"{eventfd} {control}")
        finally:
            os.close(control)
    except OSError as error:
        os.close(eventfd)
        raise FileError(path, error) from error
    except FileError:
        os.close(eventfd)
        raise
    return eventfd
