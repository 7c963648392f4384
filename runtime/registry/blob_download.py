"""One blob, from a registry into the store (distribution-spec "Pulling blobs").

What breaks off stays as `downloads/<hex>.part`, and this or a later process goes on there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os

from runtime.errors import RegistryError, StoreError
from runtime.registry.manifests import content_length, refuse_encoding
from runtime.registry.retrying import Patience
from runtime.registry.wire import PassingError, pieces, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    import requests

    from runtime.oci.image import Descriptor
    from runtime.registry.transport import Transport
    from runtime.store.store import Store

    class Taker(Protocol):
        """Who gets a blob's bytes in order, and forgets them when they were not the right ones."""

        def add(self, piece: bytes) -> None: ...
        def begin_anew(self) -> None: ...


_CHUNK = 1 << 20
PROGRESS = 1 << 20  # bytes that make it worth to begin counting tries anew
_MOST_TRIES = 100


class BlobDownload:
    """Fetches one blob; whoever else wants the same waits for it."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        descriptor: Descriptor,
        show: Callable[[int], None],
        *,
        keep: str | None = "",
        taker: Taker | None = None,
    ) -> None:
        """`show` is told how many bytes are there.

        It goes into the store, or to the path `keep`, or is not kept (None) but by who takes its
        bytes as they come.
        """
        self._transport = transport
        self._store = store
        self._descriptor = descriptor
        self._show = show
        self._stop = transport.stop
        self._url = transport.url(f"blobs/{descriptor.digest}")
        self._kept = store.blob(descriptor.digest) if keep == "" else keep
        self._taker = taker
        self._part = f"{store.root}/downloads/{descriptor.digest.hex}.part"
        self._hash = hashlib.sha256()
        self._have = 0  # bytes

    def run(self) -> None:
        """Do it; raises RegistryError or StoreError."""
        try:
            os.makedirs(os.path.dirname(self._part), mode=0o755, exist_ok=True)
            fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if self._taker is None and self._is_kept():  # by another process
                    _remove(self._part)
                    return
                self._take_up(fd)
                self._try_all(fd)
                if self._kept is None or self._is_kept():
                    _remove(self._part)
                    return
                os.fsync(fd)
                os.rename(self._part, self._kept)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError(f"{self._part}: {error.strerror}") from error

    def _is_kept(self) -> bool:
        return self._kept is not None and os.path.exists(self._kept)

    def _take_up(self, fd: int) -> None:
        """Go on with what is there already."""
        while piece := os.read(fd, _CHUNK):
            self._add(piece)
        if self._have > self._descriptor.size:
            self._start_again(fd)
        self._show(self._have)

    def _try_all(self, fd: int) -> None:
        patience = Patience(self._transport.pause)
        furthest = self._have
        # What an earlier process left may be damaged, and what comes may be, once.
        chances = 2 if self._have else 1
        for _ in range(_MOST_TRIES):
            try:
                if self._have < self._descriptor.size:
                    self._try(fd)
                if self._is_right():
                    return
                found = f"sha256:{self._hash.hexdigest()}"
                self._start_again(fd)  # an error too leaves nothing that is wrong
                if not chances:
                    raise RegistryError(f"GET {shown(self._url)}: its digest is {found}")
                chances -= 1
            except PassingError as error:
                if self._have >= furthest + PROGRESS:
                    furthest = self._have
                    patience.begin_anew()
                patience.wait(error)
        raise RegistryError(f"GET {shown(self._url)}: not complete after {_MOST_TRIES} tries")

    def _is_right(self) -> bool:
        return self._hash.hexdigest() == self._descriptor.digest.hex

    def _start_again(self, fd: int) -> None:
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._have = 0
        if self._taker is not None:
            self._taker.begin_anew()

    def _try(self, fd: int) -> None:
        self._stop.check()
        headers = {"Range": f"bytes={self._have}-"} if self._have else {}
        size = self._descriptor.size
        with self._transport.ask(
            "GET", self._url, accept=(200, 206, 416), headers=headers, stream=True
        ) as response:
            self._begin(response, fd)
            for piece in pieces(response):
                self._stop.check()
                self._take(fd, piece)
        if self._have < size:
            where = f"GET {shown(self._url)}"
            raise PassingError(f"{where}: the answer ended after {self._have} of {size} bytes")

    def _begin(self, response: requests.Response, fd: int) -> None:
        refuse_encoding(response)
        said = response.headers.get("Content-Range", "")
        if response.status_code == 206 and said.startswith(f"bytes {self._have}-"):
            return
        self._start_again(fd)
        where = f"GET {shown(self._url)}"
        if response.status_code != 200:
            raise PassingError(f"{where}: another part was sent than was asked for")
        length = content_length(response)
        if length is not None and length != self._descriptor.size:
            expected = self._descriptor.size
            raise RegistryError(f"{where}: {length} bytes, the manifest says {expected}")

    def _take(self, fd: int, piece: bytes) -> None:
        if self._have + len(piece) > self._descriptor.size:
            expected = self._descriptor.size
            message = f"GET {shown(self._url)}: more than the {expected} bytes of the manifest"
            raise RegistryError(message)
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]
        self._add(piece)
        self._show(self._have)

    def _add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._have += len(piece)
        if self._taker is not None:
            self._taker.add(piece)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # renamed by who was first
        pass
