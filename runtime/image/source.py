"""Finding the image that a user names: an archive by its path, or a name in the store."""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image.archive import Image, open_archive
from runtime.image.blob import BlobRange
from runtime.image.index import (
    all_manifests,
    attestation_manifests,
    check_platform,
    choose_manifest,
)
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import INDEX, Descriptor, ImageConfig, Manifest, canonical_media_type
from runtime.oci.reader import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.store.store import Store

LAYOUT = "oci-layout://"  # then DIRECTORY[:TAG|@DIGEST], as BuildKit has it


def open_image(store: Store, name: str, platform: str = "") -> Image:
    """Open an archive, a layout or a named image; a file wins over a name if it exists.

    Where neither is there, `FILE:NAME` is an image of an archive. Of an image for several
    platforms this machine's is taken, or that for `platform`. Raises ImageError that says where
    was looked.
    """
    path, reference = find_archive(store, name)
    if not path:
        return named_image(store, name, platform)
    image = open_archive(path, reference, platform, room=f"{store.root}/tmp")
    return image.replace(name=name) if reference or name.startswith(LAYOUT) else image


def find_archive(store: Store, name: str) -> tuple[str, str]:
    """The archive or layout that a user means, and which image of it; empty for a name of the
    store. Raises ImageError if there is none of these.
    """
    if name.startswith(LAYOUT):
        return split_reference(name.removeprefix(LAYOUT))
    if os.path.exists(name):
        return name, ""
    if os.path.exists(store.image_name(name)):
        return "", ""
    path, reference = split_reference(name)
    if reference and (os.path.isfile(path) or os.path.exists(f"{path}/index.json")):
        return path, reference
    raise ImageError(
        f"{name}: no such file, and no image of that name in {store.root}",
        hint="pybuild -t NAME makes a name, pybuild -o image.tar a file",
    )


def split_reference(layout: str) -> tuple[str, str]:
    """A path and what follows it: `PATH:TAG`, `PATH:NAME:TAG` or `PATH@DIGEST`."""
    # A name may have slashes and a tag; then the path is what is there.
    for at, mark in enumerate(layout):
        if mark == ":" and os.path.exists(layout[:at]):
            return layout[:at], layout[at + 1 :]
    for mark in "@:":
        path, found, reference = layout.rpartition(mark)
        if found and "/" not in reference:
            # After @ is a digest, which has a colon.
            return path, reference
    return layout, ""


def named_image(store: Store, name: str, platform: str = "") -> Image:
    """Open an image by its name in the store, which must exist."""
    return described_image(store, named_descriptor(store, name), name, platform)


def described_image(store: Store, descriptor: Descriptor, name: str, platform: str = "") -> Image:
    """Open an image of the store by its descriptor; `name` is for messages."""
    if canonical_media_type(descriptor.media_type) == INDEX:
        where, read = f"{name}: index {descriptor.digest}", _reader(store, name)
        descriptor = choose_manifest(read(descriptor), where, read, platform=platform)
    image = stored_image(store, descriptor, name)
    check_platform(image.platform, platform, name)
    return image


def named_images(store: Store, name: str) -> tuple[Image, ...]:
    """Open the image of a name for each of its platforms."""
    manifests = stored_manifests(store, named_descriptor(store, name), name)
    return tuple(stored_image(store, manifest, name) for manifest in manifests)


def stored_manifests(store: Store, descriptor: Descriptor, name: str) -> tuple[Descriptor, ...]:
    """The manifests of a named image: one for each platform; raises ImageError."""
    if canonical_media_type(descriptor.media_type) != INDEX:
        return (descriptor,)
    where, read = f"{name}: index {descriptor.digest}", _reader(store, name)
    return tuple(all_manifests(read(descriptor), where, read))


def stored_attestations(
    store: Store, descriptor: Descriptor, name: str
) -> dict[Descriptor, Manifest]:
    """What is attested of a named image, by its descriptors; raises ImageError.

    An image that came from elsewhere need not have brought what its index lists.
    """
    if canonical_media_type(descriptor.media_type) != INDEX:
        return {}
    where, read = f"{name}: index {descriptor.digest}", _reader(store, name)
    found = {}
    for attestation in attestation_manifests(read(descriptor), where):
        where = f"{name}: attestation {attestation.digest}"
        if os.path.exists(store.blob(attestation.digest)):
            manifest = verified_blob(store, attestation.digest, where)
            found[attestation] = Manifest.from_json(manifest, where)
    return found


def stored_image(store: Store, descriptor: Descriptor, name: str) -> Image:
    """Open an image of the store by its manifest's descriptor."""
    where = f"{name}: manifest {descriptor.digest}"
    manifest = Manifest.from_json(verified_blob(store, descriptor.digest, where), where)
    where = f"{name}: config {manifest.config.digest}"
    config = ImageConfig.from_json(verified_blob(store, manifest.config.digest, where), where)
    blobs = tuple(
        BlobRange(path=store.blob(layer.digest), offset=0, size=layer.size)
        for layer in manifest.layers
    )
    return Image(
        name=name, manifest=manifest, config=config, blobs=blobs, digest=descriptor.digest
    )


def named_descriptor(store: Store, name: str) -> Descriptor:
    """What a name in the store stands for, which must exist.

    Raises ImageError for a damaged record.
    """
    record = store.image_name(name)
    with open(record, "rb") as file:
        return Descriptor.from_json(parse_json(file.read(), record), record)


def _reader(store: Store, name: str) -> Callable[[Descriptor], bytes]:
    def read(descriptor: Descriptor) -> bytes:
        return verified_blob(store, descriptor.digest, f"{name}: {descriptor.digest}")

    return read


def verified_blob(store: Store, digest: Digest, where: str) -> bytes:
    """The content of a document in the store; raises ImageError."""
    try:
        with open(store.blob(digest), "rb") as file:
            document = file.read()
    except FileNotFoundError:
        raise ImageError(f"{where}: missing from the store") from None
    found = digest_of(document)
    if found != digest:
        raise ImageError(f"{where}: its bytes have the digest {found}")
    return document
