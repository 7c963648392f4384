"""Directories that outlive a build: `RUN --mount=type=cache`.

    mounts/<SHA-256 of what it is>/about      JSON: what it is; its time is that of the last use
    mounts/<…>/<number>/fs                    the directory; other numbers are for `private` ones

Whoever uses one holds a lock of `<number>`: many at once (`shared`), one who waits (`locked`), or
one who else takes the next number (`private`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from buildkit.changeset import pack
from buildkit.errors import BuildError
from buildkit.inventory import disk_size
from buildkit.locks import try_lock, wait_for_lock
from runtime.errors import ImageError
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.store.store import Store, write_atomically
from runtime.store.workspace import Workspace, remove_tree


@contextmanager
def cache_directory(
    store: Store, identity: dict[str, str], sharing: str, make: Callable[[str], None]
) -> Iterator[str]:
    """The directory of a cache, for as long as the context lasts.

    `make` makes a new one at a path where nothing is yet.
    """
    folder = _folder(store, identity)
    os.makedirs(folder, exist_ok=True)
    write_atomically(f"{folder}/about", json.dumps(identity, sort_keys=True).encode())
    lock, place = _take(folder, sharing)
    try:
        if not os.path.isdir(f"{place}/fs"):
            _fill(store, place, make)
        yield f"{place}/fs"
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMount:
    """A cache that the store has."""

    id: str
    origin: str  # identity of the filesystem that it was filled from; empty: it began empty
    folder: str
    size: int  # bytes on the disk
    used: float  # seconds since 1970


class CacheMounts:
    """All caches of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[KnownMount]:
        """The caches, by id."""
        found = []
        for name in os.listdir(f"{self._store.root}/mounts"):
            folder = f"{self._store.root}/mounts/{name}"
            try:
                with open(f"{folder}/about", "rb") as file:
                    identity = json.load(file)
                used = os.stat(f"{folder}/about").st_mtime
            except (FileNotFoundError, ValueError):  # just being made
                continue
            found.append(
                KnownMount(
                    id=identity["id"],
                    origin=identity.get("from", ""),
                    folder=folder,
                    size=disk_size(folder),
                    used=used,
                )
            )
        return sorted(found, key=lambda mount: (mount.id, mount.origin))

    def prune(self, ids: tuple[str, ...], *, unused_s: float | None) -> list[KnownMount]:
        """Remove caches: those of some ids, or all; of them what was unused for so long.

        Raises BuildError for an id that there is not. The caller has the store alone.
        """
        known = self.all()
        for wanted in ids:
            _check_known(wanted, known)
        chosen = [
            mount
            for mount in known
            if (not ids or mount.id in ids)
            and (unused_s is None or mount.used < time.time() - unused_s)
        ]
        for mount in chosen:
            remove_tree(mount.folder)
        return chosen

    def export(self, id_: str, fd: int) -> None:
        """Write a cache as a tar, the same bytes for the same files; raises BuildError."""
        known = self.all()
        _check_known(id_, known)
        [mount] = [m for m in known if m.id == id_][:1]
        lock = os.open(f"{mount.folder}/0", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            wait_for_lock(lock, shared=True)
            pack(f"{mount.folder}/0/fs", None, fd)
        finally:
            os.close(lock)

    def import_(self, id_: str, fd: int) -> None:
        """Make a cache of a tar, instead of the one that is there; raises BuildError.

        The caller has the store alone.
        """
        folder = _folder(self._store, {"id": id_})
        with Workspace(self._store) as work:
            path = f"{work.path}/tar"
            with open(fd, "rb", closefd=False) as source, open(path, "xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                size = target.tell()
            with open(path, "rb") as file:
                digest = Digest.parse(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
            os.mkdir(f"{work.path}/fs", 0o755)
            blob = BlobRange(path=path, offset=0, size=size)
            whole = Descriptor(media_type=LAYER, digest=digest, size=size)
            try:
                with LayerReader(blob, whole, DiffID(digest), "the tar") as layer:
                    apply_layer(layer, f"{work.path}/fs", (), "the tar")
                    layer.finish()
            except ImageError as error:
                raise BuildError(error.message, hint=error.hint) from error
            remove_tree(folder)
            os.makedirs(f"{folder}/0")
            write_atomically(f"{folder}/about", json.dumps({"id": id_}).encode())
            os.rename(f"{work.path}/fs", f"{folder}/0/fs")


def _check_known(id_: str, known: list[KnownMount]) -> None:
    if all(mount.id != id_ for mount in known):
        ids = ", ".join(sorted({mount.id for mount in known})) or "none"
        raise BuildError(f"no cache {id_!r}", hint=f"there is: {ids}")


def _folder(store: Store, identity: dict[str, str]) -> str:
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{store.root}/mounts/{name}"


def _take(folder: str, sharing: str) -> tuple[int, str]:
    """A locked directory of a cache: its lock, and its path."""
    for number in count():
        place = f"{folder}/{number}"
        os.makedirs(place, exist_ok=True)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if sharing != "private":
            wait_for_lock(fd, shared=sharing == "shared")
            return fd, place
        if try_lock(fd):
            return fd, place
        os.close(fd)
    raise AssertionError("numbers do not end")


def _fill(store: Store, place: str, make: Callable[[str], None]) -> None:
    """Give a cache its directory; of several who do so at once, the first one wins."""
    with Workspace(store) as work:
        make(f"{work.path}/cache")
        try:
            os.rename(f"{work.path}/cache", f"{place}/fs")
        except OSError:
            if not os.path.isdir(f"{place}/fs"):
                raise
