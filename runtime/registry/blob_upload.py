"""One blob, into a registry (distribution-spec "Pushing blobs").

It is mounted from a neighbouring repository if we know of one, else sent in one piece, or in those
that the registry asks for. What breaks off is gone on with where the registry says that it is
(which it is asked before: some take an overlapping piece and append it), or sent anew.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from runtime.errors import ImageError, RegistryError
from runtime.registry.manifests import content_length
from runtime.registry.retrying import Patience
from runtime.registry.transport import DELETE, PUSH
from runtime.registry.wire import PassingError, RefusedError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from runtime.image.blob import BlobRange
    from runtime.oci.image import Descriptor
    from runtime.registry.stop import Stop
    from runtime.registry.transport import Transport

_PIECE = 16 << 20  # bytes, unless the registry wants more
_BLOCK = 1 << 16
_BYTES = {"Content-Type": "application/octet-stream"}
PROGRESS = 1 << 20  # bytes that make it worth to begin counting tries anew
_MOST_TRIES = 100


class BlobUpload:
    """Brings one blob into a repository."""

    def __init__(
        self,
        transport: Transport,
        descriptor: Descriptor,
        blob: BlobRange | None,
        show: Callable[[int], None],
        *,
        mount_from: str = "",
    ) -> None:
        """Without `blob` it must be there already. `mount_from` is a repository that has it."""
        self._transport = transport
        self._descriptor = descriptor
        self._blob = blob
        self._show = show
        self._stop = transport.stop
        self._mount_from = mount_from
        self._location = ""  # of the upload that is going on
        self._sent = 0  # bytes that the registry has
        self._piece = 0  # bytes; 0: all at once
        self._resumed = False

    def run(self) -> None:
        """Do it; raises RegistryError, or ImageError for bytes that are not to be had."""
        self._stop.check()
        if not self._is_there():
            if self._blob is None and not self._mount_from:
                raise self._missing()
            try:
                self._upload()
            except Exception:
                self._cancel()
                raise
        self._show(self._descriptor.size)

    def _missing(self) -> ImageError:
        digest, name = self._descriptor.digest, self._transport.reference.name
        return ImageError(f"blob {digest}: neither here nor in {name}")

    def _is_there(self) -> bool:
        url = self._transport.url(f"blobs/{self._descriptor.digest}")
        answer = self._transport.request("HEAD", url, accept=(200, 404), actions=PUSH)
        # Something else of another size answers where a HEAD was led astray.
        size = content_length(answer)
        return answer.status_code == 200 and size in (None, self._descriptor.size)

    def _upload(self) -> None:
        if self._mount_from and self._is_mounted():
            return
        blob = self._blob
        if blob is None:
            raise self._missing()
        patience = Patience(self._transport.pause)
        furthest = 0
        for _ in range(_MOST_TRIES):
            try:
                if not self._location and self._begin():
                    return
                self._send(blob)
                self._location = ""
                return
            except PassingError as error:
                patience.wait(error)
                if self._is_there():  # and only the answer was lost
                    return
                self._look_how_far()
                if self._sent >= furthest + PROGRESS:
                    furthest = self._sent
                    patience.begin_anew()
        raise RegistryError(f"{shown(self._location)}: not complete after {_MOST_TRIES} tries")

    def _is_mounted(self) -> bool:
        """Try to; else an upload may have begun."""
        query = f"mount={quote(self._descriptor.digest)}&from={quote(self._mount_from, safe='')}"
        url = self._transport.url(f"blobs/uploads/?{query}")
        try:
            answer = self._transport.request(
                "POST", url, accept=(201, 202), actions=PUSH, mounting=self._mount_from
            )
        except RefusedError:  # who may not read there can still send
            return False
        if answer.status_code == 201:
            return True
        self._take_location(answer)
        return False

    def _begin(self) -> bool:
        """Begin an upload; True if the registry says that there is nothing to do."""
        url = self._transport.url("blobs/uploads/")
        answer = self._transport.ask(
            "POST", url, accept=(201, 202), headers=_BYTES, body=b"", actions=PUSH
        )
        if answer.status_code == 201:
            if self._is_there():
                return True
            raise RegistryError(f"POST {shown(url)}: 201 Created, but the blob is not there")
        self._take_location(answer)
        return False

    def _take_location(self, answer: requests.Response) -> None:
        self._location = self._transport.location(answer)
        self._sent = 0
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit():
            self._piece = max(int(least[:18]), _PIECE)

    def _send(self, blob: BlobRange) -> None:
        """Send what the registry has not got yet, and end the upload."""
        size = self._descriptor.size
        try:
            if not self._sent and not self._piece:
                self._end(self._body(blob, size))
                return
            while self._sent < size:
                self._send_piece(blob, min(size, self._sent + (self._piece or size)))
            self._end(b"")
        except RefusedError as error:
            # The upload is unknown by now; a proxy takes less at once; an appended overlap.
            if error.code == 413 and not self._piece:
                self._piece = _PIECE
            elif not (error.code == 404 or (error.code in (400, 416) and self._resumed)):
                raise
            self._cancel()
            passing = PassingError(error.message, hint=error.hint)
            raise passing from error

    def _send_piece(self, blob: BlobRange, end: int) -> None:
        headers = {**_BYTES, "Content-Range": f"{self._sent}-{end - 1}"}
        answer = self._transport.ask(
            "PATCH",
            self._location,
            accept=(202,),
            headers=headers,
            body=self._body(blob, end),
            actions=PUSH,
        )
        self._location = self._transport.location(answer)
        has = _received(answer)
        if has is not None and not self._sent < has <= end:
            where = f"PATCH {shown(self._location)}"
            raise PassingError(f"{where}: it says it has {has} bytes after {end} were sent")
        self._sent = end if has is None else has

    def _body(self, blob: BlobRange, end: int) -> BlobBody | bytes:
        start = self._sent
        if start == end:
            return b""
        return BlobBody(blob, start, end, lambda size: self._show(start + size), self._stop)

    def _end(self, body: BlobBody | bytes) -> None:
        separator = "&" if "?" in self._location else "?"
        url = f"{self._location}{separator}digest={quote(self._descriptor.digest)}"
        self._transport.ask("PUT", url, accept=(201, 204), headers=_BYTES, body=body, actions=PUSH)

    def _look_how_far(self) -> None:
        """Ask how much of a broken upload the registry has; without an answer begin anew."""
        if not self._location:
            return
        try:
            answer = self._transport.ask("GET", self._location, accept=(200, 204), actions=PUSH)
            has = _received(answer)
            if has is not None and has <= self._descriptor.size:
                if answer.headers.get("Location"):
                    self._location = self._transport.location(answer)
                self._sent = has
                self._resumed = True
                self._show(has)
                return
        except RegistryError:  # a session that is gone, or a registry that cannot say
            pass
        self._cancel()

    def _cancel(self) -> None:
        """Give an upload up, so that the registry need not keep it."""
        location, self._location = self._location, ""
        self._sent = 0
        if location:
            try:
                self._transport.ask("DELETE", location, accept=(200, 204), actions=DELETE)
            except RegistryError:  # it forgets uploads by itself, later
                pass


class BlobBody:
    """A part of a blob as the body of a request, read as it is sent."""

    def __init__(
        self, blob: BlobRange, start: int, end: int, show: Callable[[int], None], stop: Stop
    ) -> None:
        self._blob = blob
        self._start = start
        self._size = end - start
        self._position = 0
        self._show = show
        self._stop = stop

    def __len__(self) -> int:
        return self._size

    def tell(self) -> int:
        """How much was read."""
        return self._position

    def seek(self, position: int) -> int:
        """Go on from there."""
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises ImageError if the file has become shorter."""
        self._stop.check()
        left = self._size - self._position
        wanted = left if size < 0 else min(size, left)
        if not wanted:
            return b""
        try:
            fd = os.open(self._blob.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                at = self._blob.offset + self._start + self._position
                piece = os.pread(fd, wanted, at)
            finally:
                os.close(fd)
        except OSError as error:
            raise ImageError(f"{self._blob.path}: {error.strerror}") from error
        if not piece:
            raise ImageError(f"{self._blob.path}: truncated: {left} bytes are missing")
        self._position += len(piece)
        self._show(self._position)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(_BLOCK):
            yield piece


def _received(answer: requests.Response) -> int | None:
    """How many bytes `Range: 0-N` says that there are; None if that is not clear.

    docker-registry says `0-0` both of no byte and of one.
    """
    start, dash, end = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
    if not dash or start != "0" or not (end.isascii() and end.isdigit()) or end == "0":
        return None
    return int(end[:18]) + 1
