"""The images that have a name in the store, and finding one by its name or id."""

from __future__ import annotations

import os

from buildkit.errors import BuildError
from buildkit.images import image_names
from runtime.errors import ImageError
from runtime.image.archive import Image
from runtime.image.source import named_descriptor, stored_image, stored_manifests
from runtime.oci.digest import Digest
from runtime.oci.image import Descriptor
from runtime.record import Record
from runtime.store.store import Store

_HEX = frozenset("0123456789abcdef")


class MissingImage(BuildError):
    """There is no image of a name or id."""


class KnownImage(Record):
    """What one or more names stand for."""

    names: tuple[str, ...]  # each with its tag; sorted
    descriptor: Descriptor  # of its manifest, or of an index
    images: tuple[Image, ...]  # one for each platform

    @property
    def id(self) -> Digest:
        """The digest of its configuration; of its index if it is for several platforms."""
        if len(self.images) == 1:
            return self.images[0].manifest.config.digest
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """Bytes of all its layers as they are stored, shared ones once."""
        layers = {la.digest: la.size for image in self.images for la in image.manifest.layers}
        return sum(layers.values())


def known_images(store: Store) -> tuple[tuple[KnownImage, ...], tuple[ImageError, ...]]:
    """All of them, by their first names, and what is wrong with those that cannot be read."""
    names: dict[Descriptor, list[str]] = {}
    damages = []
    for name in image_names(store):
        try:
            names.setdefault(named_descriptor(store, name), []).append(name)
        except FileNotFoundError:  # untagged meanwhile
            continue
        except ImageError as error:
            damages.append(error)
    found = []
    for descriptor, those in names.items():
        try:
            found.append(_known(store, those, descriptor))
        except ImageError as error:
            damages.append(error)
    return tuple(sorted(found, key=lambda image: image.names)), tuple(damages)


def find_known(store: Store, word: str) -> KnownImage:
    """The image of a name, or of an id: the beginning of a digest.

    Raises MissingImage, BuildError if there is more than one, ImageError if it is damaged.
    """
    if os.path.exists(store.image_name(word)):
        descriptor = named_descriptor(store, word)
        same = [n for n in image_names(store) if _stands_for(store, n, descriptor)]
        return _known(store, same, descriptor)
    beginning = word.removeprefix("sha256:")
    if beginning and set(beginning) <= _HEX:
        images, _ = known_images(store)
        found = [
            image
            for image in images
            if any(d.hex.startswith(beginning) for d in (image.id, image.descriptor.digest))
        ]
        if len(found) > 1:
            ids = ", ".join(f"{image.id.hex[:12]} ({image.names[0]})" for image in found)
            raise BuildError(f"{word}: the beginning of several ids: {ids}")
        if found:
            return found[0]
    raise MissingImage(
        f"{word}: no image of that name or id in {store.root}", hint="pybuild images lists them"
    )


def _known(store: Store, names: list[str], descriptor: Descriptor) -> KnownImage:
    manifests = stored_manifests(store, descriptor, names[0])
    images = tuple(stored_image(store, manifest, names[0]) for manifest in manifests)
    return KnownImage(names=tuple(sorted(names)), descriptor=descriptor, images=images)


def _stands_for(store: Store, name: str, descriptor: Descriptor) -> bool:
    try:
        return named_descriptor(store, name) == descriptor
    except (FileNotFoundError, ImageError):  # of another name: `known_images` tells
        return False
