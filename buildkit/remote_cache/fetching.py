"""Layers of caches elsewhere, brought into the store as they were there before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from buildkit.compressing import Compression, remember
from buildkit.counting import Count, teller
from buildkit.file_copy import copy_bytes
from buildkit.remote_cache.inflating import Inflater
from buildkit.remote_cache.reading import Cache
from runtime.errors import ImageError, RegistryError, StoreError
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.members import open_members
from runtime.registry.stop import Stop
from runtime.registry.transfers import Progress, at_once
from runtime.store.known import trust
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.cache import Layer
    from buildkit.remote_cache.contents import Blob
    from runtime.oci.image import Descriptor
    from runtime.registry.reference import Reference

_CHUNK = 1 << 20


def fetch_layers(
    store: Store,
    cache: Cache,
    layers: tuple[Layer, ...],
    wanted: frozenset[Compression],
    count: Count | None,
) -> str:
    """Bring layers into the store, verified; returns why not all are there, if so.

    What is compressed in a way that is `wanted` stays in the store as well: nobody has to do it
    again. Threads are at work until it returns, so whoever forks does this in a child. Raises
    StoreError.
    """
    total = sum(cache.contents.blobs[layer.diff_id].descriptor.size for layer in layers)
    progress = Progress(teller(count), total)
    try:
        with Workspace(store) as work:
            fetch = _Fetch(store, work, cache, wanted, progress)
            if cache.reference is None:
                fetch.from_directory(layers)
            else:
                fetch.from_registry(layers, cache.reference)
    except (RegistryError, ImageError) as error:
        return error.message
    except OSError as error:
        raise StoreError(f"{error.filename or store.root}: {error.strerror}") from error
    return ""


class _Fetch:
    def __init__(
        self,
        store: Store,
        work: Workspace,
        cache: Cache,
        wanted: frozenset[Compression],
        progress: Progress,
    ) -> None:
        self._store = store
        self._work = work
        self._cache = cache
        self._wanted = wanted
        self._progress = progress

    def from_directory(self, layers: tuple[Layer, ...]) -> None:
        members, stop = open_members(self._cache.source.place), Stop()

        def job(layer: Layer) -> Callable[[], None]:
            blob = self._blob(layer)

            def do() -> None:
                found = members.place(blob.descriptor)
                if blob.how in self._wanted:
                    found = self._copied(found, blob, layer)
                self._unpack(found, blob.descriptor, layer, stop)
                if blob.how in self._wanted:
                    self._keep(found.path, blob, layer)
                self._progress.set(layer.diff_id, blob.descriptor.size)

            return stop.set_by(do)

        at_once([job(layer) for layer in layers], stop)

    def from_registry(self, layers: tuple[Layer, ...], reference: Reference) -> None:
        from runtime.registry.blob_download import BlobDownload
        from runtime.registry.transport import Transport

        with Transport(reference) as transport:

            def job(layer: Layer) -> Callable[[], None]:
                blob = self._blob(layer)
                descriptor = blob.descriptor

                def show(size: int) -> None:
                    self._progress.set(layer.diff_id, size)

                def do() -> None:
                    if descriptor.is_plain_layer:
                        path = self._store.blob(descriptor.digest)
                        BlobDownload(transport, self._store, descriptor, show).run()
                        _check_size(path, descriptor, layer)
                        trust(self._store, path)
                        return
                    stays = blob.how in self._wanted
                    inflater = Inflater(self._store, self._aside(layer), descriptor, layer)
                    BlobDownload(
                        transport,
                        self._store,
                        descriptor,
                        show,
                        keep="" if stays else None,
                        taker=inflater,
                    ).run()
                    inflater.finish()
                    if stays:
                        self._keep(self._store.blob(descriptor.digest), blob, layer)

                return transport.stop.set_by(do)

            at_once([job(layer) for layer in layers], transport.stop)

    def _blob(self, layer: Layer) -> Blob:
        return self._cache.contents.blobs[layer.diff_id]

    def _aside(self, layer: Layer) -> str:
        return f"{self._work.path}/{layer.diff_id.hex}"

    def _copied(self, blob: BlobRange, about: Blob, layer: Layer) -> BlobRange:
        path = f"{self._aside(layer)}.compressed"
        with open(blob.path, "rb", buffering=0) as source, open(path, "xb", buffering=0) as made:
            source.seek(blob.offset)
            if copy_bytes(source.fileno(), made.fileno(), blob.size) < blob.size:
                raise ImageError(f"layer {about.descriptor.digest}: truncated")
            os.fsync(made.fileno())
        return BlobRange(path=path, offset=0, size=blob.size)

    def _keep(self, path: str, blob: Blob, layer: Layer) -> None:
        """Let a verified blob be what the layer is in that compression."""
        assert blob.how is not None
        os.rename(path, self._store.blob(blob.descriptor.digest))
        remember(self._store, layer, blob.how, blob.descriptor)

    def _unpack(self, blob: BlobRange, descriptor: Descriptor, layer: Layer, stop: Stop) -> None:
        """Write the tar that is in a blob into the store, verified."""
        where, path = f"layer {descriptor.digest}", self._aside(layer)
        with (
            LayerReader(blob, descriptor, layer.diff_id, where, threads=True) as source,
            open(path, "xb", buffering=0) as made,
        ):
            while piece := source.read(_CHUNK):
                stop.check()
                made.write(piece)
            source.finish()
            os.fsync(made.fileno())
        _check_size(path, descriptor, layer)
        os.rename(path, self._store.blob(layer.diff_id))
        trust(self._store, self._store.blob(layer.diff_id))


def _check_size(path: str, descriptor: Descriptor, layer: Layer) -> None:
    size, promised = os.stat(path).st_size, layer.descriptor.size
    if size != promised:
        raise ImageError(f"layer {descriptor.digest}: {size} bytes, the cache says {promised}")
