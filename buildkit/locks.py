"""Waiting for a lock without missing a signal."""

from __future__ import annotations

import fcntl
import time

_PATIENCE_S = 0.02


def wait_for_lock(fd: int, *, shared: bool = False) -> None:
    """Wait until a descriptor's file is locked.

    Not in flock(2): it would outwait a signal that comes just before it.
    """
    while not try_lock(fd, shared=shared):
        time.sleep(_PATIENCE_S)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock a descriptor's file, unless somebody else's lock is in the way."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
