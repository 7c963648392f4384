"""Many targets as one build: a plan for each, carried out together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from buildkit.bake.definition import Resolved, links_of
from buildkit.bake.options import Options
from buildkit.build import begin_together, make_builder
from buildkit.builder import Builder
from buildkit.command_line import read_containerfile, source_date_epoch
from buildkit.contents import StatCache
from buildkit.errors import BuildError, DiskError, LocatedError, UsageError
from buildkit.failures import failed
from buildkit.finishing import check_outputs, finish, write_exports
from buildkit.named_contexts import NamedContext
from buildkit.outcomes import Linked
from buildkit.outputs import LOCAL, STDOUT, read_outputs
from buildkit.planning import Links, Planned, plan_request
from buildkit.platforms import parts_of, read_platforms
from buildkit.progress import Progress, View
from buildkit.recorded import Recorded
from buildkit.request import INLINE, Request, read_request
from buildkit.sbom.options import read_sbom_files
from buildkit.steps import ImageBase, PlannedStage
from buildkit.together import Together
from runtime.oci.image import ImageConfig
from runtime.oci.platform import this_platform
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.remote_cache.exporting import Export

_LINK = "target://"  # before the name of a target that stands for an image: no image is called so


class Job(Record):
    """A target on its way: what is asked for, and what is known before anything is done."""

    name: str
    request: Request
    planned: Planned


def build_targets(
    resolved: Resolved,
    options: Mapping[str, Options],
    store: Store,
    notes: Sequence[str],
    watcher: View | None = None,
) -> dict[str, Recorded]:
    """Build all targets, then write what they ask for; by name, in order. Says the notes.

    `watcher` sees how the steps go.

    Raises BuildError with the target's name, at its place in its Containerfile. Nothing is written
    unless all are built; what was built stays cached.
    """
    requests: dict[str, Request] = {}
    for name in _in_order(resolved):
        with said_of(name):
            requests[name] = _request(options[name], links_of(resolved.targets[name]), store)
    _check_places(requests)
    first = next(iter(requests.values()))
    with Progress(first.progress, also=watcher) as progress:
        return _build_all(resolved, requests, store, notes, progress)


def _build_all(
    resolved: Resolved,
    requests: Mapping[str, Request],
    store: Store,
    notes: Sequence[str],
    progress: Progress,
) -> dict[str, Recorded]:
    builders: dict[str, Builder] = {}
    jobs: dict[str, Job] = {}
    for name, request in requests.items():
        with said_of(name):
            check_outputs(request)
            links = _links(links_of(resolved.targets[name]), jobs, builders)
            planned = plan_request(request, store, progress, links)
            jobs[name] = Job(name=name, request=request, planned=planned)
    caches = {
        context: StatCache(store, context)
        for context in dict.fromkeys(request.context for request in requests.values())
    }
    progress.expect(sum(job.planned.count for job in jobs.values()))
    for note in notes:
        progress.note(note)
    together = begin_together(store, tuple(requests.values()), progress)
    said: set[str] = set()
    for job in jobs.values():
        builders[job.name] = make_builder(
            job.request,
            store,
            caches[job.request.context],
            _without_warnings(job.planned, said),
            progress,
            name=job.name,
            together=together,
        )
    at_once = next(iter(requests.values())).jobs
    _carry_out(jobs, builders, together, store, progress, at_once)
    found: dict[str, Recorded] = {}
    exports: list[Export] = []
    for job in jobs.values():
        builder = builders[job.name]
        with said_of(job.name):
            found[job.name], more = finish(
                job.request, store, builder, job.planned, builder.built, progress
            )
            exports += more
    write_exports(store, exports, progress)
    for cache in caches.values():
        cache.save()
    return {name: one.replace(shown=progress.last_number) for name, one in found.items()}


@contextmanager
def said_of(name: str) -> Iterator[None]:
    """Say of an error which target it is about; a place in a Containerfile stays in front."""
    try:
        yield
    except BuildError as error:
        if error.located:
            error.message += f"\nin target {name}"
        else:
            error.message = f"target {name}: {error.message}"
        raise


def _in_order(resolved: Resolved) -> list[str]:
    """The targets, each after those that its contexts are."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for other in links_of(resolved.targets[name]).values():
                add(other)
            ordered[name] = None

    for name in resolved.targets:
        add(name)
    return list(ordered)


def _request(options: Options, links: Mapping[str, str], store: Store) -> Request:
    line = options.line
    if not os.path.isdir(line.context):
        raise UsageError(f"context {line.context}: not a directory")
    if options.inline is None:
        name, text = read_containerfile(line)
    else:
        name, text = INLINE, options.inline.encode("utf-8", "surrogateescape")
    outputs = read_outputs(line.outputs, named=True)
    platforms = read_platforms(line.platforms, this_platform())
    request = read_request(
        line,
        store,
        name=name,
        text=text,
        context=os.path.realpath(line.context),
        outputs=outputs,
        sboms=read_sbom_files(line.sboms, outputs, platforms),
        epoch=source_date_epoch(line),
    )
    images = {n.lower(): NamedContext(image=f"{_LINK}{other}") for n, other in links.items()}
    return request.replace(contexts={**request.contexts, **images})


def _check_places(requests: Mapping[str, Request]) -> None:
    """Refuse what two targets would write; directories may get the files of several."""
    taken: dict[str, str] = {}
    for name, request in requests.items():
        places = [output.dest for output in request.outputs if output.kind != LOCAL]
        for dest in (*places, *(sbom.dest for sbom in request.sboms)):
            place = dest if dest == STDOUT else os.path.abspath(dest)
            if place in taken:
                shown = "standard output" if dest == STDOUT else dest
                raise UsageError(f"targets {taken[place]} and {name} both write {shown}")
            taken[place] = name


def _links(
    links: Mapping[str, str], jobs: Mapping[str, Job], builders: Mapping[str, Builder]
) -> Links:
    """What finds the images that are other targets of this build, for one of them."""

    def find(base: ImageBase) -> Linked | None:
        name = base.name.removeprefix(_LINK)
        if not base.name.startswith(_LINK) or name not in links.values():
            return None
        job = jobs[name]
        stage = _target_for(job, base.platform)
        _, architecture, variant = parts_of(stage.platform)
        labels = dict(stage.config.labels) | dict(job.request.shape.labels)
        return Linked(
            name=f"target {name}",
            config=ImageConfig(
                architecture=architecture,
                variant=variant,
                config=stage.config.replace(labels=tuple(labels.items())),
            ),
            platform=stage.platform,
            state=lambda whole: builders[name].state_of(stage, whole=whole),
        )

    return find


def _target_for(job: Job, platform: str) -> PlannedStage:
    """What a target is for a platform; one for a single platform is what it is."""
    targets = job.planned.plan.targets
    if len(targets) == 1:
        return targets[0]
    platform = platform or this_platform()
    for stage, asked in zip(targets, job.request.platforms, strict=True):
        if platform in (asked, stage.platform):
            return stage
    raise BuildError(
        f"target {job.name} is not built for {platform}",
        hint=f"it is built for {', '.join(job.request.platforms)}",
    )


def _without_warnings(planned: Planned, said: set[str]) -> Planned:
    """The same without warnings that another target of the same file has led to."""
    source = planned.containerfile.source
    new = {w: text for w in planned.warnings if (text := w.text(source)) not in said}
    said.update(new.values())
    return planned.replace(warnings=tuple(new))


def _carry_out(
    jobs: Mapping[str, Job],
    builders: Mapping[str, Builder],
    together: Together,
    store: Store,
    progress: Progress,
    at_once: int,
) -> None:
    try:
        with Workspace(store) as work:
            together.build(tuple(builders.values()), work, jobs=at_once, tick=progress.tick)
    except LocatedError as failure:
        job = jobs[failure.plan]
        with said_of(job.name):
            raise failed(failure, job.request, job.planned.containerfile, progress) from failure
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
