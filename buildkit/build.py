"""One build, from the text of a Containerfile to the image in the store and in its archive."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from buildkit.bootstrap_plan import warnings_of
from buildkit.builder import Builder
from buildkit.compressing import compressed, read_compression
from buildkit.contents import StatCache
from buildkit.documents import Product, make_documents, make_product, name_product, name_record
from buildkit.errors import BuildError, DiskError, LocatedError, RunFailed, UsageError
from buildkit.explain import Explanations
from buildkit.export import write_archive
from buildkit.findings import located_errors, refuse_findings
from buildkit.ignoring import find_ignore_file, read_ignore_file
from buildkit.images import find_image
from buildkit.inputs import Input
from buildkit.named_contexts import images_of
from buildkit.outcomes import Built, Linked
from buildkit.output_check import check_output
from buildkit.outputs import DOCKER, IMAGE, LOCAL, OCI, ROOTFS, TAR, Output
from buildkit.plan import Planner, joined
from buildkit.platforms import check_programs
from buildkit.printing import complain
from buildkit.progress import Progress
from buildkit.recorded import Recorded, archive_status
from buildkit.registry_images import Puller
from buildkit.remote_cache.remote import begin
from buildkit.reproducing import first_difference
from buildkit.request import INLINE, Request
from buildkit.root_output import write_root
from buildkit.run_options import check_run
from buildkit.script_lines import failed_line
from buildkit.shaping import Shape, shaped
from buildkit.state import CHROOT, Settings
from buildkit.steps import BootstrapStep, ConfigureStep, ImageBase, Plan, RunStep
from buildkit.together import Together
from grammar import Containerfile, ContainerfileErrors, ContainerfileWarning, Span, parse
from runtime.image.archive import Image
from runtime.oci.digest import digest_of
from runtime.oci.image import ImageConfig
from runtime.oci.platform import this_platform
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.attestations.attaching import Attester
    from buildkit.remote_cache.exporting import Export
    from buildkit.sbom.of_build import Sboms

Links = Callable[[ImageBase], Linked | None]
_LOG_LINES = 20  # of a failed step's output


class Planned(Record):
    """What is known before anything is done."""

    containerfile: Containerfile
    plan: Plan
    images: Mapping[ImageBase, Image | Linked]
    warnings: tuple[ContainerfileWarning, ...]
    ignore_file: str
    ignoring: tuple[Input, ...]  # what would make it another one

    @property
    def count(self) -> int:
        """How many steps there may be."""
        steps = (step for stage in self.plan.stages for step in stage.steps)
        return sum(not isinstance(step, ConfigureStep) for step in steps)


def build(request: Request, store: Store, known: StatCache) -> Recorded | None:
    """Build, and write what was asked for; raises BuildError, its place in its message.

    Nothing is written, and None returned, for a shell at some line.
    """
    with Progress(request.progress, also=request.watcher) as progress:
        planned = plan_request(request, store, progress)
        check_outputs(request)
        progress.expect(planned.count)
        return _carry_out(request, store, known, planned, progress)


def check_outputs(request: Request) -> None:
    """Find out before a build, not after it, that its result has no place to go to."""
    for output in request.outputs:
        check_output(output, request.platforms)
    for sbom in request.sboms:
        check_output(Output(kind=TAR, dest=sbom.dest), ())
    if request.cache_to:
        from buildkit.remote_cache.exporting import check_targets

        check_targets(request.cache_to)


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
    return str(_product(store, built[0], request, request.shape).descriptor.digest)


def plan_request(
    request: Request, store: Store, progress: Progress, links: Links = lambda _: None
) -> Planned:
    """Read the Containerfile; raises BuildError, its place in its message.

    Images that are pulled are steps of the progress. `links` has the images that are made at the
    same time.
    """
    puller = request.puller.replace(progress=progress)
    try:
        containerfile = parse(request.text, name=request.name)
        planners = [
            Planner(
                containerfile,
                build_args=request.build_args,
                here=this_platform(),
                platform=platform,
                target=request.target,
                contexts=images_of(request.contexts),
                at=request.at,
            )
            for platform in request.platforms or ("",)
        ]
        refuse_findings(containerfile, request.build_args)
        images: dict[ImageBase, Image | Linked] = {}
        warnings = list(containerfile.warnings)
        for planner in planners:
            warnings += _find_base_images(planner, store, request, puller, images, links)
        plan = joined([planner.plan(_configs(images)) for planner in planners])
        warnings += warnings_of(plan)
        ignore_file, ignoring = find_ignore_file(request.name, request.context)
        read_ignore_file(ignore_file)
        _check_runs(plan, request)
        _check_uncached(containerfile, request.uncached)
    except ContainerfileErrors as errors:
        raise located_errors(errors) from errors
    except LocatedError as failure:
        raise _at_its_place(failure, containerfile) from failure
    return Planned(
        containerfile=containerfile,
        plan=plan,
        images=images,
        warnings=tuple(warnings),
        ignore_file=ignore_file,
        ignoring=ignoring,
    )


def begin_together(store: Store, requests: Sequence[Request], progress: Progress) -> Together:
    """What the builders of these requests share: the caches that one of them names."""
    sources = chain.from_iterable(one.cache_from for one in requests if one.use_cache)
    return Together(begin(store, tuple(dict.fromkeys(sources)), progress))


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
        raise failed(failure, request, planned, progress) from failure
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error


def failed(
    failure: LocatedError, request: Request, planned: Planned, progress: Progress
) -> BuildError:
    """The error of a step that failed, ready to be printed; its log is printed here."""
    progress.close()
    _show_log(progress.last_log)
    if isinstance(failure.error, RunFailed):
        again = _how_to_reopen(request, failure)
        failure.error.hint = "\n      ".join(filter(None, (failure.error.hint, again)))
        failure.span = _failed_span(failure.error, failure.span, progress.last_log)
    return _at_its_place(failure, planned.containerfile)


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


def write_exports(store: Store, exports: Sequence[Export], progress: Progress) -> None:
    """Write the caches that were asked for; raises BuildError with the cache's name."""
    if exports:
        from buildkit.remote_cache.exporting import write_caches

        write_caches(store, exports, progress)


def finish(
    request: Request,
    store: Store,
    builder: Builder,
    planned: Planned,
    results: Sequence[Built],
    progress: Progress,
) -> tuple[Recorded, tuple[Export, ...]]:
    """Make the image of what was built: its names, and all that is written but caches."""
    try:
        builder.explanations.save()
        exports: tuple[Export, ...] = ()
        if request.cache_to:
            from buildkit.remote_cache.exporting import exports_of, members_of

            exports = exports_of(request.cache_to, builder.done, results, builder.caches)
            members = members_of(request.cache_to, builder.done)
            request = request.replace(shape=request.shape.replace(members=members))
        results = tuple(shaped(store, result, request.shape) for result in results)
        sboms = _sboms(store, results, request, progress)
        attester = _attester(store, request, sboms, planned, builder)
        product = _product(store, results, request, request.shape, attester)
        name_product(store, product, request.tags)
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    for output in request.outputs:
        has_place = output.kind in (IMAGE, OCI)
        _write(store, output, results, request, attester if has_place else None)
        lacks = "" if has_place or attester is None else ", without attestations"
        progress.note(f"{output.dest}: written{lacks}")
    if sboms is not None:
        sboms.write(_shape_of)
    elsewhere = (named.ignoring for named in request.contexts.values())
    inputs = (*builder.inputs, *planned.ignoring, *chain.from_iterable(elsewhere))
    return _recorded(request, store, product, inputs, progress), exports


def _write(
    store: Store,
    output: Output,
    results: Sequence[Built],
    request: Request,
    attester: Attester | None,
) -> None:
    if output.kind in (TAR, LOCAL, ROOTFS):
        places = _places(output, request.platforms)
        if len(places) > 1:
            os.makedirs(output.dest, exist_ok=True)
        for result, place in zip(results, places, strict=True):
            write_root(store, result.layers, output.replace(dest=place))
        return
    shape = _shape_of(output, request.shape)
    product = _product(store, results, request, shape, attester)
    write_archive(store, product, output, request.tags)


def _shape_of(output: Output, shape: Shape) -> Shape:
    """How an image is in an archive."""
    # docker's own archives hold layers as they are.
    how = "none" if output.kind == DOCKER else output.compression
    return shape.replace(compression=read_compression(how, "-o compression")) if how else shape


def _sboms(
    store: Store, results: Sequence[Built], request: Request, progress: Progress
) -> Sboms | None:
    """What is installed in each image, if somebody asks; raises BuildError."""
    if not (request.sboms or request.attestations.sbom):
        return None
    from buildkit.sbom.of_build import Sboms

    return Sboms(store, results, request, progress.note)


def _attester(
    store: Store, request: Request, sboms: Sboms | None, planned: Planned, builder: Builder
) -> Attester | None:
    """What attests, if somebody asks."""
    if not request.attestations.any:
        return None
    from buildkit.attestations.attaching import Attester

    return Attester(store, request, sboms, planned, builder.done)


def _places(output: Output, platforms: tuple[str, ...]) -> tuple[str, ...]:
    """Where root filesystems go: for several platforms each has a directory, as with buildx."""
    if len(platforms) < 2:
        return (output.dest,)
    return tuple(f"{output.dest}/{platform.replace('/', '_')}" for platform in platforms)


def _failed_span(error: RunFailed, span: Span, log: bytes) -> Span:
    """The line of a heredoc that its interpreter complained of, else the whole instruction."""
    number = failed_line(error.program, log.decode("utf-8", "replace"))
    if not 0 < number <= len(error.script_lines):
        return span
    return Span.within(error.script_lines[number - 1], 1)


def _how_to_reopen(request: Request, failure: LocatedError) -> str:
    """The command that opens a shell where a step failed; "" where there is none."""
    if request.name == INLINE:
        return ""
    words = ["pybuild", "shell", f"--at={failure.span.line}"]
    if request.name != "<stdin>":
        words.append(f"--file={request.name}")
    return f"`{shlex.join([*words, request.context])}` opens a shell there"


def _check_runs(plan: Plan, request: Request) -> None:
    """Refuse what a RUN may not have, or chroot cannot give, before anything is built."""
    platforms: set[str] = set()  # that were found to run here
    for stage in plan.stages:
        for step in stage.steps:
            try:
                if isinstance(step, RunStep):
                    check_run(step, request.run, chroot=request.isolation == CHROOT)
                if isinstance(step, RunStep | BootstrapStep) and stage.platform not in platforms:
                    check_programs(stage.platform, this_platform())
                    platforms.add(stage.platform)
            except BuildError as error:
                raise LocatedError(error, step.about.span) from error


def _check_uncached(containerfile: Containerfile, uncached: frozenset[str]) -> None:
    stages = containerfile.stages
    known = {s.name.lower() for s in stages if s.name} | {str(s.index) for s in stages}
    if unknown := uncached - known:
        raise UsageError(
            f"--no-cache-filter {min(unknown)!r}: no such stage",
            hint=f"stages: {', '.join(sorted(known))}",
        )


def _find_base_images(
    planner: Planner,
    store: Store,
    request: Request,
    puller: Puller,
    images: dict[ImageBase, Image | Linked],
    links: Links,
) -> list[ContainerfileWarning]:
    """Add the images that a plan needs; what is odd about them."""
    warnings: list[ContainerfileWarning] = []
    while True:
        planner.take_triggers(_configs(images))  # which may need further images
        missing = [base for base in planner.base_images() if base not in images]
        if not missing:
            return warnings
        for base in missing:
            span, here = planner.place_of(base), this_platform()
            try:
                linked = links(base)
                image = linked or find_image(
                    store, base.name, request.context, base.platform, puller
                )
            except BuildError as error:
                raise LocatedError(error, span) from error
            images[base] = image
            if not base.platform and image.platform not in ("", here):
                message = f"{base.name} is for {image.platform}, this machine is {here}"
                hint = f"--platform={image.platform} says that this is meant"
                warnings.append(
                    ContainerfileWarning(
                        code="InvalidBaseImagePlatform", message=message, span=span, hint=hint
                    )
                )


def _configs(images: Mapping[ImageBase, Image | Linked]) -> dict[ImageBase, ImageConfig]:
    return {base: image.config for base, image in images.items()}


def _product(
    store: Store,
    results: Sequence[Built],
    request: Request,
    shape: Shape,
    attester: Attester | None = None,
) -> Product:
    images = []
    for result in results:
        layers = (compressed(store, layer, shape.compression) for layer in result.layers)
        images.append(make_documents(result.config, tuple(layers), shape))
    attestations = () if attester is None else attester.manifests(images)
    as_index = len(request.platforms) > 1
    return make_product(tuple(images), attestations, as_index=as_index, docker=shape.docker)


def _recorded(
    request: Request,
    store: Store,
    product: Product,
    inputs: tuple[Input, ...],
    progress: Progress,
) -> Recorded:
    descriptors = [product.descriptor]
    for image in product.manifests:
        descriptors += [image.descriptor, image.config_descriptor]
        descriptors += [layer.descriptor for layer in image.layers]
    paths = [(store.blob(d.digest), d.size) for d in descriptors]
    name = str(digest_of(name_record(product)))
    return Recorded(
        inputs=inputs,
        titles=tuple(progress.titles),
        paths=tuple(dict.fromkeys(paths)),
        names=tuple((store.image_name(tag), name) for tag in request.tags),
        digest=str(product.descriptor.digest),
        config_digest=""
        if len(request.platforms) > 1
        else str(product.images[0].config_descriptor.digest),
        manifest=product.descriptor.to_json(),
        archives=tuple(
            archive_status(dest)
            for dest in (
                *(output.dest for output in request.outputs if output.is_file),
                *(sbom.dest for sbom in request.sboms),
            )
        ),
    )


def _at_its_place(failure: LocatedError, containerfile: Containerfile) -> BuildError:
    """The error with its place and the source text there in its message, ready to be printed."""
    error = failure.error
    located = containerfile.error(error.message, failure.span, hint=error.hint)
    placed = type(error)(str(located))
    placed.located = True
    placed.documents = (located.to_json(),)
    return placed


def _show_log(log: bytes) -> None:
    lines = log.decode("utf-8", "replace").splitlines()
    if lines:
        shown = [f" > {text}" for text in lines[-_LOG_LINES:]]
        complain("\n".join(["------", *shown, "------"]))
