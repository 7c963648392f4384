"""A cache in a directory, which is an OCI layout (image-layout.md): other CI jobs get it as files.

What the layout held before stays, but for what the cache of the same tag needed and nothing needs
any more, so that a directory that is carried from job to job does not grow for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from buildkit.documents import to_json
from buildkit.errors import DiskError, UsageError
from buildkit.file_copy import copy_bytes
from buildkit.remote_cache.contents import CACHE_CONFIG, Document
from buildkit.replacement import Replacement
from runtime.errors import ImageError
from runtime.image.archive import INDEX_JSON
from runtime.image.blob import BlobRange
from runtime.image.members import Members, open_members
from runtime.image.names import REF_NAME
from runtime.oci.digest import Digest
from runtime.oci.image import INDEX, Descriptor, Manifest, canonical_media_type
from runtime.oci.reader import member, parse_json

_LAYOUT = "oci-layout"
_BLOBS = "blobs/sha256"


def check_place(path: str) -> None:
    """Raise UsageError for a directory that holds something else."""
    try:
        holds = os.listdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"--cache-to {path}: {error.strerror}") from error
    if holds and INDEX_JSON not in holds and _LAYOUT not in holds:
        raise UsageError(f"--cache-to {path}: neither empty nor an OCI layout")


def write_cache(
    path: str,
    tag: str,
    documents: tuple[Document, Document],
    blobs: Mapping[Digest, BlobRange],
) -> None:
    """Write a cache: its manifest and configuration, and the blobs of its layers.

    Who reads meanwhile finds the old one or the new one. Raises DiskError.
    """
    manifest, config = documents
    try:
        os.makedirs(f"{path}/{_BLOBS}", exist_ok=True)
        with _alone(path):
            for digest, blob in blobs.items():
                _copy(blob, f"{path}/{_BLOBS}/{digest.hex}")
            for document in (config, manifest):
                _write(f"{path}/{_BLOBS}/{document.descriptor.digest.hex}", document.content)
            if not os.path.exists(f"{path}/{_LAYOUT}"):
                _write(f"{path}/{_LAYOUT}", b'{"imageLayoutVersion":"1.0.0"}')
            before = _listed(path)
            listed = [table for table in before if not _is_called(table, tag)]
            listed.append({**manifest.descriptor.to_json(), "annotations": {REF_NAME: tag}})
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
            _write(f"{path}/{INDEX_JSON}", to_json(index))
            _remove_unneeded(path, [table for table in before if _is_called(table, tag)])
    except OSError as error:
        raise DiskError(f"{error.filename or path}: {error.strerror}") from error


def _listed(path: str) -> list[dict[str, object]]:
    """What index.json lists; nothing where there is none, or one that says nothing."""
    try:
        with open(f"{path}/{INDEX_JSON}", "rb") as file:
            tables = member(parse_json(file.read(), path), "manifests", list, path)
    except (FileNotFoundError, ImageError):
        return []
    return [table for table in tables if isinstance(table, dict)]


def _is_called(table: Mapping[str, object], tag: str) -> bool:
    annotations = table.get("annotations")
    return isinstance(annotations, dict) and annotations.get(REF_NAME) == tag


def _remove_unneeded(path: str, gone: list[dict[str, object]]) -> None:
    """Remove the blobs that only entries needed which are no longer listed."""
    members = open_members(path)
    old: set[Digest] = set()
    try:
        for table in gone:
            descriptor = Descriptor.from_json(table, path)
            manifest = Manifest.from_json(members.read(descriptor), path)
            if manifest.config.media_type == CACHE_CONFIG:  # only what we have written
                old.update(_needs(members, descriptor))
        for table in _listed(path):
            old.difference_update(_needs(members, Descriptor.from_json(table, path)))
    except ImageError:  # damaged: what it needs is not known, so all stays
        return
    for digest in old:
        os.unlink(f"{path}/{_BLOBS}/{digest.hex}")


def _needs(members: Members, descriptor: Descriptor) -> Iterator[Digest]:
    """The blobs that are there of what a descriptor stands for; raises ImageError."""
    if not members.has(descriptor.digest):
        return
    yield descriptor.digest
    document = members.read(descriptor)
    if canonical_media_type(descriptor.media_type) == INDEX:
        for table in member(parse_json(document, members.name), "manifests", list, members.name):
            yield from _needs(members, Descriptor.from_json(table, members.name))
        return
    manifest = Manifest.from_json(document, members.name)
    for blob in (manifest.config, *manifest.layers):
        if members.has(blob.digest):
            yield blob.digest


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Keep others from writing there meanwhile."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _copy(blob: BlobRange, path: str) -> None:
    if os.path.exists(path) and os.stat(path).st_size == blob.size:
        return
    with open(blob.path, "rb", buffering=0) as source, Replacement(path) as target:
        source.seek(blob.offset)
        copy_bytes(source.fileno(), target, blob.size)


def _write(path: str, content: bytes) -> None:
    with Replacement(path) as target:
        while content:
            content = content[os.write(target, content) :]
