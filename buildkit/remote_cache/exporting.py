"""`--cache-to`: what the steps of a build led to, written where other machines find it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from buildkit.cache import Layer, Result, cache_key
from buildkit.compressing import compressed
from buildkit.counting import Count, teller
from buildkit.errors import BuildError
from buildkit.remote_cache.contents import (
    IN_IMAGE,
    Contents,
    Document,
    artifact_of,
    member_of,
)
from buildkit.remote_cache.directory import check_place, write_cache
from buildkit.remote_cache.fetching import fetch_layers
from buildkit.remote_cache.options import INLINE, LOCAL, MAX, REGISTRY, CacheTarget
from buildkit.remote_cache.reading import Cache
from buildkit.transferring import first_answer, in_child
from runtime.errors import ImageError
from runtime.image.blob import BlobRange
from runtime.image.members import open_members
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import Descriptor
from runtime.record import Record
from runtime.registry.reference import Reference, parse_reference
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.outcomes import Built, DoneStep
    from buildkit.progress import Progress


class Export(Record):
    """What a cache gets of a build."""

    target: CacheTarget
    steps: Mapping[str, Result]
    own: frozenset[DiffID]  # layers of the images
    caches: Sequence[Cache]  # that were read: what is there need not be sent there again


class _Chosen(Record):
    """What a cache gets."""

    contents: Contents
    blobs: Mapping[Digest, BlobRange]  # those that are here
    elsewhere: Mapping[Digest, Reference]  # in another repository of the same registry


def steps_of(done: Sequence[DoneStep]) -> dict[str, Result]:
    """The results of steps by their keys, without what only this build knows of them."""
    return {cache_key(one.prepared.parts): one.result.replace(resolution=None) for one in done}


def exports_of(
    targets: tuple[CacheTarget, ...],
    done: Sequence[DoneStep],
    results: Sequence[Built],
    caches: Sequence[Cache],
) -> tuple[Export, ...]:
    """What is to be written of a build beside its images."""
    steps = steps_of(done)
    own = frozenset(layer.diff_id for result in results for layer in result.layers)
    return tuple(
        Export(target=target, steps=steps, own=own, caches=caches)
        for target in targets
        if target.kind != INLINE
    )


def members_of(
    targets: tuple[CacheTarget, ...], done: Sequence[DoneStep]
) -> tuple[tuple[str, object], ...]:
    """What the configuration of an image says of its steps, if it is to be a cache of them."""
    if all(target.kind != INLINE for target in targets):
        return ()
    return ((IN_IMAGE, member_of(steps_of(done))),)


def check_targets(targets: tuple[CacheTarget, ...]) -> None:
    """Find out before a build, not after it, that a cache has no place; raises UsageError."""
    for target in targets:
        if target.kind == LOCAL:
            check_place(target.place)


def _merged(several: Iterable[Export]) -> tuple[Export, ...]:
    """One export for each cache, where several builds have the same."""
    found: dict[tuple[str, str, str], Export] = {}
    for export in several:
        target = export.target
        place = (target.kind, target.place, target.tag)
        if (first := found.get(place)) is not None:
            mode = MAX if MAX in (target.mode, first.target.mode) else target.mode
            export = export.replace(
                target=first.target.replace(mode=mode),
                steps={**first.steps, **export.steps},
                own=first.own | export.own,
            )
        found[place] = export
    return tuple(found.values())


def write_caches(store: Store, exports: Iterable[Export], progress: Progress) -> None:
    """Write all of them; raises NetworkError, DiskError or BuildError with the cache's name."""
    for export in _merged(exports):
        target = export.target
        with progress.step(f"[internal] export cache to {target}", once=True) as step:
            try:
                _export(store, export, step.count)
            except BuildError as error:
                error.message = f"--cache-to {target}: {error.message}"
                if not target.ignore_error:
                    raise
                step.remark(f"not written: {error.message}")


def _export(store: Store, export: Export, count: Count | None) -> None:
    target = export.target
    if target.kind == LOCAL:
        chosen = _choose(store, export)
        documents = artifact_of(chosen.contents)
        write_cache(target.place, target.tag, documents, chosen.blobs)
        return
    try:
        _push(store, target, _choose(store, export), count)
    except BuildError as error:
        if type(error) is not BuildError:  # neither the registry nor this machine is at fault
            raise
        # What the registry had a moment ago is gone.
        _push(store, target, _choose(store, export.replace(caches=())), count)


def _choose(store: Store, export: Export) -> _Chosen:
    """For each layer that is wanted a blob: one that is there already, or the store's."""
    target = export.target
    layers = {
        step.layer.diff_id: step.layer
        for step in export.steps.values()
        if step.layer and (target.mode == MAX or step.layer.diff_id in export.own)
    }
    found: dict[DiffID, Descriptor] = {}
    blobs: dict[Digest, BlobRange] = {}
    elsewhere: dict[Digest, Reference] = {}
    for diff_id, layer in layers.items():
        for cache in export.caches:
            descriptor = cache.contents.blobs.get(diff_id)
            if descriptor is None or (target.force and not _is_as(descriptor, target)):
                continue
            if target.kind == LOCAL and cache.reference is None:
                try:
                    blobs[descriptor.digest] = open_members(cache.source.place).place(descriptor)
                except ImageError:  # another job has removed it
                    continue
                found[diff_id] = descriptor
                break
            if target.kind == REGISTRY and cache.reference is not None:
                there = parse_reference(target.place)
                if cache.reference.host == there.host:
                    found[diff_id] = descriptor
                    elsewhere[descriptor.digest] = cache.reference
                    break
        if diff_id in found or not _have(store, layer, export.caches):
            continue  # it is known, and whoever needs it makes it again
        made = compressed(store, layer, target.compression).descriptor
        found[diff_id] = made
        path = store.blob(made.digest)
        blobs[made.digest] = BlobRange(path=path, offset=0, size=made.size)
    return _Chosen(
        contents=Contents(steps=export.steps, blobs=found), blobs=blobs, elsewhere=elsewhere
    )


def _is_as(descriptor: Descriptor, target: CacheTarget) -> bool:
    """Whether a blob is compressed as the target wants it."""
    kind = target.compression.kind
    return descriptor.is_plain_layer if kind == "none" else descriptor.media_type.endswith(kind)


def _have(store: Store, layer: Layer, caches: Sequence[Cache]) -> bool:
    """Bring a layer here if it is in another cache; whether it is here."""
    path = store.blob(layer.descriptor.digest)
    for cache in caches:
        if os.path.exists(path):
            break
        if layer.diff_id in cache.contents.blobs:
            in_child(partial(fetch_layers, store, cache, (layer,), None))
    return os.path.exists(path)


def _push(store: Store, target: CacheTarget, chosen: _Chosen, count: Count | None) -> None:
    from runtime.registry.origins import neighbours, remember
    from runtime.registry.push import push
    from runtime.registry.registries_conf import read_registries_conf

    manifest, config = artifact_of(chosen.contents)
    reference = parse_reference(target.place)
    with Workspace(store) as work:
        here = dict(chosen.blobs)
        for document in (manifest, config):
            here[document.descriptor.digest] = _file(work, document)

        def push_it() -> None:
            def push_to(at: Reference) -> None:
                near = neighbours(store, at)
                pushed = push(
                    manifest.descriptor,
                    here.get,
                    at,
                    count=teller(count),
                    mount_from=lambda digest: chosen.elsewhere.get(digest) or near(digest),
                )
                remember(store, at, pushed)

            first_answer(read_registries_conf().endpoints(reference, pulling=False), push_to)

        in_child(push_it)


def _file(work: Workspace, document: Document) -> BlobRange:
    path = f"{work.path}/{document.descriptor.digest.hex}"
    with open(path, "xb") as file:
        file.write(document.content)
    return BlobRange(path=path, offset=0, size=document.descriptor.size)
