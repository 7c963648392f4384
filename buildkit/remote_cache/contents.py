"""What a cache holds, and the documents that say it.

A cache is an OCI artifact (image-spec manifest.md "Guidelines for Artifact Usage"): its
configuration is a table of steps, its layers are layers as images have them. In an image it is a
member of the configuration, and its layers are the image's.

    {"version": 1,
     "layers": [{"diff_id": "sha256:…", "size": BYTES, "blob": "sha256:…",
                 "compression": "gzip:6"}, …],
     "steps": {KEY: {"epoch": SECONDS, "layer": NUMBER, "packages": [[KIND, ID, SHA256], …]}, …}}

`size` is that of the layer's tar; a layer without `blob` is known and is not in the cache, a step
without `layer` has changed nothing. `compression` is there for what we have compressed: whoever
wants the same need not do it again. Keys are those of `buildkit.cache`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from buildkit.cache import Layer, Result
from buildkit.compressing import Compression
from buildkit.documents import to_json
from runtime.errors import ImageError
from runtime.oci.digest import DiffID, Digest, digest_of
from runtime.oci.image import LAYER, MANIFEST, Descriptor, ImageConfig, Manifest
from runtime.oci.reader import member, optional, parse_json
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CACHE = "application/vnd.pybuild.cache.v1"  # artifactType
CACHE_CONFIG = "application/vnd.pybuild.cache.config.v1+json"
IN_IMAGE = "pybuild.cache.v1"  # the member of an image's configuration
_VERSION = 1
_COMPRESSION = re.compile(r"(gzip|zstd):([0-9]{1,2})")
_KEY = re.compile(r"[0-9a-f]{64}")
_LAST_SECOND = 253402300799  # of the year 9999
_LARGEST = 1 << 62  # bytes


class Blob(Record):
    """A layer as it is in some place."""

    descriptor: Descriptor
    how: Compression | None = None  # it is compressed, where that is known


class Contents(Record):
    """Steps by their keys, and where the place that they come from has their layers."""

    steps: Mapping[str, Result]
    blobs: Mapping[DiffID, Blob]  # of some of the layers


class Document(Record):
    """A document, and what a registry or a layout calls it."""

    descriptor: Descriptor
    content: bytes


def artifact_of(contents: Contents) -> tuple[Document, Document]:
    """The manifest and the configuration of a cache."""
    config_bytes = to_json(_table_of(contents.steps, contents.blobs))
    config = Descriptor(
        media_type=CACHE_CONFIG, digest=digest_of(config_bytes), size=len(config_bytes)
    )
    blobs = {blob.descriptor.digest: blob.descriptor for blob in contents.blobs.values()}
    layers = tuple(blobs[digest] for digest in sorted(blobs))
    table = Manifest(config=config, layers=layers).to_json() | {"artifactType": CACHE}
    manifest_bytes = to_json(table)
    manifest = Descriptor(
        media_type=MANIFEST, digest=digest_of(manifest_bytes), size=len(manifest_bytes)
    )
    return (
        Document(descriptor=manifest, content=manifest_bytes),
        Document(descriptor=config, content=config_bytes),
    )


def member_of(steps: Mapping[str, Result], how: Compression) -> dict[str, object]:
    """What an image, whose layers are compressed so, says of its steps in its configuration."""
    return _table_of(steps, {}, how)


def read_artifact(manifest: Manifest, config: bytes, where: str) -> Contents:
    """What a cache holds; raises ImageError."""
    table = parse_json(config, where)
    blobs = {}
    known = {layer.digest: layer for layer in manifest.layers}
    for layer in _objects(table, "layers", where):
        if (digest := optional(layer, "blob", str, where)) is not None:
            if digest not in known:
                raise ImageError(f"{where}: {digest} is no layer of its manifest")
            diff_id = DiffID(Digest.parse(layer.get("diff_id"), where))
            blobs[diff_id] = Blob(descriptor=known[Digest(digest)], how=_compression(layer))
    return Contents(steps=_steps(table, where), blobs=blobs)


def read_member(manifest: Manifest, config: bytes, where: str) -> Contents | None:
    """What an image's configuration says of its steps; None if nothing. Raises ImageError."""
    table = optional(parse_json(config, where), IN_IMAGE, dict, where)
    if table is None:
        return None
    diff_ids = ImageConfig.from_json(config, where).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(f"{where}: {len(diff_ids)} diff_ids, {len(manifest.layers)} layers")
    ways = {
        layer.get("diff_id"): _compression(layer) for layer in _objects(table, "layers", where)
    }
    blobs = {
        diff_id: Blob(descriptor=descriptor, how=ways.get(diff_id))
        for diff_id, descriptor in zip(diff_ids, manifest.layers, strict=True)
    }
    return Contents(steps=_steps(table, where), blobs=blobs)


def joined(several: Iterable[Contents]) -> Contents:
    """Those of one place as one; the first ones count."""
    steps: dict[str, Result] = {}
    blobs: dict[DiffID, Blob] = {}
    for contents in several:
        steps = {**contents.steps, **steps}
        blobs = {**contents.blobs, **blobs}
    return Contents(steps=steps, blobs=blobs)


def _table_of(
    steps: Mapping[str, Result], blobs: Mapping[DiffID, Blob], how: Compression | None = None
) -> dict[str, object]:
    layers = {step.layer.diff_id: step.layer for step in steps.values() if step.layer}
    ordered = sorted(layers)
    described = []
    for diff_id in ordered:
        layer: dict[str, object] = {"diff_id": diff_id, "size": layers[diff_id].descriptor.size}
        way = how
        if diff_id in blobs:
            layer["blob"], way = blobs[diff_id].descriptor.digest, blobs[diff_id].how
        if way is not None and way.kind != "none":
            layer["compression"] = str(way)
        described.append(layer)
    numbers = {diff_id: number for number, diff_id in enumerate(ordered)}
    table = {}
    for key, result in steps.items():
        step: dict[str, object] = {"epoch": result.epoch}
        if result.layer is not None:
            step["layer"] = numbers[result.layer.diff_id]
        if result.packages is not None:
            step["packages"] = result.packages
        table[key] = step
    return {"version": _VERSION, "layers": described, "steps": table}


def _steps(table: Mapping[str, Any], where: str) -> dict[str, Result]:
    version = member(table, "version", int, where)
    if version != _VERSION:
        raise ImageError(f"{where}: version is {version}, {_VERSION} expected")
    layers = []
    for described in _objects(table, "layers", where):
        diff_id = DiffID(Digest.parse(described.get("diff_id"), where))
        size = _number(described, "size", _LARGEST, where)
        # In the store it is not compressed.
        descriptor = Descriptor(media_type=LAYER, digest=diff_id, size=size)
        layers.append(Layer(descriptor=descriptor, diff_id=diff_id))
    steps = {}
    for key, step in member(table, "steps", dict, where).items():
        place = f"{where}: step {key}"
        if not _KEY.fullmatch(key) or not isinstance(step, dict):
            raise ImageError(f"{place}: no step has that key or value")
        layer = None
        if step.get("layer") is not None:
            layer = layers[_number(step, "layer", len(layers) - 1, place)]
        packages = _packages(step, place)
        epoch = _number(step, "epoch", _LAST_SECOND, place)
        steps[key] = Result(layer=layer, epoch=epoch, packages=packages)
    return steps


def _objects(table: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    items = member(table, name, list, where)
    for item in items:
        if not isinstance(item, dict):
            raise ImageError(f"{where}: {name} holds {item!r}, only objects expected")
    return items


def _number(table: Mapping[str, Any], name: str, most: int, where: str) -> int:
    value = member(table, name, int, where)
    if not 0 <= value <= most:
        raise ImageError(f"{where}: {name} is {value}")
    return value


def _compression(layer: Mapping[str, Any]) -> Compression | None:
    """How a blob is compressed; None if that is not said, or not in our words."""
    found = _COMPRESSION.fullmatch(str(layer.get("compression")))
    return Compression(kind=found[1], level=int(found[2])) if found else None


def _packages(step: Mapping[str, Any], where: str) -> tuple[tuple[str, str, str], ...] | None:
    items = optional(step, "packages", list, where)
    if items is None:
        return None
    packages = []
    for item in items:
        if not (
            isinstance(item, list)
            and len(item) == 3
            and all(isinstance(word, str) for word in item)
        ):
            raise ImageError(f"{where}: packages holds {item!r}, three words expected")
        kind, identity, sha256 = item
        packages.append((kind, identity, sha256))
    return tuple(packages)
