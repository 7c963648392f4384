"""Reading what caches elsewhere hold: those of registries and of directories.

An index is read as all that it lists, so that an image for several platforms is a cache for each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from buildkit.errors import NetworkError
from buildkit.registry_images import places_of
from buildkit.remote_cache.contents import (
    CACHE_CONFIG,
    Contents,
    joined,
    read_artifact,
    read_member,
)
from buildkit.remote_cache.options import LOCAL, CacheSource
from buildkit.transferring import first_answer, in_child
from runtime.errors import ImageError, RegistryError
from runtime.image.archive import INDEX_JSON
from runtime.image.index import all_manifests
from runtime.image.members import open_members
from runtime.oci.image import CONFIG, INDEX, Descriptor, Manifest, canonical_media_type
from runtime.oci.reader import MAX_DOCUMENT
from runtime.record import Record
from runtime.registry.reference import Reference
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.registry.transport import Transport

    Read = Callable[[Descriptor], bytes]

_NONE = "there is none yet"


class Cache(Record):
    """A cache elsewhere."""

    source: CacheSource
    contents: Contents
    reference: Reference | None  # where in a registry it is; None: it is a directory


class Problem(Record):
    """A cache that cannot be read, and why; that there is none yet is no fault."""

    source: CacheSource
    message: str


def read_cache(store: Store, source: CacheSource) -> Cache | Problem:
    """What a cache holds; raises DiskError, UsageError."""
    return in_child(lambda: _read_one(store, source))


def _read_one(store: Store, source: CacheSource) -> Cache | Problem:
    try:
        if source.kind == LOCAL:
            if not os.path.exists(f"{source.place}/{INDEX_JSON}"):
                return Problem(source=source, message=_NONE)
            return _read_directory(source)
        return first_answer(places_of(source.place), lambda at: _read_at(store, source, at))
    except (NetworkError, RegistryError, ImageError) as error:
        from runtime.registry.wire import RefusedError

        cause = error.__cause__
        if isinstance(cause, RefusedError) and cause.code == 404:
            return Problem(source=source, message=_NONE)
        return Problem(source=source, message=error.message)


def _read_directory(source: CacheSource) -> Cache:
    members = open_members(source.place)
    document = members.document(INDEX_JSON)
    reference = source.digest or source.tag
    found = list(all_manifests(document, source.place, members.read, reference=reference))
    if not found:
        raise ImageError(f"{source.place}: nothing there is called {reference}")
    read = [_read_manifest(one, members.read(one), members.read, source.place) for one in found]
    return _cache_of(source, read, None)


def _read_at(store: Store, source: CacheSource, reference: Reference) -> Cache:
    from runtime.registry.manifests import fetch_document
    from runtime.registry.transport import Transport

    with Workspace(store) as work, Transport(reference) as transport:

        def read(descriptor: Descriptor) -> bytes:
            if canonical_media_type(descriptor.media_type) in (CONFIG, CACHE_CONFIG):
                return _small_blob(store, work, transport, descriptor)
            return fetch_document(transport, descriptor.digest, descriptor).content

        where = str(reference)
        top = fetch_document(transport, reference.target)
        if canonical_media_type(top.descriptor.media_type) == INDEX:
            found = [(one, read(one)) for one in all_manifests(top.content, where, read)]
        else:
            found = [(top.descriptor, top.content)]
        contents = [_read_manifest(one, document, read, where) for one, document in found]
        return _cache_of(source, contents, reference)


def _read_manifest(
    descriptor: Descriptor, document: bytes, read: Read, where: str
) -> Contents | None:
    """What a cache or an image holds; None for an image that says nothing of its steps."""
    where = f"{where}: manifest {descriptor.digest}"
    manifest = Manifest.from_json(document, where)
    kind = canonical_media_type(manifest.config.media_type)
    if kind not in (CONFIG, CACHE_CONFIG):
        raise ImageError(f"{where}: neither a cache nor an image, but {kind!r}")
    if manifest.config.size > MAX_DOCUMENT:
        raise ImageError(f"{where}: a configuration of {manifest.config.size} bytes")
    config = read(manifest.config)
    if kind == CACHE_CONFIG:
        return read_artifact(manifest, config, where)
    return read_member(manifest, config, where)


def _small_blob(
    store: Store, work: Workspace, transport: Transport, descriptor: Descriptor
) -> bytes:
    """A configuration, verified, which does not stay in the store."""
    from runtime.registry.blob_download import BlobDownload

    path = f"{work.path}/{descriptor.digest.hex}"
    BlobDownload(transport, store, descriptor, lambda _: None, keep=path).run()
    with open(path, "rb") as file:
        return file.read()


def _cache_of(
    source: CacheSource, several: Sequence[Contents | None], reference: Reference | None
) -> Cache:
    found = [contents for contents in several if contents is not None]
    if not found:
        hint = "an image that was built with --cache-to type=inline is one"
        raise ImageError(f"{source.place}: an image, and no cache", hint=hint)
    return Cache(source=source, contents=joined(found), reference=reference)
