"""What a store holds: sizes, when each thing was used last, and what images still need.

A thing is removed as a whole: a layer with the record that leads to it and the blob that it came
from would be useless one without the other, but each is found again, or made again, on its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from buildkit.images import image_names
from runtime.engine.added_mounts import read_added
from runtime.engine.containers import directories
from runtime.engine.launching import lowers_of, spec_of
from runtime.engine.record import read_record
from runtime.errors import ContainerError, ImageError
from runtime.image.archive import Image
from runtime.image.source import stored_image, stored_manifests
from runtime.oci.digest import chain_ids, digest_of
from runtime.oci.image import INDEX, Descriptor, canonical_media_type
from runtime.oci.reader import parse_json
from runtime.record import Record
from runtime.registry.origins import FOLDER
from runtime.store.identity import identity_of
from runtime.store.known import MADE, place_of
from runtime.store.store import Store

IMAGES, STEPS, LAYERS, INDEXES, STARTS, ORIGINS, DOWNLOADS, PACKAGES, MOUNTS, CONTAINERS = (
    "images",
    "build cache",
    "unpacked layers",
    "indexes",
    "records of starts",
    "registries",
    "downloads",
    "packages",
    "cache mounts",
    "containers",
)
KINDS = (IMAGES, STEPS, LAYERS, INDEXES, STARTS, ORIGINS, DOWNLOADS, PACKAGES, MOUNTS, CONTAINERS)
_SHA256 = 64  # characters


class Item(Record):
    """One file or directory of a store."""

    kind: str
    path: str
    size: int  # bytes on the disk
    used: float  # seconds since 1970: last time that it is known to have been used
    held: bool  # an image that has a name needs it
    recorded: bool  # a step of a build led to it
    depth: int = 0  # of a layer: how many lie below it


def inventory(store: Store) -> list[Item]:
    """Everything that takes room, with work in progress left out."""
    held = _held(store)
    uses = _uses(store)
    found: list[Item] = []
    for kind, folder in (
        (STEPS, "blobs/sha256"),
        (STEPS, "cache"),
        (LAYERS, "layers"),
        (INDEXES, "indexes"),
        (STARTS, "known"),
        (ORIGINS, FOLDER),
        (DOWNLOADS, "downloads"),
        (PACKAGES, "packages"),
        (PACKAGES, "dnf"),
        (MOUNTS, "mounts"),
    ):
        for path in _entries(f"{store.root}/{folder}"):
            status = os.lstat(path)
            name = os.path.basename(path)
            # The time of a cache mount is that of its label, which every use writes.
            if kind == MOUNTS and os.path.exists(f"{path}/about"):
                status = os.stat(f"{path}/about")
            found.append(
                Item(
                    kind=IMAGES if name in held and folder == "blobs/sha256" else kind,
                    path=path,
                    size=disk_size(path),
                    used=max(status.st_mtime, uses.used.get(name, 0)),
                    depth=uses.depth.get(name, 0) if kind == LAYERS else 0,
                    held=name in held,
                    recorded=name in uses.used,
                )
            )
    for path in directories(store):
        used = os.lstat(path).st_mtime
        found.append(
            Item(
                kind=CONTAINERS,
                path=path,
                size=disk_size(path),
                used=used,
                held=True,  # until `pyrun rm`
                recorded=False,
            )
        )
    return found


def disk_size(path: str) -> int:
    """Bytes that a file or a tree takes on the disk; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [path]
    while waiting:
        place = waiting.pop()
        try:
            status = os.lstat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
            if os.path.isdir(place) and not os.path.islink(place):
                with os.scandir(place) as entries:
                    waiting.extend(entry.path for entry in entries)
        except FileNotFoundError:  # a cache mount in use changes while it is looked at
            continue
    return total


def _entries(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []


def _held(store: Store) -> set[str]:
    """Names of the blobs and layers that named images and containers need."""
    held: set[str] = set()
    for name, descriptor in named_images(store):
        held.update(needs_of(store, name, descriptor))
    for path in directories(store):
        held.update(_needs_of_container(store, path))
    return held


def _needs_of_container(store: Store, path: str) -> Iterator[str]:
    """What a container's next start needs, also of an image that has no name any more."""
    try:
        record, lowers, spec = read_record(path), lowers_of(path), spec_of(path)
    except ContainerError:  # damaged: it starts no more
        return
    for lower in lowers:
        yield _name(store, lower if isinstance(lower, str) else lower.path)
    for mount in (*spec.mounts, *read_added(path)):  # images, among others
        for word in (mount.source, *mount.options):
            yield _name(store, word.removeprefix("lowerdir+="))
    if record.descriptor is not None:
        descriptor = Descriptor.from_json(record.descriptor, f"{path}/record.json")
        yield from needs_of(store, record.image, descriptor)


def _name(store: Store, path: str) -> str:
    """The name of the thing of a store that a path leads into."""
    layers = f"{store.root}/layers/"
    if path.startswith(layers):
        return path.removeprefix(layers).partition("/")[0]
    return os.path.basename(path)


def needs_of(store: Store, name: str, descriptor: Descriptor) -> tuple[str, ...]:
    """Names of the blobs, layers and records that an image with a name needs.

    A layer comes after those that lie below it.
    """
    needs = [descriptor.digest.hex]
    try:
        for manifest in stored_manifests(store, descriptor, name):
            needs.append(manifest.digest.hex)
            image = stored_image(store, manifest, name)
            needs.append(image.manifest.config.digest.hex)
            needs.extend(layer.digest.hex for layer in image.manifest.layers)
            needs.extend(chain.hex for chain in chain_ids(image.config.diff_ids))
            needs.extend(_records(store, image, name))
        if canonical_media_type(descriptor.media_type) == INDEX:
            needs.extend(_further(store, name, descriptor))
    except ImageError:  # verify-store says so; what is left of it is kept
        pass
    return tuple(needs)


def _further(store: Store, name: str, descriptor: Descriptor) -> Iterator[str]:
    """What an index needs beside its images: other indexes, attestations."""
    from buildkit.holdings import stored_holding

    holding = stored_holding(store, descriptor, name)
    for needed, _ in (*holding.indexes, *holding.further):
        yield needed.digest.hex


def _records(store: Store, image: Image, name: str) -> Iterator[str]:
    """What a start of an image that has a name finds of it and of its layers."""
    for path in (store.image_name(name), *(blob.path for blob in image.blobs)):
        try:
            record = os.path.basename(place_of(store, identity_of(path)))
        except OSError:  # a blob that is missing, a name that was taken away
            continue
        yield record
        yield f"{record}{MADE}"


def named_images(store: Store) -> Iterator[tuple[str, Descriptor]]:
    """The names in the store, and what they stand for; a record that is damaged is left out."""
    for name in image_names(store):
        path = store.image_name(name)
        try:
            with open(path, "rb") as file:
                yield name, Descriptor.from_json(parse_json(file.read(), path), path)
        except (OSError, ImageError):
            continue


class _Uses(Record):
    """What the records of steps say of blobs and layers, by their digest or ChainID in hex."""

    used: dict[str, float]  # the last time; a layer is used whenever one above it is
    depth: dict[str, int]  # how many layers lie below, as far as it is known


def _uses(store: Store) -> _Uses:
    used: dict[str, float] = {}
    below: dict[str, str] = {}
    for path in _entries(f"{store.root}/cache"):
        if len(os.path.basename(path)) != _SHA256:
            continue
        try:
            time = os.stat(path).st_mtime
            with open(path, "rb") as file:
                document = json.load(file)
            digest = document["layer"]["digest"]
            parent = document["parts"].get("parent", "")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # of a step without a layer, or damaged
        chain = digest if parent == "scratch" else str(digest_of(f"{parent} {digest}".encode()))
        below[_hex(chain)] = _hex(parent)
        for name in (_hex(digest), _hex(chain)):
            used[name] = max(used.get(name, 0), time)
    depth: dict[str, int] = {}
    for chain in below:
        time, above, lower = used[chain], [chain], below[chain]
        while lower in below:
            used[lower] = max(used[lower], time)
            above.append(lower)
            lower = below[lower]
        for number, name in enumerate(reversed(above)):
            depth[name] = number
    return _Uses(used=used, depth=depth)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
