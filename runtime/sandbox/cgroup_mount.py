"""The view of control groups inside a container: its own group as the topmost, in each hierarchy.

With a cgroup namespace of its own, new mounts of the cgroup filesystems show just that; without,
the group's directories of the host are bound (as runc and crun do for a mount of type `cgroup`).
"""

from __future__ import annotations

import os

from runtime.cgroup.layout import find_layout
from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.sandbox.mount_options import sort_options
from runtime.sandbox.mounts import mount_point, new_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.cgroup.layout import Hierarchy
    from runtime.oci.spec import Mount
    from runtime.sandbox.mount_options import MountOptions


def attach_cgroup(mount: Mount, root_fd: int, *, own: bool) -> None:
    """Mount the hierarchies; the calling process must be in the container's group already.

    With `own` it is in the container's cgroup namespace too. Raises ContainerError that names
    the mount.
    """
    options = sort_options(mount.options)
    hierarchies = find_layout().hierarchies
    if not hierarchies:
        raise ContainerError(f"mount {mount.destination}: no cgroup filesystem is mounted here")
    try:
        if len(hierarchies) == 1 and hierarchies[0].version == 2:
            tree = _tree(hierarchies[0], options, own=own)
            _move(tree, mount_point(root_fd, mount.destination, directory=True, exact=True))
        else:
            _attach_all(mount, options, hierarchies, root_fd, own=own)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"mount {mount.destination}: {reason}") from error


def _attach_all(
    mount: Mount,
    options: MountOptions,
    hierarchies: tuple[Hierarchy, ...],
    root_fd: int,
    *,
    own: bool,
) -> None:
    """A tmpfs with a directory for each hierarchy, and links for those of several controllers."""
    writable = options.set_attributes & ~syscalls.MOUNT_ATTR_RDONLY
    base = new_filesystem("tmpfs", (("mode", "0755"),), writable)
    target = mount_point(root_fd, mount.destination, directory=True, exact=True)
    syscalls.move_mount(base, target)
    os.close(target)
    for hierarchy in hierarchies:
        name = _directory_name(hierarchy)
        os.mkdir(name, 0o755, dir_fd=base)
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=base)
        _move(_tree(hierarchy, options, own=own), place)
        if len(hierarchy.controllers) > 1 and hierarchy.version == 1:
            for controller in hierarchy.controllers:
                os.symlink(name, controller, dir_fd=base)
    if options.set_attributes & syscalls.MOUNT_ATTR_RDONLY:
        syscalls.mount_setattr(base, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
    os.close(base)


def _directory_name(hierarchy: Hierarchy) -> str:
    if hierarchy.version == 2:
        return "unified"
    return ",".join(hierarchy.controllers).removeprefix("name=")


def _tree(hierarchy: Hierarchy, options: MountOptions, *, own: bool) -> int:
    if not own:
        if hierarchy.own is None:
            message = f"the group in {hierarchy.mount} cannot be seen from here"
            raise ContainerError(f"cgroup mount: {message}")
        tree = syscalls.open_tree(syscalls.AT_FDCWD, hierarchy.own)
        syscalls.mount_setattr(tree, set_attributes=options.set_attributes)
        return tree
    if hierarchy.version == 2:
        return new_filesystem("cgroup2", (), options.set_attributes, "cgroup")
    data: list[tuple[str, str | None]] = []
    for controller in hierarchy.controllers:
        if controller.startswith("name="):
            data += [("none", None), ("name", controller[5:])]
        else:
            data.append((controller, None))
    return new_filesystem("cgroup", tuple(data), options.set_attributes)


def _move(tree: int, target: int) -> None:
    syscalls.move_mount(tree, target)
    os.close(target)
    os.close(tree)
