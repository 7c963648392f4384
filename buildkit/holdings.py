"""What an archive or the store holds under its names, with all documents and blobs that belong to
it: what `load`, `save` and `convert` move from one place to another.

    archive_holdings   all of an archive
    named_holding      what a name of the store stands for

The documents are those that were found, to the byte, so digests stay. A new index is made only
where an archive lacks some of the images that its own one lists, as one of `docker save` may.
"""

from __future__ import annotations

import os

from buildkit.documents import Documents, make_product, to_json
from buildkit.errors import BuildError
from runtime.errors import ImageError
from runtime.image.archive import INDEX_JSON, Image, check_views, image_of, no_image
from runtime.image.blob import BlobRange
from runtime.image.docker_view import MANIFEST_JSON, DockerEntry, docker_entries, docker_image
from runtime.image.index import is_attestation
from runtime.image.names import familiar_name, is_name, listed_names
from runtime.image.source import named_descriptor, stored_image, verified_blob
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import CONFIG, INDEX, MANIFEST, Descriptor, canonical_media_type
from runtime.oci.platform import read_platform
from runtime.oci.reader import member, parse_json
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    from runtime.image.members import Members
    from runtime.store.store import Store

    Warn = Callable[[str], None]

    class Source(Protocol):
        """Where documents and blobs come from; all but `has` raise ImageError."""

        name: str

        def has(self, digest: Digest) -> bool: ...
        def read(self, descriptor: Descriptor) -> bytes: ...
        def place(self, descriptor: Descriptor) -> BlobRange: ...
        def image(self, descriptor: Descriptor) -> Image: ...


_DEEPEST = 4  # indexes in indexes
_CONFIG_TYPES = frozenset({CONFIG})


class Part(Record):
    """An image with its documents as they are."""

    image: Image
    descriptor: Descriptor  # of the manifest
    manifest: bytes
    config: bytes


class Holding(Record):
    """One image, or those for several platforms below an index."""

    names: tuple[str, ...]  # each with its tag
    descriptor: Descriptor  # of the manifest, or of the outermost index
    parts: tuple[Part, ...]
    indexes: tuple[tuple[Descriptor, bytes], ...] = ()  # the outermost last
    further: tuple[tuple[Descriptor, BlobRange], ...] = ()  # what belongs to attestations

    @property
    def blobs(self) -> dict[Digest, tuple[Descriptor, BlobRange]]:
        """The layers of all images, each once, and what belongs to attestations."""
        found = {}
        for part in self.parts:
            pairs = zip(part.image.manifest.layers, part.image.blobs, strict=True)
            found.update({descriptor.digest: (descriptor, blob) for descriptor, blob in pairs})
        for descriptor, blob in self.further:
            found.setdefault(descriptor.digest, (descriptor, blob))
        return found


class _Stored:
    """The store as a source."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    def has(self, digest: Digest) -> bool:
        return os.path.exists(self._store.blob(digest))

    def read(self, descriptor: Descriptor) -> bytes:
        where = f"{self.name}: {descriptor.digest}"
        return verified_blob(self._store, descriptor.digest, where)

    def place(self, descriptor: Descriptor) -> BlobRange:
        path = self._store.blob(descriptor.digest)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            where = f"{self.name}: {descriptor.digest}"
            raise ImageError(f"{where}: missing from the store") from error
        return BlobRange(path=path, offset=0, size=size)

    def image(self, descriptor: Descriptor) -> Image:
        image = stored_image(self._store, descriptor, self.name)
        for layer in image.manifest.layers:
            self.place(layer)
        return image


class _Archived:
    """An archive as a source."""

    def __init__(self, members: Members) -> None:
        self.name = members.name
        self.has, self.read, self.place = members.has, members.read, members.place
        self._members = members

    def image(self, descriptor: Descriptor) -> Image:
        return image_of(self._members, descriptor)


def named_holding(store: Store, name: str) -> Holding:
    """What a name of the store stands for; raises ImageError."""
    try:
        descriptor = named_descriptor(store, name)
    except FileNotFoundError:
        raise ImageError(f"{name}: no image of that name in {store.root}") from None
    return stored_holding(store, descriptor, name).replace(names=(familiar_name(name),))


def stored_holding(store: Store, descriptor: Descriptor, name: str) -> Holding:
    """What a descriptor stands for, without a name; errors call it `name`. Raises ImageError."""
    return _gather(_Stored(store, name), descriptor, _unexpected)


def _unexpected(text: str) -> None:
    raise ImageError(f"{text}: missing from the store")


def archive_holdings(members: Members, warn: Warn) -> tuple[Holding, ...]:
    """All images of an archive, in its order; raises ImageError, BuildError.

    `warn` is told which platforms are not there, and what is no image.
    """
    if INDEX_JSON in members:
        holdings = _listed_holdings(members, warn)
    elif MANIFEST_JSON in members:
        holdings = [_docker_holding(members, entry) for entry in docker_entries(members)]
    else:
        raise no_image(members)
    if not holdings:
        raise ImageError(f"{members.name}: it lists no image")
    return _merged(members.name, holdings)


def _listed_holdings(members: Members, warn: Warn) -> list[Holding]:
    source, where = _Archived(members), f"{members.name}: {INDEX_JSON}"
    entries = check_views(members)
    listed = member(parse_json(members.document(INDEX_JSON), where), "manifests", list, where)
    tables = [table for table in listed if isinstance(table, dict) and not is_attestation(table)]
    found = []
    for names, group in _grouped(tables):
        if len(group) == 1:
            descriptor = Descriptor.from_json(group[0], where).replace(annotations=())
            holding = _gather(source, descriptor, warn)
        else:  # an image for several platforms, without an index of its own
            parts, _ = _parts(source, group, where, warn)
            holding = holding_of((), tuple(p for h in parts for p in h.parts), as_index=True)
        if holding.parts:
            found.append(_with_names(holding, names, entries))
    return found


def _grouped(
    tables: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[tuple[str, str], list[Mapping[str, Any]]]]:
    """The outermost descriptors, those of one image for several platforms together."""
    groups: dict[object, list[Mapping[str, Any]]] = {}
    for table in tables:
        names = listed_names(table)
        apart = bool(_platform(table)) and any(names)
        groups.setdefault(names if apart else (names, table.get("digest")), []).append(table)
    for group in groups.values():
        different = list({str(table.get("digest")): table for table in group}.values())
        platforms = {_platform(table) for table in different}
        if len(different) == len(platforms):
            yield listed_names(group[0]), different
        else:
            yield from ((listed_names(table), [table]) for table in different)


def _platform(table: Mapping[str, Any]) -> str:
    platform = table.get("platform")
    return read_platform(platform) if isinstance(platform, dict) else ""


def _with_names(
    holding: Holding, listed: tuple[str, str], entries: tuple[DockerEntry, ...]
) -> Holding:
    """Give it the names that either view has for it."""
    full, short = listed
    configs = {part.image.manifest.config.digest.hex for part in holding.parts}
    names = [
        name
        for entry in entries
        if any(config in entry.config for config in configs)
        for name in entry.names
    ]
    if full:
        names.insert(0, full)
    elif short and not any(name.endswith(f":{short}") for name in names):
        names.insert(0, short)
    return holding.replace(names=tuple(names))


def _docker_holding(members: Members, entry: DockerEntry) -> Holding:
    found = docker_image(members, entry)
    manifest = to_json(found.manifest.to_json())
    descriptor = Descriptor(media_type=MANIFEST, digest=digest_of(manifest), size=len(manifest))
    image = Image(
        name=members.name,
        manifest=found.manifest,
        config=found.config,
        blobs=found.blobs,
        digest=descriptor.digest,
    )
    part = Part(image=image, descriptor=descriptor, manifest=manifest, config=found.document)
    return Holding(names=entry.names, descriptor=descriptor, parts=(part,))


def _merged(where: str, holdings: list[Holding]) -> tuple[Holding, ...]:
    """Each image once, with all of its names, as users write these; raises BuildError."""
    found: dict[Digest, Holding] = {}
    owners: dict[str, Digest] = {}
    for holding in holdings:
        digest = holding.descriptor.digest
        # What is called by its digest has no name.
        named = [name for name in holding.names if "@" not in name]
        written = [familiar_name(name) for name in named]
        for text, name in zip(named, written, strict=True):
            if not is_name(name):
                raise BuildError(f"{where}: {text!r}: not an image name")
            if owners.setdefault(name, digest) != digest:
                raise BuildError(
                    f"{where}: two images are called {name}: {owners[name]} and {digest}"
                )
        before = found[digest].names if digest in found else ()
        found[digest] = holding.replace(names=tuple(dict.fromkeys((*before, *written))))
    return tuple(found.values())


def _gather(source: Source, descriptor: Descriptor, warn: Warn, depth: int = 0) -> Holding:
    """All that a descriptor stands for; without images if it is of something else."""
    if canonical_media_type(descriptor.media_type) != INDEX:
        return _gather_image(source, descriptor, warn)
    where = f"{source.name}: index {descriptor.digest}"
    if depth > _DEEPEST:
        raise ImageError(f"{where}: indexes nested too deeply")
    document = source.read(descriptor)
    tables = member(parse_json(document, where), "manifests", list, where)
    images = [table for table in tables if isinstance(table, dict) and not is_attestation(table)]
    holdings, whole = _parts(source, images, where, warn, depth)
    parts = tuple(part for holding in holdings for part in holding.parts)
    if images and not parts:
        raise ImageError(f"{where}: none of its images is there")
    if not whole:
        return holding_of((), parts, as_index=len(parts) > 1)
    further = [pair for holding in holdings for pair in holding.further]
    for table in tables:
        if isinstance(table, dict) and is_attestation(table):
            further += _attestation(source, Descriptor.from_json(table, where))
    indexes = [index for holding in holdings for index in holding.indexes]
    return Holding(
        names=(),
        descriptor=descriptor,
        parts=parts,
        indexes=(*indexes, (descriptor, document)),
        further=tuple(further),
    )


def _parts(
    source: Source, tables: Iterable[Mapping[str, Any]], where: str, warn: Warn, depth: int = 0
) -> tuple[list[Holding], bool]:
    """What descriptors stand for, and whether all of that is there as they say."""
    found, whole = [], True
    for table in tables:
        descriptor = Descriptor.from_json(table, where).replace(annotations=())
        if not source.has(descriptor.digest):
            warn(f"{where}: {_platform(table) or 'an image'} ({descriptor.digest}) is not there")
            whole = False
            continue
        holding = _gather(source, descriptor, warn, depth + 1)
        whole = whole and holding.descriptor == descriptor
        found.append(holding)
    return found, whole


def _gather_image(source: Source, descriptor: Descriptor, warn: Warn) -> Holding:
    where = f"{source.name}: manifest {descriptor.digest}"
    manifest = source.read(descriptor)
    about = member(parse_json(manifest, where), "config", dict, where)
    kind = canonical_media_type(str(about.get("mediaType")))
    if kind not in _CONFIG_TYPES:
        warn(f"{where}: no image, but {kind}: left out")
        return Holding(names=(), descriptor=descriptor, parts=())
    image = source.image(descriptor)
    config = source.read(image.manifest.config)
    part = Part(image=image, descriptor=descriptor, manifest=manifest, config=config)
    return Holding(names=(), descriptor=descriptor, parts=(part,))


def _attestation(source: Source, descriptor: Descriptor) -> list[tuple[Descriptor, BlobRange]]:
    """The blobs of what BuildKit attests, as far as they are there."""
    if not source.has(descriptor.digest):
        return []
    where = f"{source.name}: attestation {descriptor.digest}"
    table = parse_json(source.read(descriptor), where)
    tables = [table.get("config"), *member(table, "layers", list, where)]
    inner = [Descriptor.from_json(t, where) for t in tables if isinstance(t, dict)]
    there = [blob for blob in (descriptor, *inner) if source.has(blob.digest)]
    return [(blob.replace(annotations=()), source.place(blob)) for blob in there]


def holding_of(names: tuple[str, ...], parts: tuple[Part, ...], *, as_index: bool) -> Holding:
    """Images as they are, below a new index or, if there is one, alone."""
    if not as_index:
        return Holding(names=names, descriptor=parts[0].descriptor, parts=parts)
    documents = tuple(
        Documents(
            config=part.config,
            manifest=part.manifest,
            descriptor=part.descriptor,
            config_descriptor=part.image.manifest.config,
            layers=(),
            platform=part.image.platform,
        )
        for part in parts
    )
    product = make_product(documents, as_index=True, docker=False)
    indexes = ((product.descriptor, product.index),)
    return Holding(names=names, descriptor=product.descriptor, parts=parts, indexes=indexes)
