"""Opening an image archive: OCI layout and docker archive in one tar, or either alone; or an OCI
layout that is a directory (image-layout.md).

The archive is read in place: its members are found once, documents are read and verified, and
layers are handed on as ranges of files. Members are regular files only; a link instead of a
blob is an error.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.blob import BlobRange, StoredLayer
from runtime.image.index import all_manifests, check_platform, choose_manifest
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import LAYER, Descriptor, ImageConfig, Manifest
from runtime.oci.platform import platform_text
from runtime.oci.reader import MAX_DOCUMENT, member, parse_json_value
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_MEMBERS = 1 << 16


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


def open_archive(path: str, reference: str = "", platform: str = "") -> Image:
    """Read an image of an archive or a layout; raises ImageError naming it and the member.

    `reference` takes one of several: its tag (org.opencontainers.image.ref.name) or its digest.
    Of an image for several platforms this machine's is taken, or that for `platform`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            members = _layout_members(path)
        elif kind == 0o100000:
            members = _archive_members(path, fd)
        else:
            raise ImageError(f"{path}: not a regular file, so not an image archive")
        return _Archive(path, members, reference, platform).image()
    finally:
        os.close(fd)


def _archive_members(path: str, fd: int) -> dict[str, BlobRange]:
    members: dict[str, BlobRange] = {}
    stream = tar.FileStream(fd, path)
    if os.fstat(fd).st_size == 0:
        raise ImageError(f"{path}: the file is empty")
    for entry in tar.entries(stream, path):
        if entry.kind == tar.REGULAR:
            name = entry.name.removeprefix("./")
            members[name] = BlobRange(path=path, offset=stream.position, size=entry.size)
        if len(members) > MAX_MEMBERS:
            raise ImageError(f"{path}: more than {MAX_MEMBERS} members")
        stream.skip(entry.size + tar.padding(entry.size))
    return members


def _layout_members(path: str) -> dict[str, BlobRange]:
    """The files of a layout; only what is at its place by the specification is looked at."""
    members: dict[str, BlobRange] = {}
    for folder in ("", "blobs/sha256/"):
        try:
            with os.scandir(f"{path}/{folder}") as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        name = f"{folder}{entry.name}"
                        members[name] = BlobRange(path=f"{path}/{name}", offset=0, size=size)
        except OSError as error:
            where = f"{path}: a directory, but no OCI layout"
            raise ImageError(f"{where}: {folder or '.'}: {error.strerror}") from error
    return members


class _Archive:
    def __init__(self, path: str, members: dict[str, BlobRange], reference: str, platform: str):
        self._path = path
        self._members = members
        self._reference = reference
        self._platform = platform

    def image(self) -> Image:
        if "index.json" in self._members:
            image = self._oci_image()
            if "manifest.json" in self._members and not self._reference:
                self._same_image(image)
            return image
        if "manifest.json" in self._members and not self._reference:
            return self._docker_image()
        raise ImageError(
            f"{self._path}: not an image: it has no index.json and no manifest.json",
            hint="a plain root filesystem can become an image: FROM scratch, ADD it",
        )

    def _oci_image(self) -> Image:
        where = f"{self._path}: index.json"
        descriptor = choose_manifest(
            self._document("index.json"),
            where,
            self._blob,
            reference=self._reference,
            platform=self._platform,
        )
        manifest = self._manifest(descriptor)
        config_where = f"{self._path}: config {manifest.config.digest}"
        config = ImageConfig.from_json(self._blob(manifest.config), config_where)
        blobs = tuple(self._blob_range(layer) for layer in manifest.layers)
        return self._checked(manifest, config, blobs, descriptor.digest)

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        where = f"{self._path}: manifest {descriptor.digest}"
        return Manifest.from_json(self._blob(descriptor), where)

    def _docker_image(self) -> Image:
        table = self._docker_table()
        where = f"{self._path}: manifest.json"
        document = self._document(member(table, "Config", str, where))
        config = ImageConfig.from_json(document, f"{self._path}: {table['Config']}")
        blobs = tuple(self._member(layer) for layer in member(table, "Layers", list, where))
        if len(blobs) != len(config.diff_ids):
            raise ImageError(
                f"{where}: {len(blobs)} layers, the config has {len(config.diff_ids)} diff_ids"
            )
        layers = tuple(
            # docker save writes uncompressed layers: their digest is the diff_id.
            Descriptor(media_type=LAYER, digest=diff_id, size=blob.size)
            for blob, diff_id in zip(blobs, config.diff_ids, strict=True)
        )
        descriptor = Descriptor(
            media_type="application/vnd.oci.image.config.v1+json",
            digest=digest_of(document),
            size=len(document),
        )
        manifest = Manifest(config=descriptor, layers=layers)
        return self._checked(manifest, config, blobs, descriptor.digest)

    def _checked(
        self,
        manifest: Manifest,
        config: ImageConfig,
        blobs: tuple[BlobRange, ...],
        digest: Digest,
    ) -> Image:
        if len(manifest.layers) != len(config.diff_ids):
            raise ImageError(
                f"{self._path}: {len(manifest.layers)} layers in the manifest, "
                f"{len(config.diff_ids)} diff_ids in the config"
            )
        image = Image(
            name=self._path, manifest=manifest, config=config, blobs=blobs, digest=digest
        )
        check_platform(image.platform, self._platform, self._path)
        return image

    def _same_image(self, image: Image) -> None:
        """Refuse an archive whose docker view is another image than its OCI view.

        Readers differ in which view they take, so such an archive shows each its own image. Of an
        image for several platforms the docker view has but one.
        """
        table = self._docker_table()
        names = member(table, "Layers", list, f"{self._path}: manifest.json")
        layers = [str(name).removeprefix("blobs/sha256/") for name in names]
        config = str(table.get("Config")).removeprefix("blobs/sha256/").removesuffix(".json")
        if _is_made_of(image.manifest, config, layers):
            return
        index = self._document("index.json")
        for descriptor in all_manifests(index, f"{self._path}: index.json", self._blob):
            if _is_made_of(self._manifest(descriptor), config, layers):
                return
        raise ImageError(f"{self._path}: index.json and manifest.json describe different images")

    def _docker_table(self) -> Mapping[str, Any]:
        where = f"{self._path}: manifest.json"
        tables = parse_json_value(self._document("manifest.json"), where)
        if not isinstance(tables, list) or len(tables) != 1 or not isinstance(tables[0], dict):
            raise ImageError(f"{where}: exactly one image expected")
        return tables[0]

    def _member(self, name: object) -> BlobRange:
        blob = self._members.get(name) if isinstance(name, str) else None
        if blob is None:
            raise ImageError(f"{self._path}: {name}: no such file in the archive")
        return blob

    def _document(self, name: str) -> bytes:
        blob = self._member(name)
        if blob.size > MAX_DOCUMENT:
            raise ImageError(f"{self._path}: {name}: {blob.size} bytes, too large for a document")
        try:
            with open(blob.path, "rb") as file:
                return os.pread(file.fileno(), blob.size, blob.offset)
        except OSError as error:
            raise ImageError(f"{blob.path}: {error.strerror}") from error

    def _blob_range(self, descriptor: Descriptor) -> BlobRange:
        blob = self._member(f"blobs/sha256/{descriptor.digest.hex}")
        if blob.size != descriptor.size:
            raise ImageError(
                f"{self._path}: blob {descriptor.digest}: size is {blob.size} bytes, "
                f"descriptor says {descriptor.size}"
            )
        return blob

    def _blob(self, descriptor: Descriptor) -> bytes:
        """Read a document blob, verified."""
        self._blob_range(descriptor)
        document = self._document(f"blobs/sha256/{descriptor.digest.hex}")
        found = digest_of(document)
        if found != Digest(descriptor.digest):
            raise ImageError(f"{self._path}: blob {descriptor.digest}: its digest is {found}")
        return document


def _is_made_of(manifest: Manifest, config: str, layers: list[str]) -> bool:
    """Whether a manifest names the blobs that these digests in hex stand for."""
    named = [layer.digest.hex for layer in manifest.layers]
    return manifest.config.digest.hex == config and named == layers
