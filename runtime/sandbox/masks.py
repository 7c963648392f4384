"""Parts of a container's root that are hidden or read-only (config-linux.md "Masked Paths")."""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.sandbox.mounts import new_filesystem
from runtime.sandbox.rootpath import open_in_root


def mask(paths: tuple[str, ...], root_fd: int) -> None:
    """Hide files behind the null device and directories behind an empty read-only tmpfs.

    Paths that do not exist are left out. The null device is the container's own, verified
    (CVE-2025-31133).
    """
    null = open_in_root(root_fd, "/dev/null", follow=False)
    found = os.stat(null)
    if (found.st_mode & 0o170000, found.st_rdev) != (0o020000, os.makedev(1, 3)):
        raise ContainerError("/dev/null in the container is not the null device")
    attributes = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID
    empty = -1
    for path in paths:
        target = _existing(root_fd, path)
        if target is None:
            continue
        if os.stat(target).st_mode & 0o170000 == 0o040000:
            if empty < 0:
                data = (("mode", "0755"), ("size", "0k"))
                empty = new_filesystem("tmpfs", data, attributes | syscalls.MOUNT_ATTR_NODEV)
                # A detached mount can be cloned only once it is attached somewhere.
                syscalls.move_mount(empty, target)
            else:
                _attach_clone(empty, target)
        else:
            _attach_clone(null, target)
        os.close(target)
    os.close(null)
    if empty >= 0:
        os.close(empty)


def make_readonly(paths: tuple[str, ...], root_fd: int) -> None:
    """Make parts of the root read-only (config-linux.md "Readonly Paths")."""
    for path in paths:
        target = _existing(root_fd, path)
        if target is not None:
            tree = syscalls.open_tree(target, "", recursive=True)
            syscalls.mount_setattr(tree, set_attributes=syscalls.MOUNT_ATTR_RDONLY, recursive=True)
            syscalls.move_mount(tree, target)
            os.close(tree)
            os.close(target)


def _existing(root_fd: int, path: str) -> int | None:
    try:
        return open_in_root(root_fd, path, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _attach_clone(source: int, target: int) -> None:
    tree = syscalls.open_tree(source, "")
    syscalls.move_mount(tree, target)
    os.close(tree)
