"""Making the index of an image's layers, in the store, where they can be mounted in place.

indexes/<hex>    the index of some layers at some places; the name is a digest of both
"""

from __future__ import annotations

import marshal
import os

from runtime.erofs.lower import Index, Place, size_of
from runtime.errors import ImageError
from runtime.oci.digest import digest_of
from runtime.oci.image import LAYER, canonical_media_type
from runtime.record import Record
from runtime.sandbox.userns import in_user_namespace
from runtime.store.identity import identity_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.image.archive import Image
    from runtime.image.blob import BlobRange
    from runtime.oci.digest import DiffID
    from runtime.oci.image import Descriptor
    from runtime.store.store import Store

FORMAT = 1  # part of every name: raised when the same layers would have another index
_SINCE = (6, 12)  # Linux that mounts an index and its devices without a loop device


def refusal() -> str:
    """Why no image can be mounted in place here; empty if nothing speaks against it."""
    if os.geteuid() != 0 or in_user_namespace():
        return "only root outside of user namespaces may mount it"
    release = os.uname().release
    if tuple(int(n) for n in release.split("-")[0].split(".")[:2]) < _SINCE:
        return f"Linux {release} cannot, 6.12 can"
    return ""


class Stored(Record):
    """A layer, and where its bytes are."""

    blob: BlobRange
    descriptor: Descriptor
    diff_id: DiffID


def layers_of(image: Image) -> tuple[Stored, ...]:
    """The layers of an image, lowest first."""
    parts = zip(image.blobs, image.manifest.layers, image.config.diff_ids, strict=True)
    return tuple(
        Stored(blob=blob, descriptor=descriptor, diff_id=diff_id)
        for blob, descriptor, diff_id in parts
    )


def places_of(layers: Sequence[Stored], name: str) -> dict[str, Place]:
    """The files that the layers of what errors call `name` are in, by the paths of their blobs.

    Raises ImageError where they cannot be mounted: compressed, or not at a block's beginning.
    """
    places: dict[str, Place] = {}
    for number, layer in enumerate(layers, 1):
        blob, descriptor = layer.blob, layer.descriptor
        where = f"{name}: layer {number} ({descriptor.digest})"
        if blob.size != descriptor.size:
            sizes = f"size is {blob.size} bytes, manifest says {descriptor.size}"
            raise ImageError(f"{where}: {sizes}")
        if canonical_media_type(descriptor.media_type) != LAYER:
            raise ImageError(f"{where}: is compressed")
        if blob.offset % 512:
            raise ImageError(f"{where}: begins at byte {blob.offset}, within a block")
        if blob.path not in places:
            path = os.path.realpath(blob.path)
            try:
                places[blob.path] = Place(path=path, identity=identity_of(path))
            except OSError as error:
                raise ImageError(f"{where}: {path}: {error.strerror}") from error
    return places


def find_index(
    store: Store, layers: Sequence[Stored], places: dict[str, Place], name: str
) -> Index:
    """The index of layers, lowest first, made if it is missing; nothing is verified.

    Raises ImageError for what is no layer.
    """
    devices = tuple(places.values())
    named = [(place.path, place.identity) for place in devices]
    ranges = [
        (layer.blob.path, layer.blob.offset, layer.blob.size, str(layer.diff_id))
        for layer in layers
    ]
    key = digest_of(marshal.dumps((FORMAT, named, ranges), 2)).hex
    path = f"{store.root}/indexes/{key}"
    if size := size_of(path):
        return Index(path=path, size=size, places=devices)
    content = _make(layers, list(places), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{os.getpid()}"
    # Not synced: after a power cut it is not what its first block says, and is made again.
    with open(aside, "wb") as file:
        file.write(content)
    os.rename(aside, path)
    return Index(path=path, size=len(content), places=devices)


def _make(layers: Sequence[Stored], devices: list[str], name: str) -> bytes:
    from runtime.erofs.tree import Tree
    from runtime.erofs.writer import write_index
    from runtime.image.tar import FileStream

    tree = Tree()
    for number, layer in enumerate(layers, 1):
        where = f"{name}: layer {number} ({layer.descriptor.digest})"
        blob = layer.blob
        fd = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            stream = FileStream(fd, where, start=blob.offset, size=blob.size)
            tree.add(stream, devices.index(blob.path), where)
        finally:
            os.close(fd)
    return write_index(tree.root, [os.stat(device).st_size for device in devices])
