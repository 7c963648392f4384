"""The directories of layers, for steps that need a root filesystem over them.

A layer that was written without one (`copy_to_layer`), or whose directory was lost, has only its
blob; its directory is made of that when something is to be mounted over it, and not before.
"""

from __future__ import annotations

import os

from buildkit.cache import alone
from buildkit.errors import BuildError
from buildkit.state import State
from runtime.errors import ImageError
from runtime.image.blob import BlobRange
from runtime.oci.digest import chain_ids
from runtime.store.store import Store


def apply_layers(store: Store, state: State) -> tuple[str, ...]:
    """Make sure that the directory of every layer is there; returns them, highest first.

    Raises BuildError for a blob that is damaged.
    """
    lowers: tuple[str, ...] = ()
    for layer, chain_id in zip(state.layers, chain_ids(state.diff_ids), strict=True):
        place = store.layer(chain_id)
        if not os.path.isdir(place):
            with alone(store, f"apply-{chain_id.hex}"):
                if not os.path.isdir(place):  # who had the lock before may have made it
                    path = store.blob(layer.descriptor.digest)
                    blob = BlobRange(path=path, offset=0, size=layer.descriptor.size)
                    where = f"layer {layer.descriptor.digest}"
                    try:
                        store.apply(blob, layer.descriptor, layer.diff_id, chain_id, lowers, where)
                    except ImageError as error:
                        hint = "pybuild verify-store --repair, then the step is done again"
                        raise BuildError(error.message, hint=hint) from error
        lowers = (place, *lowers)
    return lowers
