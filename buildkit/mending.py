"""Images of the store that have lost something: it is fetched again from where it is known to be.

Blobs are found damaged by their digests, before a build reads them (`runtime.store.wholeness`);
`runtime.registry.origins` says which repositories have them. What no registry is known to have is
left to whoever reads it, but for layers, which are not read everywhere.
"""

from __future__ import annotations

import os

from buildkit.errors import BuildError, NetworkError
from buildkit.transferring import first_answer, transferred
from runtime.errors import ImageError
from runtime.oci.image import INDEX, MANIFEST, Descriptor, Manifest, canonical_media_type
from runtime.oci.reader import member, parse_json
from runtime.registry.origins import origins_of
from runtime.registry.registries_conf import read_registries_conf
from runtime.store.wholeness import is_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.progress import Progress
    from buildkit.transferring import Report
    from runtime.image.archive import Image
    from runtime.registry.reference import Reference
    from runtime.store.store import Store

_DEEPEST = 8  # documents below each other: indexes, a manifest, its configuration


def mended(
    store: Store,
    name: str,
    top: Descriptor,
    read: Callable[[], Image],
    *,
    progress: Progress,
    asks: bool,
) -> Image:
    """What `read` returns of a name that stands for `top`, with nothing of it damaged.

    Unless it `asks` registries, that is an error. Raises BuildError, NetworkError, DiskError, and
    what `read` raises.
    """
    for _ in range(_DEEPEST):
        damaged = [one for one in _documents(store, top) if origins_of(store, one.digest)]
        if not damaged:
            break
        for document in damaged:
            _mend(store, name, document, progress, asks=asks)
    image = read()
    for layer in dict.fromkeys(image.manifest.layers):
        there = os.path.exists(store.blob(layer.digest))
        if (there or origins_of(store, layer.digest)) and not is_whole(store, layer):
            _mend(store, name, layer, progress, asks=asks)
    return image


def _documents(store: Store, top: Descriptor) -> list[Descriptor]:
    """Indexes, manifests and configurations that are damaged, as far as they can be found."""
    found: dict[Descriptor, None] = {}
    waiting = [top]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        if not is_whole(store, one):
            found[one] = None
            continue
        try:
            waiting += _needs(store, one)
        except (ImageError, OSError):  # who reads it says so
            continue
    return list(found)


def _needs(store: Store, document: Descriptor) -> list[Descriptor]:
    """The documents that one names."""
    kind, where = canonical_media_type(document.media_type), str(document.digest)
    if kind not in (INDEX, MANIFEST):
        return []
    with open(store.blob(document.digest), "rb") as file:
        content = file.read()
    if kind == MANIFEST:
        return [Manifest.from_json(content, where).config]
    tables = member(parse_json(content, where), "manifests", list, where)
    listed = [Descriptor.from_json(table, where) for table in tables if isinstance(table, dict)]
    # Of an image for several platforms the others need not be here.
    return [one for one in listed if os.path.exists(store.blob(one.digest))]


def _mend(
    store: Store, name: str, descriptor: Descriptor, progress: Progress, *, asks: bool
) -> None:
    digest = descriptor.digest
    what = f"{name}: {digest} is damaged in the store"
    origins = origins_of(store, digest)
    if not origins:
        raise BuildError(what, hint="pybuild verify-store --repair; then build or load it again")
    if not asks:
        hint = f"without --pull=never it is fetched again, as by `pybuild pull {name}`"
        raise BuildError(what, hint=hint)
    progress.note(f"pybuild: warning: {what}: it is fetched again")

    def fetch(report: Report) -> str:
        from runtime.registry.pull import pull_again

        def again(place: Reference) -> str:
            pull_again(store, place, descriptor, count=report)
            return place.name

        conf = read_registries_conf()
        return first_answer(
            tuple(at for one in origins for at in conf.endpoints(one, pulling=True)), again
        )

    try:
        transferred(progress, f"[internal] fetch {digest} again", fetch, lambda at: f"from {at}")
    except NetworkError as error:
        message = f"{what}, and cannot be fetched: {error.message}"
        raise NetworkError(message, hint=error.hint) from error
