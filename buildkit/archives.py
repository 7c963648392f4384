"""Archives that ADD unpacks: told by their content, and read as one stream however compressed.

    is_archive     a tar, as it is or in gzip, bzip2, xz or zstd
    open_archive   its bytes, decompressed piece by piece

The tar itself is read by `runtime.image.tar`, which refuses what Python's tarfile passes over in
silence: a broken header in the middle, an end without its marker.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from runtime.errors import ImageError
from runtime.image.blob import PieceReader
from runtime.image.compression import MAGIC, compression_of, decompressed
from runtime.image.tar import BLOCK, is_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


def is_archive(place: str) -> bool:
    """Whether a regular file holds a tar with a member, by its content; raises OSError."""
    if not stat.S_ISREG(os.stat(place).st_mode):
        return False
    try:
        # What is wrong further on is an error, and no sign that this is something else.
        with open_archive(place, place, BLOCK) as reader:
            return is_header(reader.read(BLOCK))
    except ImageError:  # it begins like something compressed, and is not
        return False


@contextmanager
def open_archive(place: str, where: str, most: int = _CHUNK) -> Iterator[PieceReader]:
    """The bytes of a tar, of which never more than a few pieces (of `most` bytes) are in memory.

    What is wrong with the compression is an ImageError from the reader, naming `where`.
    """
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind = compression_of(os.pread(fd, MAGIC, 0))
        chunks = iter(lambda: os.read(fd, _CHUNK), b"")
        yield PieceReader(decompressed(kind, chunks, where, most), where)
    finally:
        os.close(fd)
