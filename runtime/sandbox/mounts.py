"""Mounts of a container: from runtime-spec `Mount` values to the kernel.

A mount is made detached, gets its attributes, and is then moved to a place that was opened by
descriptor inside the root. So no path is resolved twice, and no half-made mount can be seen.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox import syscalls
from runtime.sandbox.rootpath import make_directories, make_file, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Mount

# Mount options that are attributes of the mount, not of the filesystem (mount_setattr(2)).
_ATTRIBUTES = {
    "ro": syscalls.MOUNT_ATTR_RDONLY,
    "nosuid": syscalls.MOUNT_ATTR_NOSUID,
    "nodev": syscalls.MOUNT_ATTR_NODEV,
    "noexec": syscalls.MOUNT_ATTR_NOEXEC,
    "strictatime": syscalls.MOUNT_ATTR_STRICTATIME,
}
_DEFAULTS = frozenset({"rw", "suid", "dev", "exec", "relatime", "bind", "rbind", "rprivate"})

# A stranger's image must not choose where these land: a symlink there is refused
# (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
_EXACT_PLACES = frozenset({"proc", "sysfs", "devpts", "mqueue", "cgroup2"})

DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_DEVICE_LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)


class _Options(Record):
    """A mount's options, sorted by whom they are for."""

    attributes: int
    data: tuple[tuple[str, str | None], ...]


def _sort_options(options: tuple[str, ...]) -> _Options:
    attributes, data = 0, []
    for option in options:
        key, equals, value = option.partition("=")
        if option in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[option]
        elif option not in _DEFAULTS:
            data.append((key, value if equals else None))
    return _Options(attributes=attributes, data=tuple(data))


def new_filesystem(
    fstype: str, data: tuple[tuple[str, str | None], ...] = (), attributes: int = 0
) -> int:
    """Return a detached mount of a new filesystem."""
    context = syscalls.fsopen(fstype)
    try:
        syscalls.fsconfig_set(context, "source", fstype)  # what /proc/mounts will call it
        for key, value in data:
            syscalls.fsconfig_set(context, key, value)
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, attributes)
    finally:
        os.close(context)


def attach(mount: Mount, root_fd: int) -> None:
    """Make one mount below the root; its mount point is made if it is missing.

    Raises ContainerError that names the mount's destination.
    """
    try:
        options = _sort_options(mount.options)
        if mount.type == "bind":
            recursive = "rbind" in mount.options
            tree = syscalls.open_tree(syscalls.AT_FDCWD, mount.source, recursive=recursive)
            if options.attributes:
                syscalls.mount_setattr(
                    tree, set_attributes=options.attributes, recursive=recursive
                )
            is_directory = os.stat(tree).st_mode & 0o170000 == 0o040000
            target = mount_point(root_fd, mount.destination, directory=is_directory)
            if _is_on_proc(target, root_fd):
                raise ContainerError(f"mount {mount.destination}: nothing may cover /proc")
        else:
            tree = new_filesystem(mount.type, options.data, options.attributes)
            target = mount_point(
                root_fd, mount.destination, directory=True, exact=mount.type in _EXACT_PLACES
            )
        syscalls.move_mount(tree, target)
        os.close(target)
        os.close(tree)
    except OSError as error:
        raise ContainerError(f"mount {mount.destination}: {error.strerror}") from error


def _is_on_proc(target: int, root_fd: int) -> bool:
    """Whether a place is on the container's procfs: masks and checks must not meet a fake one."""
    try:
        proc = open_in_root(root_fd, "/proc", follow=False)
    except OSError:
        return False
    device = os.stat(proc).st_dev
    os.close(proc)
    return device != os.stat(root_fd).st_dev and device == os.stat(target).st_dev


def mount_point(root_fd: int, path: str, *, directory: bool, exact: bool = False) -> int:
    """Open the place of a mount inside the root, making it if it is missing.

    With `exact`, no component may be a symlink.
    """
    try:
        return open_in_root(root_fd, path, follow=not exact)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ContainerError(f"mount {path}: the image has a symbolic link there") from error
    return make_directories(root_fd, path) if directory else make_file(root_fd, path)


def attach_devices(root_fd: int, path: str) -> None:
    """Attach a /dev at `path`: a tmpfs with the default devices and links.

    config-linux.md "Default Devices". In a user namespace mknod is refused: the host's nodes are
    bound there instead.
    """
    attributes = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC
    data = (("mode", "0755"), ("size", "65536k"))
    tree = new_filesystem("tmpfs", data, attributes | syscalls.MOUNT_ATTR_STRICTATIME)
    target = mount_point(root_fd, path, directory=True, exact=True)
    if os.stat(target).st_mode & 0o170000 != 0o040000:
        raise ContainerError(f"mount {path}: the image has no directory there")
    syscalls.move_mount(tree, target)
    os.close(target)
    for name, major, minor in DEVICES:
        try:
            os.mknod(name, 0o020666, os.makedev(major, minor), dir_fd=tree)
        except PermissionError:
            _bind_device(tree, name, os.makedev(major, minor))
    for name, destination in _DEVICE_LINKS:
        os.symlink(destination, name, dir_fd=tree)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(name, 0o755, dir_fd=tree)
    os.close(tree)


def _bind_device(dev_fd: int, name: str, device: int) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=dev_fd))
    source = syscalls.open_tree(syscalls.AT_FDCWD, f"/dev/{name}")
    if os.stat(source).st_rdev != device:
        raise ContainerError(f"/dev/{name} of this machine is not that device")
    target = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=dev_fd)
    syscalls.move_mount(source, target)
    os.close(target)
    os.close(source)


def mask(paths: tuple[str, ...], root_fd: int) -> None:
    """Hide files behind the null device and directories behind an empty read-only tmpfs.

    Paths that do not exist are left out (config-linux.md "Masked Paths"). The null device is the
    one that `attach_devices` made, verified (CVE-2025-31133).
    """
    null = open_in_root(root_fd, "/dev/null", follow=False)
    if os.stat(null).st_rdev != os.makedev(1, 3):
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
