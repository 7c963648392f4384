"""An archive as docker reads it: manifest.json, an array of images (`docker save`).

Layers are found by the paths that it gives, whichever these are. docker writes them as they are,
crane compressed by gzip; what they are compressed by is told by their content.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image.compression import GZIP, MAGIC, ZSTD, compression_of
from runtime.image.names import means
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import (
    CONFIG,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    Descriptor,
    ImageConfig,
    Manifest,
)
from runtime.oci.reader import member, parse_json_value, strings, unambiguous
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runtime.image.blob import BlobRange
    from runtime.image.members import Members
    from runtime.oci.digest import DiffID

MANIFEST_JSON = "manifest.json"
_BLOBS = "blobs/sha256/"
_MEDIA_TYPES = {"": LAYER, GZIP: LAYER_GZIP, ZSTD: LAYER_ZSTD}
_CHUNK = 1 << 20


class DockerEntry(Record):
    """What manifest.json says of one image."""

    config: str  # path of the configuration
    layers: tuple[str, ...]  # paths, lowest first
    names: tuple[str, ...]  # RepoTags
    where: str  # how errors call it

    def is_called(self, reference: str) -> bool:
        """Whether a user means this image."""
        return any(means(reference, name) for name in self.names)


class DockerImage(Record):
    """One image of the docker view; it has no manifest of its own, so one was made for it."""

    document: bytes  # the configuration, as it is
    config: ImageConfig
    manifest: Manifest
    blobs: tuple[BlobRange, ...]


def docker_entries(members: Members) -> tuple[DockerEntry, ...]:
    """The images that manifest.json lists; raises ImageError."""
    where = f"{members.name}: {MANIFEST_JSON}"
    tables = parse_json_value(members.document(MANIFEST_JSON), where)
    if not isinstance(tables, list) or not tables:
        raise ImageError(f"{where}: an array of images expected")
    places = [f"{where}[{n}]" if len(tables) > 1 else where for n in range(len(tables))]
    return tuple(_entry(table, place) for table, place in zip(tables, places, strict=True))


def _entry(table: Any, where: str) -> DockerEntry:
    if not isinstance(table, dict):
        raise ImageError(f"{where}: is {table!r}, an object expected")
    unambiguous(table, where)
    member(table, "Layers", list, where)
    return DockerEntry(
        config=member(table, "Config", str, where),
        layers=strings(table, "Layers", where) or (),
        names=strings(table, "RepoTags", where) or (),
        where=where,
    )


def docker_image(members: Members, entry: DockerEntry) -> DockerImage:
    """An image by what manifest.json says of it; raises ImageError."""
    document = members.document(entry.config)
    config = ImageConfig.from_json(document, f"{members.name}: {entry.config}")
    blobs = tuple(members.find(layer) for layer in entry.layers)
    if len(blobs) != len(config.diff_ids):
        raise ImageError(
            f"{entry.where}: {len(blobs)} layers, the config has {len(config.diff_ids)} diff_ids"
        )
    layers = tuple(
        _layer(members, f"{members.name}: {name}", blob, diff_id)
        for name, blob, diff_id in zip(entry.layers, blobs, config.diff_ids, strict=True)
    )
    described = Descriptor(media_type=CONFIG, digest=digest_of(document), size=len(document))
    manifest = Manifest(config=described, layers=layers)
    return DockerImage(document=document, config=config, manifest=manifest, blobs=blobs)


def _layer(members: Members, where: str, blob: BlobRange, diff_id: DiffID) -> Descriptor:
    kind = compression_of(members.piece(blob, MAGIC))
    if kind not in _MEDIA_TYPES:
        raise ImageError(f"{where}: compressed by {kind}, which layers of images cannot be")
    # What is not compressed has the digest that the configuration promises; it is compared later.
    digest = _digest(blob, where) if kind else Digest(diff_id)
    return Descriptor(media_type=_MEDIA_TYPES[kind], digest=digest, size=blob.size)


def _digest(blob: BlobRange, where: str) -> Digest:
    import hashlib

    found, left = hashlib.sha256(), blob.size
    try:
        with open(blob.path, "rb", buffering=0) as file:
            os.lseek(file.fileno(), blob.offset, os.SEEK_SET)
            while left and (chunk := file.read(min(left, _CHUNK))):
                found.update(chunk)
                left -= len(chunk)
    except OSError as error:
        raise ImageError(f"{where}: {error.strerror}") from error
    return Digest(f"sha256:{found.hexdigest()}")


def check_same(members: Members, entries: Iterable[DockerEntry], listed: list[Manifest]) -> None:
    """Refuse an archive whose docker view has an image that its OCI view, `listed`, has not.

    Readers differ in which view they take, so such an archive shows each its own image. Raises
    ImageError with both digests.
    """
    for entry in entries:
        digest = _config_digest(members, entry, listed)
        same = [manifest for manifest in listed if manifest.config.digest == digest]
        if any(_has_layers(manifest, entry) for manifest in same):
            continue
        if same:
            [*others] = (layer.digest.hex for layer in same[0].layers)
            found = f"the same configuration, {digest}, with other layers: {', '.join(others)} and"
            found += f" {', '.join(map(_blob_hex, entry.layers)) or 'none'}"
        else:
            names = " and ".join(str(manifest.config.digest) for manifest in listed) or "none"
            found = f"index.json the one of configuration {names}, manifest.json {digest}"
        raise ImageError(
            f"{members.name}: index.json and manifest.json describe different images: {found}"
        )


def _config_digest(members: Members, entry: DockerEntry, listed: list[Manifest]) -> Digest:
    """The digest of an entry's configuration; without reading it if it is a blob of the index."""
    name = _blob_hex(entry.config)
    for manifest in listed:
        if entry.config == _BLOBS + name and manifest.config.digest.hex == name:
            return manifest.config.digest
    return digest_of(members.document(entry.config))


def _has_layers(manifest: Manifest, entry: DockerEntry) -> bool:
    """Whether an entry's layers are those of a manifest with the same configuration.

    Paths that are not digests are as good as the configuration, which has the layers' diff_ids.
    """
    if len(entry.layers) != len(manifest.layers):
        return False
    pairs = zip(entry.layers, manifest.layers, strict=True)
    return all(not p.startswith(_BLOBS) or _blob_hex(p) == la.digest.hex for p, la in pairs)


def _blob_hex(path: str) -> str:
    return path.removeprefix(_BLOBS)
