"""The digest of much that is written, computed beside the writing."""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue import Queue

_ALONE = 1 << 23  # bytes that are not worth another thread
_AHEAD = 2  # pieces, of a megabyte or so, that wait for it at most


class Hasher:
    """SHA-256; what comes after the first eight megabytes is hashed by another thread.

    OpenSSL lets other threads run meanwhile. The thread ends with `hexdigest`, or the process.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._waiting: Queue[bytes] | None = None  # an empty piece is the last

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        if not data:
            return  # to the thread it would be the end
        self._size += len(data)
        if self._waiting is not None:
            self._waiting.put(data)
        elif self._size <= _ALONE:
            self._hash.update(data)
        else:
            self._begin(data)

    def hexdigest(self) -> str:
        """The digest of everything; nothing may come after it."""
        if self._waiting is not None:
            self._waiting.put(b"")
            self._thread.join()
        return self._hash.hexdigest()

    def _begin(self, data: bytes) -> None:
        from queue import Queue
        from threading import Thread

        waiting: Queue[bytes] = Queue(_AHEAD)

        def work() -> None:
            while piece := waiting.get():
                self._hash.update(piece)

        self._waiting = waiting
        self._thread = Thread(target=work, daemon=True)
        self._thread.start()
        waiting.put(data)
