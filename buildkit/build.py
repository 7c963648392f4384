"""One build, from the text of a Containerfile to the image in the store and in its archive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from buildkit.builder import Builder
from buildkit.contents import StatCache
from buildkit.errors import BuildError, DiskError, LocatedError
from buildkit.explain import Explanations
from buildkit.failures import failed
from buildkit.finishing import check_outputs, finish, product_of, write_exports
from buildkit.outcomes import Built
from buildkit.planning import Planned, plan_request
from buildkit.progress import Progress
from buildkit.recorded import Recorded
from buildkit.remote_cache.remote import begin
from buildkit.reproducing import first_difference
from buildkit.request import Request
from buildkit.shaping import shaped
from buildkit.state import Settings
from buildkit.together import Together
from runtime.store.store import Store
from runtime.store.workspace import Workspace


def build(request: Request, store: Store, known: StatCache) -> Recorded | None:
    """Build, and write what was asked for; raises BuildError, its place in its message.

    Nothing is written, and None returned, for a shell at some line.
    """
    with Progress(request.progress, also=request.watcher) as progress:
        planned = plan_request(request, store, progress)
        check_outputs(request)
        progress.expect(planned.count)
        return _carry_out(request, store, known, planned, progress)


def verify_reproducible(request: Request, store: Store, known: StatCache) -> str:
    """Build twice without the cache, and compare; the digest of the manifest.

    Raises BuildError that says where they differ. Nothing is written but to the store.
    """
    built = []
    for _ in range(2):
        with Progress(request.progress, also=request.watcher) as progress:
            planned = plan_request(request, store, progress)
            progress.expect(planned.count)
            together = begin_together(store, (request,), progress)
            builder = make_builder(request, store, known, planned, progress, together=together)
            results = run_builder(request, store, builder, planned, progress)
        built.append([shaped(store, result, request.shape) for result in results])
    for one, two in zip(*built, strict=True):
        if difference := first_difference(store, one, two):
            raise BuildError(
                f"not reproducible: {difference}",
                hint="what a command writes differently each time is in no layer if it goes to a "
                "--mount=type=tmpfs or type=cache",
            )
    return str(product_of(store, built[0], request, request.shape).descriptor.digest)


def begin_together(store: Store, requests: Sequence[Request], progress: Progress) -> Together:
    """What the builders of these requests share: the caches that one of them names."""
    sources = chain.from_iterable(one.cache_from for one in requests if one.use_cache)
    wanted = frozenset(one.shape.compression for one in requests)
    return Together(begin(store, tuple(dict.fromkeys(sources)), progress, wanted))


def make_builder(
    request: Request,
    store: Store,
    known: StatCache,
    planned: Planned,
    progress: Progress,
    *,
    together: Together,
    name: str = "",
) -> Builder:
    """What carries the plan out; says what is odd about the Containerfile."""
    for warning in planned.warnings:
        progress.note(warning.text(planned.containerfile.source))
    settings = Settings(
        context=request.context,
        contexts=request.contexts,
        epoch=request.epoch,
        use_cache=request.use_cache,
        uncached=request.uncached,
        explain=request.explain,
        shell_on_failure=request.shell_on_failure,
        ignore_file=planned.ignore_file,
        isolation=request.isolation,
        run=request.run,
        supplies=request.supplies,
        locks=request.locks,
        known=known,
    )
    return Builder(
        store,
        planned.plan,
        planned.images,
        settings=settings,
        progress=progress,
        explanations=Explanations(store, request.name, request.context),
        name=name,
        together=together,
    )


def run_builder(
    request: Request, store: Store, builder: Builder, planned: Planned, progress: Progress
) -> tuple[Built, ...]:
    """Carry the plan out, for all targets; raises BuildError, its place in its message."""
    try:
        with Workspace(store) as work:
            return builder.build(work, jobs=request.jobs)
    except LocatedError as failure:
        raise failed(failure, request, planned.containerfile, progress) from failure
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error


def _carry_out(
    request: Request, store: Store, known: StatCache, planned: Planned, progress: Progress
) -> Recorded | None:
    together = begin_together(store, (request,), progress)
    builder = make_builder(request, store, known, planned, progress, together=together)
    results = run_builder(request, store, builder, planned, progress)
    if request.at is not None:
        return None
    found, exports = finish(request, store, builder, planned, results, progress)
    write_exports(store, exports, progress)
    return found.replace(shown=progress.last_number)
