"""What steps have made: cache keys of named parts, and the records they lead to.

A key is a pure function of what was asked; a record says what came out. Records are small files
in the store, written whole; a lost one costs time, never an image.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from buildkit.recorded import FORMAT
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.store.store import Store, write_atomically

Parts = Mapping[str, object]  # JSON values; their names are what --explain will speak of


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an image that is being built."""

    descriptor: Descriptor
    diff_id: DiffID


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a step made: a layer, or none if it changed nothing; and the epoch after it."""

    layer: Layer | None
    epoch: int


def cache_key(parts: Parts) -> str:
    """The name of a step's record: the digest of its parts in canonical form."""
    document = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode("utf-8", "surrogateescape")).hexdigest()


def look_up(store: Store, key: str) -> Result | None:
    """The result recorded under a key, if its blob is still there."""
    try:
        with open(_path(store, key), "rb") as file:
            record = json.load(file)
        if record["layer"] is None:
            return Result(layer=None, epoch=record["epoch"])
        layer = Layer(
            descriptor=Descriptor(
                media_type=LAYER,
                digest=Digest.parse(record["layer"]["digest"]),
                size=record["layer"]["size"],
            ),
            diff_id=DiffID(Digest.parse(record["layer"]["digest"])),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # a record of a broken disk is no record
        return None
    try:
        size = os.stat(store.blob(layer.descriptor.digest)).st_size
    except FileNotFoundError:
        return None
    if size != layer.descriptor.size:
        return None
    return Result(layer=layer, epoch=record["epoch"])


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
    write_atomically(_path(store, key), json.dumps(document, sort_keys=True).encode())


def _path(store: Store, key: str) -> str:
    return f"{store.root}/cache/{key}"
