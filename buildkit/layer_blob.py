"""A layer's blob: written in a workspace, then given its name in the store."""

from __future__ import annotations

import os
from collections.abc import Callable

from buildkit.cache import Layer
from buildkit.changeset import Packed
from buildkit.tarwriter import write_file
from runtime.oci.image import LAYER, Descriptor
from runtime.store.known import trust
from runtime.store.store import Store
from runtime.store.workspace import Workspace

_NAME = "blob"  # in the workspace


def write_blob(work: Workspace, write: Callable[[int], Packed]) -> Packed:
    """Have a layer packed into the workspace's file for it."""
    packed: Packed | None = None

    def write_it(fd: int) -> None:
        nonlocal packed
        packed = write(fd)

    write_file(f"{work.path}/{_NAME}", write_it)
    assert packed is not None
    return packed


def keep_blob(store: Store, work: Workspace, packed: Packed) -> Layer | None:
    """Bring what was written into the store; None for a layer that nothing is in."""
    blob = f"{work.path}/{_NAME}"
    if packed.entries == 0:
        os.unlink(blob)
        return None
    os.rename(blob, store.blob(packed.diff_id))
    trust(store, store.blob(packed.diff_id))
    return Layer(
        descriptor=Descriptor(media_type=LAYER, digest=packed.diff_id, size=packed.size),
        diff_id=packed.diff_id,
    )
