"""Directories that outlive a build: `RUN --mount=type=cache`.

    mounts/<SHA-256 of what it is>/about      JSON: what it is; its time is that of the last use
    mounts/<…>/<number>/fs                    the directory; other numbers are for `private` ones

Whoever uses one holds a lock of `<number>`: many at once (`shared`), one who waits (`locked`), or
one who else takes the next number (`private`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from buildkit.locks import try_lock, wait_for_lock
from runtime.store.store import Store, write_atomically
from runtime.store.workspace import Workspace


@contextmanager
def cache_directory(
    store: Store, identity: dict[str, str], sharing: str, make: Callable[[str], None]
) -> Iterator[str]:
    """The directory of a cache, for as long as the context lasts.

    `make` makes a new one at a path where nothing is yet.
    """
    folder = mount_folder(store, identity)
    os.makedirs(folder, exist_ok=True)
    write_atomically(f"{folder}/about", json.dumps(identity, sort_keys=True).encode())
    lock, place = _take(folder, sharing)
    try:
        if not os.path.isdir(f"{place}/fs"):
            _fill(store, place, make)
        yield f"{place}/fs"
    finally:
        os.close(lock)


def mount_folder(store: Store, identity: dict[str, str]) -> str:
    """Where a cache is, for what identifies it."""
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{store.root}/mounts/{name}"


def _take(folder: str, sharing: str) -> tuple[int, str]:
    """A locked directory of a cache: its lock, and its path."""
    for number in count():
        place = f"{folder}/{number}"
        os.makedirs(place, exist_ok=True)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if sharing != "private":
            wait_for_lock(fd, shared=sharing == "shared")
            return fd, place
        if try_lock(fd):
            return fd, place
        os.close(fd)
    raise AssertionError("numbers do not end")


def _fill(store: Store, place: str, make: Callable[[str], None]) -> None:
    """Give a cache its directory; of several who do so at once, the first one wins."""
    with Workspace(store) as work:
        make(f"{work.path}/cache")
        try:
            os.rename(f"{work.path}/cache", f"{place}/fs")
        except OSError:
            if not os.path.isdir(f"{place}/fs"):
                raise
