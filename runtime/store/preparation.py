"""The root filesystem of an image that is not known yet: mounted where it lies, or unpacked."""

from __future__ import annotations

import os

from runtime.erofs.inplace import find_index, places_of, refusal
from runtime.errors import ImageError
from runtime.oci.digest import chain_ids
from runtime.store.checking import Checking
from runtime.store.inflating import plain_layer
from runtime.store.known import ALWAYS, AUTO, INPLACE, UNPACK, is_trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.erofs.lower import Index
    from runtime.image.archive import Image
    from runtime.image.blob import StoredLayer
    from runtime.store.store import Store


def prepare(store: Store, image: Image, *, rootfs: str, verify: str) -> tuple[str | Index, ...]:
    """What an overlay lies over: an index of the image's layers, or their directories.

    In place by choice or, with `auto`, where this machine can and the layers are not unpacked yet.
    Raises ImageError or StoreError.
    """
    kind, why = choose(store, image, rootfs)
    if kind == UNPACK and rootfs == INPLACE:
        raise ImageError(f"{image.name}: cannot be mounted in place: {why}")
    if kind == UNPACK:
        return store.layers_of(image)
    try:
        return (_mounted(store, image, verify),)
    except ImageError as error:
        if rootfs == INPLACE:
            raise
        reason = error
    # What is wrong with the image, unpacking says as well.
    try:
        return store.layers_of(image)
    except ImageError:
        raise reason from None


def choose(store: Store, image: Image, rootfs: str) -> tuple[str, str]:
    """INPLACE or UNPACK, and why: what a start will try first. Nothing is done."""
    if rootfs == UNPACK:
        return UNPACK, "--rootfs=unpack"
    if why := refusal():
        return UNPACK, why
    if rootfs == AUTO and _is_unpacked(store, image):
        return UNPACK, "its layers are in the store, unpacked"
    return INPLACE, "root, and a kernel that mounts it without unpacking"


def _is_unpacked(store: Store, image: Image) -> bool:
    return all(os.path.isdir(store.layer(chain)) for chain in chain_ids(image.config.diff_ids))


def _mounted(store: Store, image: Image, verify: str) -> Index:
    plain = [plain_layer(store, layer) for layer in image.layers]
    places = places_of(plain)
    unsure: Sequence[StoredLayer] = ()
    if verify == ALWAYS:
        unsure = image.layers
    elif verify == AUTO:
        unsure = [layer for layer in plain if not is_trusted(store, layer.blob.path)]
    checking = Checking(unsure) if unsure else None
    try:
        index = find_index(store, plain, places)
        try:
            os.close(index.open())  # the proof that it can be
        except OSError as error:
            message = f"{image.name}: cannot be mounted in place: {error.strerror}"
            raise ImageError(message) from error
    finally:
        if checking is not None:
            checking.finish()
    return index
