"""Writing the members of an image's archive, whose blobs are files already.

A blob begins at a multiple of 4096 bytes, where the blocks of filesystems begin: so a filesystem
that can share blocks between files (btrfs, XFS) takes it over without copying anything, and pages
of an archive that is mounted where it lies are pages of its layers. What fills the gap is a PAX
header with a comment, which every reader passes over (POSIX pax, "pax Header Block").
"""

from __future__ import annotations

import errno
import os

from buildkit.file_copy import copy_bytes
from buildkit.tarwriter import EndedError, comment, header
from runtime.image.tar import BLOCK, Entry, padding

ALIGNMENT = 4096  # bytes
_SMALLEST_GAP = 2 * BLOCK  # a header, and a block of records


class ArchiveWriter:
    """Writes members to a descriptor, from where it stands."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0

    def add(self, entry: Entry, content: bytes = b"") -> None:
        """Write a member whose content, if any, is in memory."""
        self._write(header(entry) + content + bytes(padding(len(content))))

    def add_blob(self, entry: Entry, fd: int) -> None:
        """Write a file, from where its descriptor stands; EndedError if it is shorter."""
        own = header(entry)
        gap = -(self._size + len(own)) % ALIGNMENT
        if 0 < gap < _SMALLEST_GAP:
            gap += ALIGNMENT
        self._write((comment(gap) if gap else b"") + own)
        if copy_bytes(fd, self._fd, entry.size) < entry.size:
            raise EndedError(errno.EIO, f"{entry.name}: became shorter while it was read")
        self._size += entry.size
        self._write(bytes(padding(entry.size)))

    def finish(self) -> None:
        """Write the end marker."""
        self._write(bytes(2 * BLOCK))

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        while data:
            data = data[os.write(self._fd, data) :]
