"""Mounting an index over the files that it speaks of."""

from __future__ import annotations

import os

from runtime.sandbox.syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    fsconfig_create,
    fsconfig_set,
    fsmount,
    fsopen,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 1 << 20
LOOP_CONTROL = "/dev/loop-control"
_ENOTBLK = 15  # errno: a block device is needed


def mount_index(index: str, devices: Sequence[str]) -> int:
    """Mount an index whose devices are these files; returns a descriptor of the detached mount.

    Needs root of the initial user namespace. Linux 6.12 reads files as they are; where the kernel
    wants block devices (since 6.4 with blocks of 512 bytes), loop devices stand for them. Raises
    OSError as fsopen(2), fsconfig(2) and loop(4) do.
    """
    # ext4 of some kernels warns once where the kernel reads a file that nobody has read before.
    fd = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
    while len(os.read(fd, _CHUNK)) == _CHUNK:
        pass
    os.close(fd)
    try:
        return _mount(index, devices)
    except OSError as error:
        if error.errno != _ENOTBLK:
            raise
    return mount_by_loop(index, devices)


def mount_by_loop(index: str, devices: Sequence[str]) -> int:
    """The same with a loop device for each file."""
    from runtime.erofs.loop import attach_loop

    held: list[int] = []
    paths: list[str] = []
    try:
        for path in (index, *devices):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                device, name = attach_loop(file)
            finally:
                os.close(file)
            held.append(device)
            paths.append(name)
        return _mount(paths[0], paths[1:])
    finally:
        for device in held:  # what is mounted stays
            os.close(device)


def _mount(source: str, devices: Sequence[str]) -> int:
    context = fsopen("erofs")
    try:
        fsconfig_set(context, "source", source)
        fsconfig_set(context, "ro", None)  # as a loop device is
        for device in devices:
            fsconfig_set(context, "device", device)
        fsconfig_create(context)
        return fsmount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV)
    finally:
        os.close(context)
