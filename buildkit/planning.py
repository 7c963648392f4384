"""What is known of a build before anything is done: plan, base images, what is odd."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from buildkit.bootstrap_plan import warnings_of
from buildkit.errors import BuildError, LocatedError, UsageError
from buildkit.failures import at_its_place
from buildkit.findings import located_errors, refuse_findings
from buildkit.ignoring import find_ignore_file, read_ignore_file
from buildkit.images import find_image
from buildkit.inputs import Input
from buildkit.named_contexts import images_of
from buildkit.outcomes import Linked
from buildkit.plan import Planner, joined
from buildkit.platforms import check_programs
from buildkit.progress import Progress
from buildkit.registry_images import Puller
from buildkit.request import Request
from buildkit.run_options import check_run
from buildkit.state import CHROOT
from buildkit.steps import BootstrapStep, ConfigureStep, ImageBase, Plan, RunStep
from grammar import Containerfile, ContainerfileErrors, ContainerfileWarning, parse
from runtime.image.archive import Image
from runtime.oci.image import ImageConfig
from runtime.oci.platform import this_platform
from runtime.record import Record
from runtime.store.store import Store

Links = Callable[[ImageBase], Linked | None]


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
        raise at_its_place(failure, containerfile) from failure
    return Planned(
        containerfile=containerfile,
        plan=plan,
        images=images,
        warnings=tuple(warnings),
        ignore_file=ignore_file,
        ignoring=ignoring,
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
