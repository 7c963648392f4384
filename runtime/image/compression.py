"""What a whole file is compressed by, told by its first bytes, and its content piece by piece."""

from __future__ import annotations

import os

from runtime.errors import ImageError, StoreError
from runtime.image.blob import gunzip, unzstd
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


GZIP, BZIP2, XZ, ZSTD = "gzip", "bzip2", "xz", "zstd"
MAGIC = 6  # bytes that tell
_MAGICS = ((b"\x1f\x8b", GZIP), (b"BZh", BZIP2), (b"\xfd7zXZ\0", XZ), (b"\x28\xb5\x2f\xfd", ZSTD))
_CHUNK = 1 << 20
# The dictionary of `xz -9` has 64 MiB; a header may ask for 4 GiB.
_XZ_MEMORY = 1 << 28


def compression_of(start: bytes) -> str:
    """What a file is compressed by that begins with these bytes; empty if by nothing known."""
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), "")


def decompressed(
    kind: str, chunks: Iterator[bytes], where: str, most: int = _CHUNK
) -> Iterator[bytes]:
    """The content in pieces of at most `most` bytes, the chunks themselves where `kind` is empty.

    What is wrong with the compression is an ImageError naming `where`.
    """
    if kind == GZIP:
        return gunzip(chunks, where, most)
    if kind == BZIP2:
        return _bunzip(chunks, where, most)
    if kind == XZ:
        return _unxz(chunks, where, most)
    if kind == ZSTD:
        return unzstd(chunks, where, most)
    return chunks


def plain_file(fd: int, where: str, room: str = "") -> int:
    """A new file without a name that holds what can be read from `fd`, decompressed if it must be.

    It is in the directory `room`, by default where temporary files are. Returns a descriptor for
    reading, which the caller closes. Raises ImageError, also where nothing is inside that begins
    like a tar, and StoreError if there is no room.
    """
    start = _read_start(fd, where)
    kind = compression_of(start)
    pieces = decompressed(kind, _chunks(fd, start, where), where)
    begin = b""
    for piece in pieces:  # which may be empty
        begin += piece
        if len(begin) >= BLOCK:
            break
    if kind and not is_header(begin[:BLOCK]):
        raise ImageError(f"{where}: compressed by {kind}, and what is inside is no tar")
    room = room or os.environ.get("TMPDIR") or "/var/tmp"
    try:
        made = _nameless(room)
    except OSError as error:
        raise StoreError(f"{where}: no room for it in {room}: {error.strerror}") from error
    try:
        _write(made, begin, where, room)
        for piece in pieces:
            _write(made, piece, where, room)
        # One that is open for writing could have no lease (fcntl(2)).
        return os.open(f"/proc/self/fd/{made}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(made)


def _read_start(fd: int, where: str) -> bytes:
    start = b""
    for chunk in _chunks(fd, b"", where, MAGIC):
        start += chunk
        if len(start) >= MAGIC:
            break
    return start


def _chunks(fd: int, start: bytes, where: str, size: int = _CHUNK) -> Iterator[bytes]:
    """What was read already, and the rest."""
    if start:
        yield start
    while True:
        try:
            chunk = os.read(fd, size)
        except OSError as error:
            raise ImageError(f"{where}: {error.strerror}") from error
        if not chunk:
            return
        yield chunk


def _nameless(room: str) -> int:
    try:
        return os.open(room, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every filesystem has it
        path = f"{room}/{os.getpid()}-{os.urandom(4).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd


def _write(fd: int, piece: bytes, where: str, room: str) -> None:
    left = memoryview(piece)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError as error:
        raise StoreError(f"{where}: no room for it in {room}: {error.strerror}") from error


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
