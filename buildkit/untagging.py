"""Taking an image's name away, and with its last one what only it needed."""

from __future__ import annotations

import os

from buildkit.inventory import inventory, named_images, needs_of
from buildkit.locks import try_lock
from buildkit.pruning import remove_item
from runtime.oci.image import Descriptor
from runtime.record import Record
from runtime.store.store import Store


class Removed(Record):
    """What became of an image that has lost its last name."""

    count: int = 0  # of blobs, layers and records
    size: int = 0  # bytes on the disk
    in_use: bool = False  # somebody uses the store: it stays until it is pruned


def untag(store: Store, name: str) -> None:
    """Take a name away, which must exist."""
    os.unlink(store.image_name(name))


def remove_unnamed(store: Store, descriptor: Descriptor) -> Removed | None:
    """Remove what only an image without a name needed; None if it still has one.

    What a step of a build led to stays, for builds; `prune` removes it. Raises OSError.
    """
    if any(left == descriptor for _, left in named_images(store)):
        return None
    if not try_lock(store.lock):
        return Removed(in_use=True)
    try:
        needed = needs_of(store, str(descriptor.digest), descriptor)
        order = {name: number for number, name in enumerate(needed)}
        loose = [item for item in inventory(store) if not item.held and not item.recorded]
        items = [item for item in loose if os.path.basename(item.path) in order]
        # A layer goes before what lies below it, as in `prune`.
        for item in sorted(items, key=lambda item: -order[os.path.basename(item.path)]):
            remove_item(store, item.path)
        return Removed(count=len(items), size=sum(item.size for item in items))
    finally:
        try_lock(store.lock, shared=True)
