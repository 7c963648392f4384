"""`--cache-to`: what the steps of a build led to, written where other machines find it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from buildkit.cache import Layer, Result, cache_key
from buildkit.compressing import Compression, compressed, read_compression
from buildkit.counting import Count, teller
from buildkit.errors import BuildError
from buildkit.remote_cache.contents import (
    IN_IMAGE,
    Blob,
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


class _Place(Record):
    """A layer, and where its bytes are: here, or in another repository of the same registry."""

    blob: Blob
    file: BlobRange | None = None
    reference: Reference | None = None


def steps_of(done: Sequence[DoneStep]) -> dict[str, Result]:
    """The results of steps by their keys, without what only this build knows of them."""
    return {cache_key(one.prepared.parts): one.result.replace(resolution=None) for one in done}


def exports_of(
    targets: tuple[CacheTarget, ...],
    done: Sequence[DoneStep],
    results: Sequence[Built],
    caches: Sequence[Cache],
    compression: Compression,
) -> tuple[Export, ...]:
    """What is to be written of a build beside its images, whose layers are compressed so.

    So are those of the caches, unless somebody says how: a registry has both once.
    """
    usual = compression if compression.kind != "none" else read_compression("zstd")
    steps = steps_of(done)
    own = frozenset(layer.diff_id for result in results for layer in result.layers)
    return tuple(
        Export(
            target=target.replace(compression=target.compression or usual),
            steps=steps,
            own=own,
            caches=caches,
        )
        for target in targets
        if target.kind != INLINE
    )


def members_of(
    targets: tuple[CacheTarget, ...], done: Sequence[DoneStep], compression: Compression
) -> tuple[tuple[str, object], ...]:
    """What the configuration of an image says of its steps, if it is to be a cache of them."""
    if all(target.kind != INLINE for target in targets):
        return ()
    return ((IN_IMAGE, member_of(steps_of(done), compression)),)


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
    # What is nowhere is known all the same, and whoever needs it makes it again.
    found = {
        diff_id: place
        for diff_id, layer in layers.items()
        if (place := _there(export, diff_id) or _here(store, export, layer)) is not None
    }
    return _Chosen(
        contents=Contents(
            steps=export.steps, blobs={diff_id: place.blob for diff_id, place in found.items()}
        ),
        blobs={p.blob.descriptor.digest: p.file for p in found.values() if p.file},
        elsewhere={p.blob.descriptor.digest: p.reference for p in found.values() if p.reference},
    )


def _there(export: Export, diff_id: DiffID) -> _Place | None:
    """A layer as a cache has it that was read, if the target can have that: it is not sent."""
    target = export.target
    for cache in export.caches:
        blob = cache.contents.blobs.get(diff_id)
        if blob is None or (target.force and blob.how != target.compression):
            continue
        if target.kind == LOCAL and cache.reference is None:
            try:
                file = open_members(cache.source.place).place(blob.descriptor)
            except ImageError:  # another job has removed it
                continue
            return _Place(blob=blob, file=file)
        same_registry = (
            target.kind == REGISTRY
            and cache.reference is not None
            and cache.reference.host == parse_reference(target.place).host
        )
        if same_registry:
            return _Place(blob=blob, reference=cache.reference)
    return None


def _here(store: Store, export: Export, layer: Layer) -> _Place | None:
    """A layer of the store, or one that is brought there from another cache."""
    how = export.target.compression
    assert how is not None
    path = store.blob(layer.descriptor.digest)
    for cache in export.caches:
        if not os.path.exists(path) and layer.diff_id in cache.contents.blobs:
            in_child(partial(fetch_layers, store, cache, (layer,), frozenset((how,)), None))
    if not os.path.exists(path):
        return None
    made = compressed(store, layer, how).descriptor
    file = BlobRange(path=store.blob(made.digest), offset=0, size=made.size)
    return _Place(blob=Blob(descriptor=made, how=how), file=file)


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
