"""Making the index of an image's layers, in the store, where they can be mounted in place.

indexes/<hex>    the index of some layers at some places; the name is a digest of both
"""

from __future__ import annotations

import marshal
import os

from runtime.erofs.header import BLOCK
from runtime.erofs.lower import Index, Place, size_of
from runtime.erofs.mount import LOOP_CONTROL
from runtime.errors import ImageError, StoreError
from runtime.oci.digest import digest_of
from runtime.sandbox.kernel import read_version
from runtime.sandbox.userns import in_user_namespace
from runtime.store.identity import identity_of
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.image.blob import StoredLayer
    from runtime.store.store import Store

FORMAT = 1  # part of every name: raised when the same layers would have another index
_SINCE = (6, 4)  # Linux whose EROFS knows blocks of 512 bytes
_WITHOUT_LOOP = (6, 12)  # Linux that mounts files as they are


def refusal() -> str:
    """Why no image can be mounted in place here; empty if nothing speaks against it."""
    if os.geteuid() != 0 or in_user_namespace():
        return "only root outside of user namespaces may mount it"
    release = os.uname().release
    version = read_version(release) or (0, 0)
    if version < _SINCE:
        return f"Linux {release} cannot, 6.4 can"
    if version < _WITHOUT_LOOP and not os.access(LOOP_CONTROL, os.W_OK):
        return f"Linux {release} needs loop devices, and there is no {LOOP_CONTROL}"
    return ""


def places_of(layers: Sequence[StoredLayer]) -> dict[str, Place]:
    """The files that plain layers are in, by the paths of their blobs.

    Raises ImageError for one that cannot be mounted: it does not begin where a block does.
    """
    places: dict[str, Place] = {}
    for layer in layers:
        blob = layer.blob
        if blob.size != layer.descriptor.size:
            sizes = f"size is {blob.size} bytes, manifest says {layer.descriptor.size}"
            raise ImageError(f"{layer.where}: {sizes}")
        if blob.offset % BLOCK:
            raise ImageError(f"{layer.where}: begins at byte {blob.offset}, within a block")
        if blob.path not in places:
            path = os.path.realpath(blob.path)
            try:
                places[blob.path] = Place(path=path, identity=identity_of(path))
            except OSError as error:
                raise ImageError(f"{layer.where}: {path}: {error.strerror}") from error
    return places


def find_index(store: Store, layers: Sequence[StoredLayer], places: dict[str, Place]) -> Index:
    """The index of plain layers, lowest first, made if it is missing; nothing is verified.

    Raises ImageError for what is no layer, StoreError where there is no room.
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
    content = _make(layers, list(places))
    try:
        with Workspace(store) as work:
            # Not synced: after a power cut it is not what its first block says, and is made again.
            with open(f"{work.path}/index", "wb") as file:
                file.write(content)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(f"{work.path}/index", path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return Index(path=path, size=len(content), places=devices)


def _make(layers: Sequence[StoredLayer], devices: list[str]) -> bytes:
    from runtime.erofs.tree import Tree
    from runtime.erofs.writer import write_index
    from runtime.image.tar import FileStream

    tree = Tree()
    for layer in layers:
        blob = layer.blob
        with open(blob.path, "rb", buffering=0) as file:
            stream = FileStream(file.fileno(), layer.where, start=blob.offset, size=blob.size)
            tree.add(stream, devices.index(blob.path), layer.where)
    return write_index(tree.root, [os.stat(device).st_size for device in devices])
