"""Whether a store holds what it says: every blob by its digest, every image, every record."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator

from buildkit.images import image_names
from runtime.errors import ImageError
from runtime.image.source import named_descriptor, named_images, stored_attestations
from runtime.oci.digest import Digest
from runtime.record import Record
from runtime.registry.origins import origins_of
from runtime.store.store import Store
from runtime.store.workspace import remove_tree

_SHA256 = 64  # characters


class Damage(Record):
    """Something that is not as it should be."""

    path: str
    what: str


def verify(store: Store) -> Iterator[Damage]:
    """Look at everything; every blob is read."""
    blobs = f"{store.root}/blobs/sha256"
    for name in sorted(os.listdir(blobs)):
        path = f"{blobs}/{name}"
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != name:
            what = f"its bytes have the digest sha256:{found}"
            yield Damage(path=path, what=f"{what}{_whence(store, name)}")
    for name in image_names(store):
        path = store.image_name(name)
        try:
            images = named_images(store, name)
            attested = stored_attestations(store, named_descriptor(store, name), name)
        except ImageError as error:
            yield Damage(path=path, what=error.message)
            continue
        for layer in (layer for image in images for layer in image.manifest.layers):
            if not os.path.exists(store.blob(layer.digest)):
                what = f"{name}: layer {layer.digest}: missing from the store"
                yield Damage(path=path, what=what)
        for manifest in attested.values():
            for blob in (manifest.config, *manifest.layers):
                if not os.path.exists(store.blob(blob.digest)):
                    what = f"{name}: of an attestation: {blob.digest}: missing from the store"
                    yield Damage(path=path, what=what)
    yield from _records(store)
    for name in sorted(os.listdir(f"{store.root}/layers")):
        if not os.path.isdir(f"{store.root}/layers/{name}/fs"):
            yield Damage(path=f"{store.root}/layers/{name}", what="it has no files")


def _whence(store: Store, name: str) -> str:
    """Who has a blob, for somebody who wants it again."""
    try:
        origins = origins_of(store, Digest.parse(f"sha256:{name}"))
    except ImageError:  # not a name of ours
        return ""
    return f"; {origins[0].name} has it: a build or `pybuild pull` fetches it" if origins else ""


def repair(damage: Damage) -> None:
    """Remove what is damaged: a step is done again when it is needed, an image loses its name."""
    if os.path.isdir(damage.path):
        remove_tree(damage.path)
    elif os.path.lexists(damage.path):
        os.unlink(damage.path)


def _records(store: Store) -> Iterator[Damage]:
    for name in sorted(os.listdir(f"{store.root}/cache")):
        if len(name) != _SHA256:
            continue
        path = f"{store.root}/cache/{name}"
        try:
            with open(path, "rb") as file:
                layer = json.load(file)["layer"]
            if layer is not None and not isinstance(layer["size"], int):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            yield Damage(path=path, what="not a record of a step")
