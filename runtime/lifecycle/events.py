"""`events`: figures of a container, at intervals or once, and out-of-memory kills as they come."""

from __future__ import annotations

import select

from runtime.errors import ContainerError
from runtime.lifecycle.operations import group_of, look
from runtime.lifecycle.state import open_process
from runtime.oci.json_text import to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.cgroup.group import Group
    from runtime.lifecycle.state import ContainerDirectory


def _group(directory: ContainerDirectory) -> Group:
    seen = look(directory)
    group = group_of(seen.state)
    if group is None:
        raise ContainerError(f"container {directory.id!r} has no control group, so no figures")
    return group


def stats_event(directory: ContainerDirectory) -> str:
    """One event of the figures now, as a line of JSON (the shape that runc prints)."""
    return to_text({"type": "stats", "id": directory.id, "data": _group(directory).stats()})


def follow(directory: ContainerDirectory, interval_s: int) -> Iterator[str]:
    """Events until the container ends: figures every interval, and each out-of-memory kill."""
    if interval_s < 1:
        raise ContainerError(f"--interval {interval_s}: at least one second")
    group = _group(directory)
    killed = group.oom_count()
    pidfd = open_process(look(directory).state)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    waited = 0
    while not poll.poll(1000):
        waited += 1
        try:
            count = group.oom_count()
            figures = stats_event(directory) if waited >= interval_s else ""
        except (ContainerError, OSError):
            if poll.poll(0):  # it has just ended, and its control group is gone
                return
            raise
        if count > killed:
            yield to_text({"type": "oom", "id": directory.id})
            killed = count
        if figures:
            waited = 0
            yield figures
