"""Compressed layers as plain ones, in the store: what is to be mounted in place must be plain."""

from __future__ import annotations

import os

from runtime.errors import StoreError
from runtime.image.blob import BlobRange
from runtime.oci.image import LAYER, Descriptor
from runtime.store.known import trust
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.blob import StoredLayer
    from runtime.store.store import Store

_CHUNK = 1 << 20


def plain_layer(store: Store, layer: StoredLayer) -> StoredLayer:
    """The layer itself, or its uncompressed form among the store's blobs, made if it is missing.

    So is one of a file that ends with this process. What is made is verified. Raises ImageError or
    StoreError.
    """
    if layer.descriptor.is_plain_layer and layer.blob.lasts:
        return layer
    path = store.blob(layer.diff_id)
    if not os.path.exists(path):
        with Workspace(store) as work:
            aside = f"{work.path}/plain"
            try:
                inflate(layer, aside)
                _sync(aside)
            except OSError as error:
                raise StoreError(f"{layer.where}: {error.strerror}") from error
            os.rename(aside, path)
        trust(store, path)
    size = os.stat(path).st_size
    return layer.replace(
        blob=BlobRange(path=path, offset=0, size=size),
        descriptor=Descriptor(media_type=LAYER, digest=layer.diff_id, size=size),
    )


def inflate(layer: StoredLayer, path: str) -> None:
    """Write the uncompressed form of a layer to a new file, and verify it; raises OSError too."""
    with layer.reader(threads=True) as reader, open(path, "xb", buffering=0) as file:
        while piece := reader.read(_CHUNK):
            file.write(piece)
        reader.finish()


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
