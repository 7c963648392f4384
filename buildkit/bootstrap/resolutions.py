"""What bootstraps were resolved to, kept beside their results for who makes a lock file."""

from __future__ import annotations

import json
import os

from buildkit.bootstrap.resolved import Resolved, read_resolved
from buildkit.errors import BuildError
from runtime.record import Record
from runtime.store.store import Store, write_atomically


class Resolution(Record):
    """A set of packages, and the install time that it got, in seconds."""

    resolved: Resolved
    epoch: int


def remember_resolution(store: Store, key: str, resolved: Resolved, epoch: int) -> None:
    """Keep it for a step's key."""
    document = {**resolved.to_json(), "epoch": epoch}
    write_atomically(_path(store, key), json.dumps(document, sort_keys=True).encode())


def recall_resolution(store: Store, key: str) -> Resolution | None:
    """What was kept; None if that is nothing, or on a broken disk."""
    try:
        with open(_path(store, key), "rb") as file:
            document = json.load(file)
        os.utime(_path(store, key))
        return Resolution(resolved=read_resolved(document), epoch=int(document["epoch"]))
    except FileNotFoundError:
        return None
    except (BuildError, ValueError, KeyError, TypeError):
        return None


def _path(store: Store, key: str) -> str:
    return f"{store.root}/cache/{key}.packages"
