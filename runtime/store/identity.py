"""What a file is: nobody can change its bytes and keep all of this."""

from __future__ import annotations

import os


def identity_of(path: str) -> tuple[int, ...]:
    """Device, inode, size, and the times of content and status in nanoseconds."""
    return identity_of_status(os.stat(path))


def identity_of_status(status: os.stat_result) -> tuple[int, ...]:
    """The same of what is known already."""
    return (
        *(status.st_dev, status.st_ino, status.st_size),
        *(status.st_mtime_ns, status.st_ctime_ns),
    )
