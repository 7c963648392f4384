"""Files as block devices (loop(4)), for kernels whose EROFS reads nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from runtime.erofs.mount import LOOP_CONTROL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A  # linux/loop.h
_READ_ONLY, _AUTOCLEAR = 1, 4
# struct loop_config: the file's descriptor, the size of blocks; in struct loop_info64 the flags.
_CONFIG = struct.Struct("=II 52x I 176x 64x")
_BLOCK = 512  # bytes
_TRIES = 64  # somebody else may take a device that was free


def attach_loop(file: int) -> tuple[int, str]:
    """Make a read-only device of a file; returns a descriptor of the device, and its path.

    The device is free again when nothing has it open, nor mounted. Raises OSError.
    """
    control = os.open(LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for path in _free_devices(control):
            device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                config = _CONFIG.pack(file, _BLOCK, _READ_ONLY | _AUTOCLEAR)
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue
            return device, path
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free", LOOP_CONTROL)


def _free_devices(control: int) -> Iterator[str]:
    for _ in range(_TRIES):
        yield f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
