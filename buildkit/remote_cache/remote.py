"""What builders know of caches elsewhere: results at once, layers when somebody needs them.

A result may be `hollow`: known, with a layer that is not in the store. As long as nothing is done
on it, nothing is fetched. What cannot be had is not believed any more, and its step is done again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildkit.cache import Layer, Parts, Result, record
from buildkit.scheduler import Steps, Task, Work, value_of
from runtime.oci.digest import DiffID
from runtime.store.store import Store

if TYPE_CHECKING:
    from buildkit.compressing import Compression
    from buildkit.progress import Progress
    from buildkit.remote_cache.options import CacheSource
    from buildkit.remote_cache.reading import Cache


class HollowError(Exception):
    """Layers that a step starts from are neither in the store nor anywhere else."""


class RemoteCache:
    """Caches elsewhere, the first ones first."""

    def __init__(
        self,
        store: Store,
        progress: Progress,
        caches: Sequence[Cache] = (),
        wanted: frozenset[Compression] = frozenset(),
    ) -> None:
        """`wanted` is how layers will be compressed."""
        self._store = store
        self._wanted = wanted
        self._progress = progress
        self.caches = caches
        self._missing: set[DiffID] = set()  # that cannot be had
        self._fetching: dict[DiffID, Task[None]] = {}
        self._records: dict[DiffID, list[tuple[str, Parts, Result]]] = {}  # once it is here

    def find(self, key: str, parts: Parts) -> Result | None:
        """What a step led to elsewhere; `parts` are those of its key."""
        for cache in self.caches:
            found = cache.contents.steps.get(key)
            if found is None:
                continue
            if found.layer is None or self._has(found.layer):
                record(self._store, key, parts, found)
            elif found.layer.diff_id in self._missing:
                continue
            else:
                self._records.setdefault(found.layer.diff_id, []).append((key, parts, found))
            return found
        return None

    def lacks(self, layers: Sequence[Layer]) -> bool:
        """Whether some of these layers are to be fetched."""
        return bool(self.caches) and not all(map(self._has, layers))

    def obtain(self, layers: Sequence[Layer]) -> Steps[bool]:
        """Bring layers into the store; whether all are there now. Raises DiskError."""
        for cache in self.caches:
            while task := next(filter(None, map(self._coming, layers)), None):
                yield from value_of(task)
            there = tuple(
                {
                    layer.diff_id: layer
                    for layer in layers
                    if layer.diff_id in cache.contents.blobs and not self._has(layer)
                }.values()
            )
            if there:
                task = Task(self._fetch(cache, there))
                self._fetching.update(dict.fromkeys((la.diff_id for la in there), task))
                yield from value_of(task)
        missing = {layer.diff_id for layer in layers if not self._has(layer)}
        self._missing |= missing
        return not missing

    def _coming(self, layer: Layer) -> Task[None] | None:
        """What is fetching a layer just now."""
        task = self._fetching.get(layer.diff_id)
        return None if task is None or task.ended else task

    def _fetch(self, cache: Cache, layers: tuple[Layer, ...]) -> Steps[None]:
        from buildkit.remote_cache.fetching import fetch_layers

        title = f"[internal] fetch {len(layers)} cached layer{'s'[: len(layers) > 1]}"
        with self._progress.step(f"{title} from {cache.source}", once=True) as step:
            work = Work(
                lambda _: fetch_layers(self._store, cache, layers, self._wanted, step.count),
                _silent,
            )
            problem = yield from value_of(work)
            if problem:
                step.remark(problem)
        for layer in layers:
            if self._has(layer):
                for key, parts, result in self._records.pop(layer.diff_id, ()):
                    record(self._store, key, parts, result)

    def _has(self, layer: Layer) -> bool:
        return os.path.exists(self._store.blob(layer.descriptor.digest))


def begin(
    store: Store,
    sources: Sequence[CacheSource],
    progress: Progress,
    wanted: frozenset[Compression],
) -> RemoteCache:
    """Read the caches; what cannot be read is said, and gone on without. Raises DiskError."""
    if not sources:
        return RemoteCache(store, progress)
    from buildkit.remote_cache.options import REGISTRY
    from buildkit.remote_cache.reading import Problem, read_cache

    if any(source.kind == REGISTRY for source in sources):
        # A tenth of a second, once: here, and not in each of the children.
        import runtime.registry.transport  # noqa: F401
    caches = []
    for source in sources:
        with progress.step(f"[internal] import cache from {source}", once=True) as step:
            found = read_cache(store, source)
            if isinstance(found, Problem):
                step.remark(found.message)
            else:
                caches.append(found)
    return RemoteCache(store, progress, caches, wanted)


def _silent(_: bytes) -> None:
    raise AssertionError("nothing is said while layers are fetched")
