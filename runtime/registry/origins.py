"""In which repositories the blobs of a store are known to be, by pulls and pushes before.

    origins/<hex>    JSON: pairs of host and repository, the latest first

A push has a blob mounted from there, within one registry; a blob that is damaged is fetched again.
What cannot be read counts as not known: a record saves work, and nothing depends on it.
"""

from __future__ import annotations

import json
import os

from runtime.errors import UsageError
from runtime.registry.reference import Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runtime.oci.digest import Digest
    from runtime.store.store import Store

FOLDER = "origins"
_MOST = 8  # repositories that are remembered of a blob
_LONGEST = 8192  # bytes of a record: names of repositories have at most 255


def remember(store: Store, reference: Reference, digests: Iterable[Digest]) -> None:
    """Write down that a repository has some blobs."""
    place = (reference.host, reference.repository)
    for digest in digests:
        before = [(one.host, one.repository) for one in origins_of(store, digest)]
        if before[:1] != [place]:
            rest = [one for one in before if one != place]
            _write(store, digest, [place, *rest[: _MOST - 1]])


def origins_of(store: Store, digest: Digest) -> tuple[Reference, ...]:
    """The repositories that are known to have a blob, the latest first; by its digest."""
    try:
        with open(_path(store, digest), "rb") as file:
            pairs = json.loads(file.read(_LONGEST + 1))
        found = [parse_reference(f"{host}/{repository}@{digest}") for host, repository in pairs]
    except (OSError, ValueError, TypeError, RecursionError, UsageError):
        return ()
    return tuple(found[:_MOST])


def neighbours(store: Store, reference: Reference) -> Callable[[Digest], Reference | None]:
    """Which other repository of the same registry has a blob, for a push to `reference`."""

    def find(digest: Digest) -> Reference | None:
        for origin in origins_of(store, digest):
            if origin.host == reference.host and origin.repository != reference.repository:
                return origin
        return None

    return find


def _path(store: Store, digest: Digest) -> str:
    return f"{store.root}/{FOLDER}/{digest.hex}"


def _write(store: Store, digest: Digest, pairs: list[tuple[str, str]]) -> None:
    """Write a record whole; it need not survive a power cut."""
    path = _path(store, digest)
    aside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        os.makedirs(f"{store.root}/{FOLDER}", exist_ok=True)
        with open(aside, "w", encoding="ascii") as file:
            json.dump(pairs, file)
        os.rename(aside, path)
    except OSError:
        pass  # a full or read-only store: the next push sends, and records, it again
