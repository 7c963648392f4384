"""A root filesystem where it lies: an index in the store, over the files that its layers are in.

An index is always our own. It names blocks of files by their numbers, so it is only mounted over
files that are the same as when it was made: by device, inode, size and times.
"""

from __future__ import annotations

import os

from runtime.erofs.header import SUPERBLOCK_END, size_in
from runtime.erofs.mount import mount_index
from runtime.errors import ImageError
from runtime.record import Record
from runtime.store.identity import identity_of, identity_of_status


class Place(Record):
    """A file that an index reaches into, and what it was when the index was made."""

    path: str
    identity: tuple[int, ...]


class Index(Record):
    """What is mounted: a layer for `sandbox.rootfs.Overlay`."""

    path: str
    size: int  # bytes
    places: tuple[Place, ...]

    def is_whole(self) -> bool:
        """Whether the index is there and fits its files still."""
        try:
            if size_of(self.path) != self.size:
                return False
            return all(identity_of(place.path) == place.identity for place in self.places)
        except OSError:
            return False

    def open(self) -> int:
        """Mount it; returns a descriptor of the detached mount.

        Raises ImageError if a file is another one by now, OSError where it cannot be mounted.
        """
        opened: list[int] = []
        try:
            for place in self.places:
                # Opened once: what is mounted is the file that was looked at.
                opened.append(os.open(place.path, os.O_RDONLY | os.O_CLOEXEC))
                if identity_of_status(os.fstat(opened[-1])) != place.identity:
                    raise ImageError(f"{place.path}: was changed while it was being started")
            return mount_index(self.path, [f"/proc/self/fd/{fd}" for fd in opened])
        finally:
            for fd in opened:
                os.close(fd)


def size_of(path: str) -> int:
    """The size of an index that is whole; else 0."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(fd).st_size
        return size if size_in(os.pread(fd, SUPERBLOCK_END, 0)) == size else 0
    finally:
        os.close(fd)
