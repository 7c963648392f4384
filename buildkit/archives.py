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
from runtime.image.blob import PieceReader, gunzip, unzstd
from runtime.image.tar import BLOCK, is_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class _Decompressor(Protocol):
        """What bz2 and lzma have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int) -> bytes: ...


_CHUNK = 1 << 20
# The dictionary of `xz -9` has 64 MiB; a header may ask for 4 GiB.
_XZ_MEMORY = 1 << 28


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
        magic = os.pread(fd, 6, 0)
        chunks = iter(lambda: os.read(fd, _CHUNK), b"")
        yield PieceReader(_decompressed(magic, chunks, where, most), where)
    finally:
        os.close(fd)


def _decompressed(magic: bytes, chunks: Iterator[bytes], where: str, most: int) -> Iterator[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return gunzip(chunks, where, most)
    if magic.startswith(b"BZh"):
        return _bunzip(chunks, where, most)
    if magic == b"\xfd7zXZ\0":
        return _unxz(chunks, where, most)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return unzstd(chunks, where, most)
    return chunks


def _bunzip(chunks: Iterator[bytes], where: str, most: int) -> Iterator[bytes]:
    import bz2

    try:
        yield from _streams(bz2.BZ2Decompressor, chunks, where, most)
    except (OSError, ValueError) as error:
        raise ImageError(f"{where}: not valid bzip2: {error}") from error


def _unxz(chunks: Iterator[bytes], where: str, most: int) -> Iterator[bytes]:
    import lzma

    def make() -> _Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    try:
        yield from _streams(make, chunks, where, most)
    except lzma.LZMAError as error:
        raise ImageError(f"{where}: not valid xz: {error}") from error


def _streams(
    make: Callable[[], _Decompressor], chunks: Iterator[bytes], where: str, most: int
) -> Iterator[bytes]:
    """Unpack streams that follow each other, never more than `most` bytes at once."""
    state = make()
    for chunk in chunks:
        while chunk or not (state.needs_input or state.eof):
            if state.eof:
                # Between streams, xz allows zeros up to a multiple of four bytes.
                if not (chunk := chunk.lstrip(b"\0")):
                    break
                state = make()
            yield state.decompress(chunk, most)
            chunk = state.unused_data if state.eof else b""
    if not state.eof:
        raise ImageError(f"{where}: truncated: the compressed stream has no end")
