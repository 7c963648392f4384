"""A disk that is full, in the words of the programs that notice it."""

from __future__ import annotations

import re

from buildkit.errors import BuildError, DiskError

_FULL = re.compile(
    r"No space left on device|database or disk is full|You don't have enough free space"
    r"|more space (?:needed )?on the \S+ filesystem"
)
# sqlite, where the memory that it shares is a file which cannot grow, or where the disk is broken.
_BROKEN = re.compile("disk I/O error")


def disk_error(output: str) -> DiskError | None:
    """The error of who said that, if it was for want of space."""
    if _FULL.search(output):
        return DiskError("no space left on the disk with the store")
    if _BROKEN.search(output):
        return DiskError(f"the disk with the store: {_BROKEN.pattern}", hint="is it full?")
    return None


def program_error(message: str, output: str) -> BuildError:
    """What went wrong, as `message` says, unless it was the disk."""
    return disk_error(output) or BuildError(message)
