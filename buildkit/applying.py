"""The layers below a step as directories, for what is mounted over them or looks at them.

A layer that was written without a directory (`copy_to_layer`), or that lost it, has only its blob;
a directory is made of that when a step is to be done over it, and not before. The layers of a base
image are not even then unpacked where they can be mounted in place (`runtime.erofs`).
"""

from __future__ import annotations

import os

from buildkit.cache import Layer, alone
from buildkit.errors import BuildError
from buildkit.state import State
from runtime.erofs.inplace import find_index, places_of, refusal
from runtime.errors import ImageError
from runtime.image.blob import BlobRange, StoredLayer
from runtime.oci.digest import ChainID, chain_ids
from runtime.sandbox import syscalls
from runtime.sandbox.rootfs import attach, make_private
from runtime.store.inflating import plain_layer
from runtime.store.known import is_trusted, trust
from runtime.store.store import Store
from runtime.store.workspace import Workspace

_MOUNTS = "base-"  # what names of mounts in a workspace begin with


def apply_layers(store: Store, state: State, work: Workspace) -> tuple[str, ...]:
    """Make sure that all layers can be seen; returns their directories, highest first.

    A base image may be one directory: a mount in the workspace, to be removed by `unmount_bases`.
    Then this process has a mount namespace of its own. Raises BuildError for a damaged blob.
    """
    chains = chain_ids(state.diff_ids)
    lowers = _base(store, state, chains, work)
    first = state.based if lowers else 0
    for layer, chain_id in zip(state.layers[first:], chains[first:], strict=True):
        place = store.layer(chain_id)
        if not os.path.isdir(place):
            with alone(store, f"apply-{chain_id.hex}"):
                if not os.path.isdir(place):  # who had the lock before may have made it
                    _apply(store, layer, chain_id, lowers)
        lowers = (place, *lowers)
    return lowers


def unmount_bases(work: Workspace) -> None:
    """Unmount what `apply_layers` has mounted in a workspace."""
    for name in os.listdir(work.path):
        if name.startswith(_MOUNTS) and os.path.ismount(f"{work.path}/{name}"):
            syscalls.umount2(f"{work.path}/{name}", syscalls.MNT_DETACH)


def _base(
    store: Store, state: State, chains: tuple[ChainID, ...], work: Workspace
) -> tuple[str, ...]:
    """The base image as one mount; nothing if it is unpacked, or has to be."""
    base = state.layers[: state.based]
    if refusal() or all(os.path.isdir(store.layer(chain)) for chain in chains[: len(base)]):
        return ()
    place = f"{work.path}/{_MOUNTS}{chains[len(base) - 1].hex}"
    if os.path.isdir(place):
        return (place,)
    try:
        layers = [plain_layer(store, stored_layer(store, layer)) for layer in base]
        for layer in layers:
            if not is_trusted(store, layer.blob.path):  # changed since it came into the store
                layer.verify()
                trust(store, layer.blob.path)
        mounted = find_index(store, layers, places_of(layers)).open()
    except (ImageError, OSError):  # a kernel or filesystem that cannot; or unpacking will say it
        return ()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    os.mkdir(place)
    attach(mounted, place)
    return (place,)


def _apply(store: Store, layer: Layer, chain_id: ChainID, lowers: tuple[str, ...]) -> None:
    try:
        store.apply(stored_layer(store, layer), chain_id, lowers)
    except ImageError as error:
        hint = "pybuild verify-store --repair, then the step is done again"
        raise BuildError(error.message, hint=hint) from error


def stored_layer(store: Store, layer: Layer) -> StoredLayer:
    """A layer by its blob."""
    descriptor = layer.descriptor
    path = store.blob(descriptor.digest)
    return StoredLayer(
        blob=BlobRange(path=path, offset=0, size=descriptor.size),
        descriptor=descriptor,
        diff_id=layer.diff_id,
        where=f"layer {descriptor.digest}",
    )
