"""Opening an image archive: OCI layout and docker archive in one tar, or either alone; or an OCI
layout that is a directory (image-layout.md).

Documents are read and verified, and layers are handed on as ranges of files (`members`).
"""

from __future__ import annotations

from runtime.errors import ImageError
from runtime.image.blob import BlobRange, StoredLayer
from runtime.image.docker_view import (
    MANIFEST_JSON,
    DockerEntry,
    check_same,
    docker_entries,
    docker_image,
)
from runtime.image.index import SEVERAL, all_manifests, check_platform, choose_manifest
from runtime.image.members import Members, open_members
from runtime.oci.digest import Digest
from runtime.oci.image import ImageConfig, Manifest
from runtime.oci.platform import platform_text
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.image import Descriptor

INDEX_JSON = "index.json"


class Image(Record):
    """An image that can be run: its documents, verified, and where its layers' bytes are.

    Layers are verified when they are applied (`blob.LayerReader`).
    """

    name: str  # how errors call it
    manifest: Manifest
    config: ImageConfig
    blobs: tuple[BlobRange, ...]  # the layers, lowest first
    digest: Digest  # of its manifest; of its configuration where it has none (docker save)

    @property
    def layers(self) -> tuple[StoredLayer, ...]:
        """The layers, lowest first."""
        parts = zip(self.blobs, self.manifest.layers, self.config.diff_ids, strict=True)
        return tuple(
            StoredLayer(
                blob=blob,
                descriptor=descriptor,
                diff_id=diff_id,
                where=f"{self.name}: layer {number} ({descriptor.digest})",
            )
            for number, (blob, descriptor, diff_id) in enumerate(parts, 1)
        )

    @property
    def platform(self) -> str:
        """What it is made for; empty if it does not say."""
        return platform_text(self.config.os, self.config.architecture, self.config.variant)


def open_archive(path: str, reference: str = "", platform: str = "", *, room: str = "") -> Image:
    """Read an image of an archive or a layout; raises ImageError naming it and the member.

    `reference` takes one of several: its name, its tag or its digest. Of an image for several
    platforms this machine's is taken, or that for `platform`. `room` is where what is compressed
    as a whole goes (`members.open_members`).
    """
    return chosen_image(open_members(path, room=room), reference, platform)


def chosen_image(members: Members, reference: str = "", platform: str = "") -> Image:
    """The same of an archive whose members are known."""
    if INDEX_JSON in members:
        image = _oci_image(members, reference, platform)
    elif MANIFEST_JSON in members:
        image = _docker_image(members, reference)
    else:
        raise no_image(members)
    check_platform(image.platform, platform, members.name)
    return image


def no_image(members: Members) -> ImageError:
    """What to say of an archive without either view."""
    hint = "a plain root filesystem can become an image: FROM scratch, ADD it"
    if "repositories" in members:
        hint = "docker before 1.10 wrote it: a newer one can load and save it"
    return ImageError(
        f"{members.name}: not an image: it has no {INDEX_JSON} and no {MANIFEST_JSON}", hint=hint
    )


def manifest_of(members: Members, descriptor: Descriptor) -> Manifest:
    """The manifest that a descriptor stands for; raises ImageError."""
    where = f"{members.name}: manifest {descriptor.digest}"
    return Manifest.from_json(members.read(descriptor), where)


def image_of(members: Members, descriptor: Descriptor) -> Image:
    """The image of a manifest; raises ImageError."""
    manifest = manifest_of(members, descriptor)
    where = f"{members.name}: config {manifest.config.digest}"
    config = ImageConfig.from_json(members.read(manifest.config), where)
    if len(manifest.layers) != len(config.diff_ids):
        raise ImageError(
            f"{members.name}: {len(manifest.layers)} layers in the manifest, "
            f"{len(config.diff_ids)} diff_ids in the config"
        )
    return Image(
        name=members.name,
        manifest=manifest,
        config=config,
        blobs=tuple(members.place(layer) for layer in manifest.layers),
        digest=descriptor.digest,
    )


def check_views(members: Members, image: Manifest | None = None) -> tuple[DockerEntry, ...]:
    """What the docker view of an OCI layout lists; nothing if it has none.

    Raises ImageError if that has an image which the layout has not. `image` is one that it has.
    """
    if MANIFEST_JSON not in members:
        return ()
    entries = docker_entries(members)
    if image is not None:
        try:
            check_same(members, entries, [image])
        except ImageError:  # there may be others
            pass
        else:
            return entries
    check_same(members, entries, _listed(members))
    return entries


def _listed(members: Members, reference: str = "") -> list[Manifest]:
    """The manifests of a layout, or of the images that are called so."""
    document, where = members.document(INDEX_JSON), f"{members.name}: {INDEX_JSON}"
    found = all_manifests(document, where, members.read, reference=reference, has=members.has)
    return [manifest_of(members, descriptor) for descriptor in found]


def _oci_image(members: Members, reference: str, platform: str) -> Image:
    if reference and MANIFEST_JSON in members:
        called = [entry for entry in check_views(members) if entry.is_called(reference)]
        listed = _listed(members, reference)
        if called and not listed:  # the docker view alone has names
            return _docker_image(members, reference)
        check_same(members, called, listed)
    descriptor = choose_manifest(
        members.document(INDEX_JSON),
        f"{members.name}: {INDEX_JSON}",
        members.read,
        reference=reference,
        platform=platform,
    )
    image = image_of(members, descriptor)
    check_views(members, image.manifest)
    return image


def _docker_image(members: Members, reference: str) -> Image:
    entries = docker_entries(members)
    if reference:
        chosen = [
            entry
            for entry in entries
            if entry.is_called(reference) or reference.removeprefix("sha256:") in entry.config
        ]
        if not chosen:
            raise ImageError(f"{members.name}: {MANIFEST_JSON}: nothing is called {reference}")
        entries = tuple(chosen)
    if len(entries) > 1:
        names = ", ".join(entry.names[0] if entry.names else entry.config for entry in entries)
        raise ImageError(f"{members.name}: holds several images: {names}", hint=SEVERAL)
    found = docker_image(members, entries[0])
    return Image(
        name=members.name,
        manifest=found.manifest,
        config=found.config,
        blobs=found.blobs,
        digest=found.manifest.config.digest,
    )
