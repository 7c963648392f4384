"""A layer unpacked while it arrives, verified, by a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from queue import Queue
from threading import Thread

from buildkit.cache import Layer
from runtime.errors import ImageError
from runtime.image.blob import decompressed
from runtime.image.hashing import Hasher
from runtime.oci.image import Descriptor, canonical_media_type
from runtime.sandbox.syscalls import SYNC_FILE_RANGE_WRITE, sync_file_range
from runtime.store.known import trust
from runtime.store.store import Store

_PART = 8 << 20  # bytes that the disk may begin with, so that little is left for fsync
_AHEAD = 8  # pieces that wait for it at most


class Inflater:
    """Takes a compressed blob's bytes and makes the tar that is in them a blob of the store."""

    def __init__(self, store: Store, path: str, descriptor: Descriptor, layer: Layer) -> None:
        """`path` is a new file beside the store's blobs, where the tar is until it is complete."""
        self._store = store
        self._path = path
        self._descriptor = descriptor
        self._layer = layer
        self._where = f"layer {descriptor.digest}"
        self._work: _Work | None = None

    def add(self, piece: bytes) -> None:
        """Take in the next bytes."""
        if self._work is None:
            pieces: Queue[bytes] = Queue(_AHEAD)
            self._work = _Work(self._path, self._descriptor, self._where, pieces)
        self._work.pieces.put(piece)

    def begin_anew(self) -> None:
        """What came was not the layer."""
        if self._work is not None:
            self._work.end()
            self._work = None

    def finish(self) -> None:
        """The tar is in the store afterwards; raises ImageError if it is not what was promised."""
        self.add(b"")
        work, self._work = self._work, None
        assert work is not None
        size, found = work.result()
        if size != self._layer.descriptor.size:
            promised = self._layer.descriptor.size
            raise ImageError(f"{self._where}: {size} bytes, the cache says {promised}")
        if found != self._layer.diff_id:
            raise ImageError(f"{self._where}: diff_id is {found}, not {self._layer.diff_id}")
        os.rename(self._path, self._store.blob(self._layer.diff_id))
        trust(self._store, self._store.blob(self._layer.diff_id))


class _Work:
    """One attempt; an empty piece is the last."""

    def __init__(
        self, path: str, descriptor: Descriptor, where: str, pieces: Queue[bytes]
    ) -> None:
        self.pieces = pieces
        self._path = path
        self._kind = canonical_media_type(descriptor.media_type)
        self._where = where
        self._error: Exception | None = None
        self._result = (0, "")
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the thread end, whatever it has made."""
        self.pieces.put(b"")
        self._thread.join()

    def result(self) -> tuple[int, str]:
        """Bytes and digest of what was unpacked, once all pieces were taken in."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        taken = self._taken()
        try:
            self._result = self._unpack(taken)
        except Exception as error:
            self._error = error
        for _ in taken:  # nobody may wait for room
            pass

    def _taken(self) -> Iterator[bytes]:
        while piece := self.pieces.get():
            yield piece

    def _unpack(self, taken: Iterator[bytes]) -> tuple[int, str]:
        hasher, size, begun = Hasher(), 0, 0
        with open(self._path, "wb", buffering=0) as made:
            for piece in decompressed(self._kind, taken, self._where):
                hasher.update(piece)
                size += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[made.write(view) :]
                if size - begun >= _PART:
                    sync_file_range(made.fileno(), begun, size - begun, SYNC_FILE_RANGE_WRITE)
                    begun = size
            os.fsync(made.fileno())
        return size, f"sha256:{hasher.hexdigest()}"
