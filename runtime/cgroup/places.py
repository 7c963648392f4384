"""Directories of a group: where `cgroupsPath` leads in each hierarchy, and making them.

A path that begins with "/" counts from the top of each hierarchy, as far as it can be seen here.
Any other counts from the runtime's own group, as with runc: in v1 below it; in v2 beside it,
since a group with processes, as ours is, can't give controllers to groups below it (cgroup-v2.rst
"No Internal Process Constraint"). An empty path is the container's id.
"""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, ENOENT

from runtime.cgroup.files import FileError, read_file, write_file
from runtime.errors import ContainerError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.cgroup.layout import Hierarchy


class Place(Record):
    """A group's directory in one hierarchy."""

    version: int
    controllers: tuple[str, ...]  # v1: of the hierarchy; v2: those that the group was made for
    directory: str
    made: tuple[str, ...] = ()  # by us, from the outside in; the rest isn't ours to remove


def relative_path(path: str, name: str) -> tuple[str, bool]:
    """Check a `cgroupsPath`; return it without slashes around it, and if it is absolute.

    Raises ContainerError for what could lead elsewhere, and for systemd's form of it.
    """
    if not path and not name:
        raise ContainerError("cgroupsPath: empty, and there is no name to take instead")
    if path.count(":") == 2 and "/" not in path:
        raise ContainerError(
            f"cgroupsPath: {path!r} has systemd's form slice:prefix:name, and groups are made "
            "without systemd here",
            hint="use the engine's cgroupfs manager, such as podman --cgroup-manager=cgroupfs",
        )
    parts = [part for part in (path or name).split("/") if part not in ("", ".")]
    if ".." in parts or any("\0" in part or "\n" in part for part in parts):
        raise ContainerError(f"cgroupsPath: {path or name!r} may not hold '..' or NUL or newlines")
    if not parts:
        raise ContainerError(f"cgroupsPath: {path!r} is the top of the hierarchy")
    return "/".join(parts), path.startswith("/")


def place_of(hierarchy: Hierarchy, path: str, *, absolute: bool) -> str:
    """The directory that a checked path leads to in one hierarchy."""
    base = hierarchy.own or hierarchy.mount
    if absolute:
        base = hierarchy.mount
    elif hierarchy.version == 2 and base != hierarchy.mount:
        base = os.path.dirname(base)
    return f"{base}/{path}"


def make_place(hierarchy: Hierarchy, directory: str, controllers: tuple[str, ...]) -> Place:
    """Make a directory and its parents, or take an empty one that is there already.

    Raises FileError, or ContainerError if processes are in it or it is frozen. Nothing that was
    made stays then.
    """
    made: list[str] = []
    try:
        if not _make_directory(directory, hierarchy.mount, made):
            _check_reusable(directory, hierarchy)
        if "cpuset" in controllers and hierarchy.version == 1:
            _copy_cpuset(hierarchy.mount, directory)
    except ContainerError:
        remove_made(made)
        raise
    controllers = hierarchy.controllers if hierarchy.version == 1 else controllers
    return Place(
        version=hierarchy.version,
        controllers=controllers,
        directory=directory,
        made=tuple(made),
    )


def remove_made(made: Sequence[str]) -> None:
    """Remove directories from the inside out, up to one that somebody else uses by now."""
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            return


def _make_directory(directory: str, top: str, made: list[str]) -> bool:
    """Make a directory; False if it is there already. Adds what was made to `made`."""
    for _ in range(5):  # a parent may go with the container that made it, just before we use it
        try:
            os.mkdir(directory, 0o755)
        except OSError as error:
            if error.errno == EEXIST:
                return False
            if error.errno != ENOENT or directory == top:
                raise FileError(directory, error) from error
            missing = error
        else:
            made.append(directory)
            return True
        _make_directory(os.path.dirname(directory), top, made)
    raise FileError(directory, missing)


def _check_reusable(directory: str, hierarchy: Hierarchy) -> None:
    if read_file(directory + "/cgroup.procs"):
        raise ContainerError(f"{directory}: there are processes in this group already")
    if hierarchy.version == 2:
        frozen = "frozen 1" in read_file(directory + "/cgroup.events")
    else:
        frozen = "freezer" in hierarchy.controllers and (
            read_file(directory + "/freezer.state") != "THAWED"
        )
    if frozen:
        raise ContainerError(f"{directory}: this group is frozen")


def _copy_cpuset(top: str, directory: str) -> None:
    """Give each group on the way what its parent has: a new one of v1 has no processor at all."""
    parts = directory[len(top) :].strip("/").split("/")
    parent = top
    for part in parts:
        child = f"{parent}/{part}"
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not read_file(f"{child}/{file}"):
                write_file(f"{child}/{file}", read_file(f"{parent}/{file}"))
        parent = child


def enable(hierarchy: Hierarchy, directory: str, controllers: Sequence[str]) -> None:
    """Enable controllers of v2 for a group, in all groups above it (cgroup.subtree_control).

    Raises ContainerError if one can't be: not there, not ours, or refused because of processes.
    """
    parent = os.path.dirname(directory)
    enabled = read_file(parent + "/cgroup.subtree_control").split()
    if all(name in enabled for name in controllers):
        return
    parts = parent[len(hierarchy.mount) :].strip("/").split("/")
    path = hierarchy.mount
    for part in ("", *filter(None, parts)):
        path = f"{path}/{part}" if part else path
        enabled = read_file(path + "/cgroup.subtree_control").split()
        for name in controllers:
            if name not in enabled:
                _enable(path, name)


def _enable(directory: str, controller: str) -> None:
    try:
        write_file(directory + "/cgroup.subtree_control", f"+{controller}")
    except FileError as error:
        available = read_file(directory + "/cgroup.controllers").split()
        if controller not in available:
            raise ContainerError(
                f"{directory}: the {controller} controller is not available to this group "
                f"(cgroup.controllers has: {', '.join(available) or 'none'})",
                hint="systemd gives a user those that Delegate= of user@.service names",
            ) from error
        if error.errno == EBUSY:
            count = len(read_file(directory + "/cgroup.procs").split())
            raise ContainerError(
                f"{error.message}; {count} processes are in this group itself",
                hint="in cgroup v2 only a group without processes can give controllers to others: "
                "move them into a group below it, or choose a cgroupsPath elsewhere",
            ) from error
        raise
