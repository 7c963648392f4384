"""What steps have made: cache keys of named parts, and the records they lead to.

A key is a pure function of what was asked; a record says what came out. Records are small files
in the store, written whole; a lost one costs time, never an image.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from buildkit.locks import wait_for_lock
from buildkit.recorded import FORMAT
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.record import Record
from runtime.store.store import Store, write_atomically
from runtime.store.wholeness import is_whole

if TYPE_CHECKING:
    from buildkit.bootstrap.resolved import Resolution

Parts = Mapping[str, object]  # JSON values; their names are what --explain speaks of


class Layer(Record):
    """One layer of an image that is being built."""

    descriptor: Descriptor
    diff_id: DiffID


class Result(Record):
    """What a step made: a layer, or none if it changed nothing; and the epoch after it."""

    layer: Layer | None
    epoch: int
    resolution: Resolution | None = None  # of a BOOTSTRAP that was done just now
    # Of every BOOTSTRAP: kind, identity and sha256 of each package; None where none was recorded.
    packages: tuple[tuple[str, str, str], ...] | None = None


def cache_key(parts: Parts) -> str:
    """The name of a step's record: the digest of its parts in canonical form."""
    document = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode("utf-8", "surrogateescape")).hexdigest()


def look_up(store: Store, key: str) -> Result | None:
    """The result recorded under a key, if its blob is still there and what it was."""
    try:
        with open(_path(store, key), "rb") as file:
            record = json.load(file)
        if record["layer"] is None:
            packages = _packages(record)
            return Result(layer=None, epoch=record["epoch"], packages=packages)
        layer = Layer(
            descriptor=Descriptor(
                media_type=LAYER,
                digest=Digest.parse(record["layer"]["digest"]),
                size=record["layer"]["size"],
            ),
            diff_id=DiffID(Digest.parse(record["layer"]["digest"])),
        )
        packages = _packages(record)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # a record of a broken disk is no record
        return None
    if not is_whole(store, layer.descriptor):
        return None
    with suppress(FileNotFoundError):
        os.utime(_path(store, key))  # for who prunes what was not used for long
    return Result(layer=layer, epoch=record["epoch"], packages=packages)


def record(store: Store, key: str, parts: Parts, result: Result) -> None:
    """Remember what a step made, and of what parts its key was."""
    layer = result.layer
    document = {
        "parts": parts,
        "epoch": result.epoch,
        "layer": None
        if layer is None
        else {"digest": layer.descriptor.digest, "size": layer.descriptor.size},
    }
    if result.packages is not None:
        document["packages"] = result.packages
    write_atomically(_path(store, key), json.dumps(document, sort_keys=True).encode())


def _packages(record: dict[str, Any]) -> tuple[tuple[str, str, str], ...] | None:
    """What a record says of packages; raises ValueError or TypeError for what cannot be."""
    if "packages" not in record:
        return None
    listed = record["packages"]
    if not all(isinstance(word, str) for package in listed for word in package):
        raise TypeError("packages are described by words")
    return tuple((kind, identity, sha256) for kind, identity, sha256 in listed)


def read_parts(store: Store, key: str) -> Parts | None:
    """The parts of a key under which something was recorded."""
    try:
        with open(_path(store, key), "rb") as file:
            parts = json.load(file)["parts"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or one of a broken disk
        return None
    return parts if isinstance(parts, dict) else None


@contextmanager
def alone(store: Store, key: str) -> Iterator[None]:
    """Wait until no other process does the step of a key, and keep others from it meanwhile.

    Whoever waited should look the key up again. The lock is a directory like a workspace, so that
    the same sweep finds what a killed process left.
    """
    path = f"{store.root}/tmp/step-{key}"
    lock = _lock(path)
    try:
        yield
    finally:
        os.rmdir(path)
        os.close(lock)


def _lock(path: str) -> int:
    """A descriptor that holds the lock."""
    while True:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # whoever had it has just removed it
            continue
        try:
            wait_for_lock(fd)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # of a directory that is no longer the one of this name


def _path(store: Store, key: str) -> str:
    return f"{store.root}/cache/{key}"
