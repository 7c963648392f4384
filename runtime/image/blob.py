"""Reading a layer blob: decompressed, and verified against every promise made about it.

The reader, not its callers, turns a wrong size, digest or diff_id into an error.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Descriptor, canonical_media_type
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runtime.oci.digest import DiffID

_CHUNK = 1 << 20
_CHUNK_COMPRESSED = 1 << 18


class BlobRange(Record):
    """Where a blob's bytes are: part of a file, or all of it."""

    path: str
    offset: int
    size: int

    @property
    def lasts(self) -> bool:
        """Whether it is there after this process, where it is now."""
        return not self.path.startswith("/proc/self/fd/")


class StoredLayer(Record):
    """A layer of an image, and where its bytes are."""

    blob: BlobRange
    descriptor: Descriptor
    diff_id: DiffID
    where: str  # how errors call it

    def reader(self, *, threads: bool = False) -> LayerReader:
        """Read it from its beginning; see `LayerReader`."""
        found = (self.blob, self.descriptor, self.diff_id, self.where)
        return LayerReader(*found, threads=threads)

    def verify(self) -> None:
        """Read all of it; raises ImageError unless it is what was promised."""
        with self.reader() as reader:
            reader.finish()


class PieceReader:
    """Pieces of bytes as a forward `Stream` (`runtime.image.tar`)."""

    def __init__(self, pieces: Iterator[bytes], where: str):
        self._pieces = pieces
        self._where = where
        self._buffer = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        end = self._position + size
        if end <= len(self._buffer):
            piece = self._buffer[self._position : end]
            self._position = end
            return piece
        pieces = [self._buffer[self._position :]]
        have = len(pieces[0])
        while have < size and self._fill():
            pieces.append(self._buffer[: size - have])
            have += len(pieces[-1])
            self._position = len(pieces[-1])
        if have < size:
            self._position = len(self._buffer)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size > 0:
            piece = self.read(min(size, _CHUNK))
            if not piece:
                raise ImageError(f"{self._where}: truncated")
            size -= len(piece)

    def drain(self) -> None:
        """Read to the end: what decompresses may find a fault only there."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        """Replace the buffer by the next bytes; False at the end."""
        for piece in self._pieces:
            if piece:
                self._take(piece)
                self._buffer, self._position = piece, 0
                return True
        self._buffer, self._position = b"", 0
        return False

    def _take(self, piece: bytes) -> None:
        """Look at the next bytes."""


class LayerReader(PieceReader):
    """The uncompressed tar of a layer.

    Call `finish()` after the last entry: it reads the rest and raises ImageError unless size,
    digest and diff_id are the promised ones. Until then nothing that was read is trusted.
    """

    def __init__(
        self,
        blob: BlobRange,
        descriptor: Descriptor,
        diff_id: DiffID,
        where: str,
        *,
        threads: bool = False,
    ):
        """With `threads` it is hashed beside the reading, for who only reads."""
        import hashlib  # OpenSSL: only a layer that is not applied yet is worth its loading

        new: Callable[[], Any] = hashlib.sha256
        if threads:
            from runtime.image.hashing import Hasher as new
        self._descriptor = descriptor
        self._diff_id = diff_id
        if blob.size != descriptor.size:
            raise ImageError(
                f"{where}: size is {blob.size} bytes, manifest says {descriptor.size}"
            )
        self._left = blob.size
        self._stored = new()
        kind = canonical_media_type(descriptor.media_type)
        self._content = self._stored if kind == LAYER else new()
        # zlib copies what it was given and has no use for yet.
        self._chunk = _CHUNK if kind == LAYER else _CHUNK_COMPRESSED
        super().__init__(decompressed(kind, self._chunks(), where), where)
        try:
            self._fd = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ImageError(f"{where}: {blob.path}: {error.strerror}") from error
        os.lseek(self._fd, blob.offset, os.SEEK_SET)

    def __enter__(self) -> LayerReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def finish(self) -> None:
        """Read to the end and verify what was read."""
        self.drain()
        found = "sha256:" + self._stored.hexdigest()
        if found != self._descriptor.digest:
            raise ImageError(
                f"{self._where}: digest is {found}, manifest says {self._descriptor.digest}"
            )
        content = "sha256:" + self._content.hexdigest()
        if content != self._diff_id:
            raise ImageError(f"{self._where}: diff_id is {content}, config says {self._diff_id}")

    def _take(self, piece: bytes) -> None:
        if self._content is not self._stored:
            self._content.update(piece)

    def _chunks(self) -> Iterator[bytes]:
        """The blob as it is stored."""
        while self._left:
            chunk = os.read(self._fd, min(self._left, self._chunk))
            if not chunk:
                raise ImageError(f"{self._where}: truncated: {self._left} bytes are missing")
            self._left -= len(chunk)
            self._stored.update(chunk)
            yield chunk


def decompressed(media_type: str, chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Unpack a stream, never more than `_CHUNK` bytes at once: a blob may swell a thousandfold."""
    if media_type == LAYER:
        return chunks
    if media_type == LAYER_GZIP:
        return gunzip(chunks, where)
    if media_type == LAYER_ZSTD:
        return unzstd(chunks, where)
    raise ImageError(f"{where}: layer of media type {media_type!r} is not supported")


def gunzip(chunks: Iterator[bytes], where: str, most: int = _CHUNK) -> Iterator[bytes]:
    """Unpack gzip in pieces of at most `most` bytes; raises ImageError."""
    import zlib

    # A gzip stream may consist of several members (RFC 1952 section 2.2).
    state = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            while chunk:
                if state.eof:
                    state = zlib.decompressobj(wbits=31)
                yield state.decompress(chunk, most)
                chunk = state.unused_data if state.eof else state.unconsumed_tail
        while not state.eof:
            piece = state.decompress(b"", most)
            if not piece:
                raise ImageError(f"{where}: truncated: the gzip stream has no end")
            yield piece
    except zlib.error as error:
        raise ImageError(f"{where}: not valid gzip: {error}") from error


def unzstd(chunks: Iterator[bytes], where: str, most: int = _CHUNK) -> Iterator[bytes]:
    """The same for zstd; a stream that was cut just ends."""
    import zstandard

    # A frame may ask for a window of gigabytes; 128 MiB is what `zstd -d` grants too.
    context = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    source: Any = _Source(chunks)  # typed as a whole file, of which only read() is called
    reader = context.stream_reader(source, read_size=_CHUNK, read_across_frames=True)
    try:
        while piece := reader.read(most):
            yield piece
    except zstandard.ZstdError as error:
        raise ImageError(f"{where}: not valid zstd: {error}") from error


class _Source:
    """Chunks as the file that zstandard reads from."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks

    def read(self, _size: int) -> bytes:
        return next(self._chunks, b"")
