"""The limit of processes that a container of ours gets unasked: podman's, where it can be had.

On the path of every start as root, so it is apart from `group`, which does all limits and takes
longer to load than this takes to work.
"""

from __future__ import annotations

import os
from time import time

from runtime.cgroup.files import FileError, write_file
from runtime.cgroup.layout import find_layout
from runtime.errors import ContainerError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.cgroup.group import Group

PIDS_LIMIT = 2048  # enough for anything but a fork bomb
PARENT = "pyrun"
_ABANDONED_S = 60  # an empty group this old, whose owner is gone, is nobody's
_TRIES = 5  # another container's end may remove the parent just now


class PidsGroup(Record):
    """A group in the pids hierarchy of cgroup v1."""

    directory: str

    def entries(self, *, unified: bool) -> tuple[int, ...]:
        """Open the file by which a process puts itself there."""
        return (os.open(f"{self.directory}/tasks", os.O_WRONLY | os.O_CLOEXEC),)

    def open_unified(self) -> None:
        """There is no part of it in v2."""

    def kill(self) -> None:
        """Nothing: what is in the group ends with its PID namespace."""

    def remove(self) -> None:
        """Remove the group, whose processes have ended, and its parent if that is empty."""
        for path in (self.directory, os.path.dirname(self.directory)):
            try:
                os.rmdir(path)
            except OSError:
                # Other containers are beside it; or a process still dies, and the next start
                # sweeps what it leaves.
                return


def remove_group(group: Group | PidsGroup) -> None:
    """Remove the group of a container that has ended, and its parent unless others are in it.

    The parent may have been made by a container that is gone.
    """
    group.remove()
    if not isinstance(group, PidsGroup):
        for place in group.places:
            try:
                os.rmdir(os.path.dirname(place.directory))
            except OSError:  # others are in it
                continue


def group_name() -> str:
    """A name that says whose group it is, so that one whose owner was killed can be told."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def unasked_group(name: str) -> PidsGroup | Group | None:
    """Make a container's group; None where none can be had: nobody asked for one."""
    hierarchy = find_layout().hierarchy_of("pids")
    if hierarchy is None or hierarchy.own is None or not hierarchy.writable:
        return None
    try:
        if hierarchy.version == 1:
            return _make(f"{hierarchy.own}/{PARENT}", name)
        from runtime.cgroup.group import make_group
        from runtime.oci.resources import Resources

        return make_group(f"{PARENT}/{name}", Resources(pids_limit=PIDS_LIMIT))
    except ContainerError:
        return None


def _make(parent: str, name: str) -> PidsGroup:
    group = PidsGroup(directory=f"{parent}/{name}")
    for _ in range(_TRIES):
        try:
            os.mkdir(parent)
        except FileExistsError:
            _sweep(parent)
        except OSError as error:
            raise FileError(parent, error) from error
        try:
            os.mkdir(group.directory)
            break
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FileError(group.directory, error) from error
    write_file(f"{group.directory}/pids.max", str(PIDS_LIMIT))
    return group


def sweep_beside(group: Group) -> None:
    """Remove what killed owners left beside a group that was just made, in every hierarchy."""
    for place in group.places:
        _sweep(os.path.dirname(place.directory))


def _sweep(parent: str) -> None:
    """Remove the groups whose owner, `pyrun` or `pybuild`, was killed."""
    try:
        names = os.listdir(parent)
    except FileNotFoundError:  # another container's end has just removed it
        return
    for name in names:
        pid, dash, _ = name.partition("-")
        path = f"{parent}/{name}"
        if dash and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            try:
                if time() - os.stat(path).st_mtime > _ABANDONED_S:
                    os.rmdir(path)
            except OSError:  # swept by another start, or not empty
                continue
