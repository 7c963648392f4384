"""The caches of `RUN --mount=type=cache` in a store: listed, pruned, carried to another one."""

from __future__ import annotations

import hashlib
import json
import os
import time

from buildkit.cache_mounts import mount_folder
from buildkit.changeset import pack
from buildkit.errors import BuildError
from buildkit.inventory import disk_size
from buildkit.locks import wait_for_lock
from runtime.errors import ImageError
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.record import Record
from runtime.store.store import Store, write_atomically
from runtime.store.workspace import Workspace, remove_tree


class KnownMount(Record):
    """A cache that the store has."""

    id: str
    origin: str  # identity of the filesystem that it was filled from; empty: it began empty
    folder: str
    size: int  # bytes on the disk
    used: float  # seconds since 1970


class KnownMounts:
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
        import shutil

        folder = mount_folder(self._store, {"id": id_})
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
