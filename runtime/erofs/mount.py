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


def mount_index(index: str, devices: Sequence[str]) -> int:
    """Mount an index whose devices are these files; returns a descriptor of the detached mount.

    Needs Linux 6.12, which reads both without a loop device, and root of the initial user
    namespace. Raises OSError as fsopen(2) and fsconfig(2) do.
    """
    # ext4 of some kernels warns once where the kernel reads a file that nobody has read before.
    fd = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
    while len(os.read(fd, _CHUNK)) == _CHUNK:
        pass
    os.close(fd)
    context = fsopen("erofs")
    try:
        fsconfig_set(context, "source", index)
        for device in devices:
            fsconfig_set(context, "device", device)
        fsconfig_create(context)
        return fsmount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV)
    finally:
        os.close(context)
