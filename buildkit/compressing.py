"""Compressing layers on all processors, to bytes that do not depend on how many there are.

gzip: members of a fixed size, one after another (RFC 1952 section 2.2), which every reader takes.
zstd: the library's own threads, whose number changes nothing. Another version of zlib or zstd may
give other bytes; the DiffID is that of what is inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from buildkit.cache import Layer
from buildkit.errors import UsageError
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import LAYER_GZIP, LAYER_ZSTD, Descriptor
from runtime.record import Record
from runtime.store.store import Store, write_atomically
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from concurrent.futures import Future

_CHUNK = 1 << 20
_LEVELS = {"none": (0, 0, 0), "gzip": (1, 6, 9), "zstd": (1, 3, 19)}  # least, usual, highest
_MEDIA_TYPES = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


class Compression(Record):
    """How layers are compressed."""

    kind: str = "none"  # or gzip, zstd
    level: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.level}"


def read_compression(text: str, option: str = "--compression") -> Compression:
    """`none|gzip|zstd[:LEVEL]`; raises UsageError."""
    kind, colon, level = text.partition(":")
    if kind not in _LEVELS:
        raise UsageError(f"{option} {text!r}: none, gzip or zstd, and :LEVEL expected")
    least, usual, highest = _LEVELS[kind]
    if not colon:
        return Compression(kind=kind, level=usual)
    if not level.isdigit() or not least <= int(level) <= highest:
        raise UsageError(f"{option} {text!r}: a level from {least} to {highest} expected")
    return Compression(kind=kind, level=int(level))


def compressed(store: Store, layer: Layer, how: Compression) -> Layer:
    """The layer with its blob compressed, which is kept in the store; as it is if it is already.

    Raises OSError.
    """
    if how.kind == "none" or not layer.descriptor.is_plain_layer:
        return layer
    descriptor = _known(store, _record(store, layer, how), how) or _compress(store, layer, how)
    return Layer(descriptor=descriptor, diff_id=layer.diff_id)


def remember(store: Store, layer: Layer, how: Compression, descriptor: Descriptor) -> None:
    """Note that a blob of the store is what `compressed` makes of a layer; raises OSError."""
    about = json.dumps([descriptor.digest, descriptor.size]).encode()
    write_atomically(_record(store, layer, how), about)


def _record(store: Store, layer: Layer, how: Compression) -> str:
    about = json.dumps([layer.diff_id, how.kind, how.level]).encode()
    return f"{store.root}/cache/compressed-{digest_of(about).hex}"


def _known(store: Store, record: str, how: Compression) -> Descriptor | None:
    try:
        with open(record, "rb") as file:
            digest, size = json.load(file)
        digest = Digest.parse(digest)
        if os.stat(store.blob(digest)).st_size != size:
            return None
    except (OSError, ValueError, TypeError):  # none, or it is no longer in the store
        return None
    return Descriptor(media_type=_MEDIA_TYPES[how.kind], digest=digest, size=size)


def _compress(store: Store, layer: Layer, how: Compression) -> Descriptor:
    sha = hashlib.sha256()
    size = 0
    squeeze = _gzip if how.kind == "gzip" else _zstd
    with Workspace(store) as work:
        path = f"{work.path}/blob"
        with open(store.blob(layer.descriptor.digest), "rb") as source, open(path, "xb") as made:
            for piece in squeeze(lambda: source.read(_CHUNK), how.level):
                made.write(piece)
                sha.update(piece)
                size += len(piece)
            made.flush()
            os.fsync(made.fileno())
        digest = Digest.parse(f"sha256:{sha.hexdigest()}")
        os.rename(path, store.blob(digest))
    descriptor = Descriptor(media_type=_MEDIA_TYPES[how.kind], digest=digest, size=size)
    remember(store, layer, how, descriptor)
    return descriptor


def _gzip(read: Callable[[], bytes], level: int) -> Iterator[bytes]:
    def member(chunk: bytes) -> bytes:
        squeezer = zlib.compressobj(level, zlib.DEFLATED, 31)
        return squeezer.compress(chunk) + squeezer.flush()

    from concurrent.futures import ThreadPoolExecutor

    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:  # zlib lets go of the interpreter's lock
        waiting: deque[Future[bytes]] = deque()
        while chunk := read():
            waiting.append(pool.submit(member, chunk))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _zstd(read: Callable[[], bytes], level: int) -> Iterator[bytes]:
    import zstandard

    threads = len(os.sched_getaffinity(0))
    squeezer = zstandard.ZstdCompressor(level=level, threads=threads).compressobj()
    while chunk := read():
        yield squeezer.compress(chunk)
    yield squeezer.flush()
