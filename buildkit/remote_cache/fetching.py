"""Layers of caches elsewhere, brought into the store as they were there before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from buildkit.counting import Count, teller
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
    from runtime.oci.image import Descriptor

_CHUNK = 1 << 20


def fetch_layers(
    store: Store, cache: Cache, layers: tuple[Layer, ...], count: Count | None
) -> str:
    """Bring layers into the store, verified; returns why not all are there, if so.

    Threads are at work until it returns, so whoever forks does this in a child. Raises StoreError.
    """
    blobs = {layer.diff_id: cache.contents.blobs[layer.diff_id] for layer in layers}
    progress = Progress(teller(count), sum(blob.size for blob in blobs.values()))
    try:
        with Workspace(store) as work:
            if cache.reference is None:
                _take_files(store, work, cache, layers, progress)
            else:
                _fetch_blobs(store, work, cache, layers, progress)
    except (RegistryError, ImageError) as error:
        return error.message
    except OSError as error:
        raise StoreError(f"{error.filename or store.root}: {error.strerror}") from error
    return ""


def _take_files(
    store: Store, work: Workspace, cache: Cache, layers: tuple[Layer, ...], progress: Progress
) -> None:
    members = open_members(cache.source.place)
    stop = Stop()

    def job(layer: Layer) -> Callable[[], None]:
        descriptor = cache.contents.blobs[layer.diff_id]

        def do() -> None:
            _unpack(store, work, members.place(descriptor), descriptor, layer, stop)
            progress.set(layer.diff_id, descriptor.size)

        return stop.set_by(do)

    at_once([job(layer) for layer in layers], stop)


def _fetch_blobs(
    store: Store, work: Workspace, cache: Cache, layers: tuple[Layer, ...], progress: Progress
) -> None:
    from runtime.registry.blob_download import BlobDownload
    from runtime.registry.transport import Transport

    assert cache.reference is not None
    with Transport(cache.reference) as transport:

        def job(layer: Layer) -> Callable[[], None]:
            descriptor = cache.contents.blobs[layer.diff_id]

            def show(size: int) -> None:
                progress.set(layer.diff_id, size)

            def do() -> None:
                if descriptor.is_plain_layer:
                    path = store.blob(descriptor.digest)
                    BlobDownload(transport, store, descriptor, show).run()
                    _check_size(path, descriptor, layer)
                    trust(store, path)
                    return
                # What is compressed is of no use afterwards.
                inflater = Inflater(store, f"{work.path}/{layer.diff_id.hex}", descriptor, layer)
                BlobDownload(transport, store, descriptor, show, taker=inflater).run()
                inflater.finish()

            return transport.stop.set_by(do)

        at_once([job(layer) for layer in layers], transport.stop)


def _unpack(
    store: Store,
    work: Workspace,
    blob: BlobRange,
    descriptor: Descriptor,
    layer: Layer,
    stop: Stop,
) -> None:
    """Write the tar that is in a blob into the store, verified."""
    where = f"layer {descriptor.digest}"
    path = f"{work.path}/{layer.diff_id.hex}"
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
    os.rename(path, store.blob(layer.diff_id))
    trust(store, store.blob(layer.diff_id))


def _check_size(path: str, descriptor: Descriptor, layer: Layer) -> None:
    size, promised = os.stat(path).st_size, layer.descriptor.size
    if size != promised:
        raise ImageError(f"layer {descriptor.digest}: {size} bytes, the cache says {promised}")
