"""Copying bytes between descriptors by the cheapest way that both of them know."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

_CHUNK = 1 << 20
_MOST = 1 << 30  # bytes of one call: an interrupt is heard between two
# What says that this kind of copying is not for these two files.
_NOT_HERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM}
)


def copy_bytes(source: int, target: int, size: int) -> int:
    """Copy so many bytes from where two descriptors stand; how many there were, if fewer.

    On btrfs and XFS whole blocks are shared, not copied, where both begin at a multiple of 4096.
    """
    left = size
    for copy in (_share, _send, _copy):
        while left:
            done = copy(source, target, min(left, _MOST))
            if done is None:
                break
            if not done:
                return size - left
            left -= done
    return size


def _share(source: int, target: int, size: int) -> int | None:
    """Let the kernel copy, which shares blocks where it can; None if it cannot do it at all."""
    return _unless_refused(lambda: os.copy_file_range(source, target, size))


def _send(source: int, target: int, size: int) -> int | None:
    """The same for a pipe, or between filesystems of older kernels."""
    return _unless_refused(lambda: os.sendfile(target, source, None, size))


def _unless_refused(copy: Callable[[], int]) -> int | None:
    try:
        return copy()
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise


def _copy(source: int, target: int, size: int) -> int:
    chunk = os.read(source, min(size, _CHUNK))
    done = len(chunk)
    while chunk:
        chunk = chunk[os.write(target, chunk) :]
    return done
