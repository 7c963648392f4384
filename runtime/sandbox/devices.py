"""Device nodes of a container (config-linux.md "Devices", "Default Devices").

In a user namespace mknod(2) is refused: the host's nodes are bound there instead. Nothing of an
image is trusted: a node that is there already must be that device (CVE-2025-31133).
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError
from runtime.oci.spec import Device
from runtime.sandbox import syscalls
from runtime.sandbox.rootpath import make_directories

DEFAULT = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


def make_default_devices(root_fd: int, dev: str) -> None:
    """Make the default devices and links in the directory `dev` of the root, such as "/dev"."""
    dev_fd = make_directories(root_fd, dev)
    for device in DEFAULT:
        _make(device, dev_fd, device.path[5:])
    for name, destination in LINKS:
        try:
            os.symlink(destination, name, dir_fd=dev_fd)
        except FileExistsError:
            _replace_link(dev_fd, name, destination)
    os.close(dev_fd)


def make_devices(root_fd: int, devices: tuple[Device, ...]) -> None:
    """Make the devices that a spec names; raises ContainerError that names the device.

    Before the default ones: the spec's owner and mode of one of those hold.
    """
    for device in devices:
        if device.path == "/dev/ptmx":
            # That of the container's own devpts, always (config-linux.md "Default Devices");
            # engines list the host's node with all others for a privileged container.
            continue
        parent, _, name = device.path.rpartition("/")
        parent_fd = make_directories(root_fd, parent or "/")
        try:
            _make(device, parent_fd, name)
        finally:
            os.close(parent_fd)


def _make(device: Device, parent_fd: int, name: str) -> None:
    number = os.makedev(device.major, device.minor)
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    kind = _TYPES[device.type]
    try:
        os.mknod(name, kind | mode, number, dir_fd=parent_fd)
        if (device.uid, device.gid) != (0, 0):
            os.chown(name, device.uid, device.gid, dir_fd=parent_fd, follow_symlinks=False)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if (found.st_mode & 0o170000, found.st_rdev) != (kind, number):
            raise ContainerError(
                f"device {device.path}: the image has something else there"
            ) from None
    except OSError as error:
        if error.errno != errno.EPERM:
            raise ContainerError(f"device {device.path}: {error.strerror}") from error
        _bind(device, parent_fd, name, kind, number)


def _bind(device: Device, parent_fd: int, name: str, kind: int, number: int) -> None:
    """Bind the host's node of the same path, which must be that device."""
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=parent_fd))
        source = syscalls.open_tree(syscalls.AT_FDCWD, device.path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(
            f"device {device.path}: may not be made here, nor bound from the host: {reason}"
        ) from error
    found = os.stat(source)
    if (found.st_mode & 0o170000, found.st_rdev) != (kind, number):
        raise ContainerError(f"device {device.path}: the host's is another device")
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    syscalls.move_mount(source, target)
    os.close(target)
    os.close(source)


def _replace_link(dev_fd: int, name: str, destination: str) -> None:
    # Without a tmpfs on /dev the links are the image's own files.
    try:
        if os.readlink(name, dir_fd=dev_fd) == destination:
            return
    except OSError as error:
        if error.errno != errno.EINVAL:  # it is no link
            raise
    os.unlink(name, dir_fd=dev_fd)
    os.symlink(destination, name, dir_fd=dev_fd)
