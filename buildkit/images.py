"""Base images: found by their names, their layers brought into the store."""

from __future__ import annotations

import hashlib
import os

from buildkit.cache import Layer
from buildkit.counting import Count
from buildkit.errors import BuildError
from buildkit.file_copy import copy_bytes
from buildkit.registry_images import MISSING, Puller
from runtime.errors import ImageError
from runtime.image.archive import Image
from runtime.image.blob import BlobRange
from runtime.image.source import LAYOUT, open_image, split_reference
from runtime.oci.image import Descriptor
from runtime.store.known import trust
from runtime.store.store import Store
from runtime.store.wholeness import is_whole
from runtime.store.workspace import Workspace

MISSING_ONES = Puller()
_PIECE = 16 << 20  # bytes that are copied before somebody may see it


def find_image(
    store: Store, name: str, context: str, platform: str = "", puller: Puller = MISSING_ONES
) -> Image:
    """The image that FROM names: a name in the store, an archive in the context, or a registry's.

    Of one for several platforms, that for `platform` is taken (empty: for this machine).
    What can only be a path (`./x`, `/x`, `x.tar`) is one; `oci-layout://` is followed by one.
    Raises BuildError that says where was looked, NetworkError, UsageError.
    """
    try:
        if name.startswith(LAYOUT):
            path = os.path.join(context, name.removeprefix(LAYOUT))
            return open_image(store, LAYOUT + path, platform)
    except ImageError as error:
        raise BuildError(error.message, hint=error.hint) from error
    path = name if os.path.isabs(name) else os.path.join(context, name)
    is_path = name.startswith((".", "/")) or name.endswith(".tar")
    named = os.path.exists(store.image_name(name)) and not is_path
    try:
        if named and not puller.asks_first:
            return _named(store, name, platform, puller)
        if not named and (os.path.isfile(path) or _is_in_archive(path)):
            return open_image(store, path, platform)
    except ImageError as error:
        raise BuildError(error.message, hint=error.hint) from error
    if is_path:
        raise BuildError(f"no image {name!r}: no such file in the context")
    return puller.find(store, name, platform)


def _named(store: Store, name: str, platform: str, puller: Puller) -> Image:
    """The image of a name in the store; the registry's if that is for another platform."""
    try:
        return puller.whole(store, name, platform)
    except ImageError:
        if not (platform and puller.policy == MISSING):
            raise
    return puller.find(store, name, platform)


def _is_in_archive(path: str) -> bool:
    """Whether it is ARCHIVE:NAME, one image of several."""
    archive, reference = split_reference(path)
    return bool(reference) and os.path.isfile(archive)


def are_there(store: Store, image: Image) -> bool:
    """Whether all layer blobs of an image are in the store, or are the store's own."""
    return not any(
        _is_missing(store, blob, layer)
        for blob, layer in zip(image.blobs, image.manifest.layers, strict=True)
    )


def _is_missing(store: Store, blob: BlobRange, layer: Descriptor) -> bool:
    # What is damaged is brought again, from elsewhere.
    return blob.path != store.blob(layer.digest) and not is_whole(store, layer)


def import_layers(
    store: Store, work: Workspace, image: Image, count: Count | None = None
) -> tuple[Layer, ...]:
    """Bring an image's layer blobs into the store, verified; returns the layers, lowest first."""
    layers = []
    counted = _Counted(count, sum(layer.size for layer in image.manifest.layers))
    for blob, descriptor, diff_id in zip(
        image.blobs, image.manifest.layers, image.config.diff_ids, strict=True
    ):
        if descriptor.is_plain_layer and descriptor.digest != diff_id:
            raise BuildError(
                f"{image.name}: layer {descriptor.digest}: diff_id is {descriptor.digest}, "
                f"config says {diff_id}"
            )
        if _is_missing(store, blob, descriptor):
            _import_blob(store, work, blob, descriptor, image.name, counted)
        layers.append(Layer(descriptor=descriptor, diff_id=diff_id))
    return tuple(layers)


class _Counted:
    """How many bytes of all are there."""

    def __init__(self, count: Count | None, total: int) -> None:
        self._count = count
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        """So many more."""
        self._done += size
        if self._count is not None:
            self._count.set(self._done, of=self._total)


def _import_blob(
    store: Store,
    work: Workspace,
    blob: BlobRange,
    descriptor: Descriptor,
    name: str,
    counted: _Counted,
) -> None:
    aside = f"{work.path}/blob-{descriptor.digest.hex}"
    with open(blob.path, "rb", buffering=0) as source, open(aside, "x+b", buffering=0) as target:
        source.seek(blob.offset)
        for left in range(blob.size, 0, -_PIECE):
            piece = min(left, _PIECE)
            if copy_bytes(source.fileno(), target.fileno(), piece) < piece:
                raise BuildError(f"{name}: layer {descriptor.digest}: truncated")
            counted.add(piece)
        target.seek(0)  # of the copy: whatever becomes of the archive, this is in the store
        found = f"sha256:{hashlib.file_digest(target, 'sha256').hexdigest()}"
        os.fsync(target.fileno())
    if found != descriptor.digest:
        raise BuildError(f"{name}: layer {descriptor.digest}: its digest is {found}")
    os.rename(aside, store.blob(descriptor.digest))
    trust(store, store.blob(descriptor.digest))


def image_names(store: Store) -> list[str]:
    """The names in the store, each with its tag."""
    quoted = sorted(os.listdir(f"{store.root}/images"))
    return [name.replace("%2F", "/").replace("%25", "%") for name in quoted]
