"""`pybuild lock`: which packages the BOOTSTRAPs of a Containerfile lead to, written down.

It is a build of the stages that have one, up to their last: only so is known what a layer of these
packages is. What is built is in the cache then, and the next build takes it from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

from buildkit.bootstrap.lock_use import place_of_lock
from buildkit.bootstrap.locked import LockFile, read_lock, to_entry, write_text
from buildkit.bootstrap.package_files import vendored_name
from buildkit.bootstrap.placing import place
from buildkit.build import begin_together, make_builder, run_builder
from buildkit.errors import BuildError, DiskError, UsageError
from buildkit.planning import plan_request
from buildkit.progress import Progress
from buildkit.replacement import Replacement, write_document
from buildkit.steps import (
    AnyStep,
    BootstrapStep,
    ConfigureStep,
    Plan,
    PlannedStage,
    StageBase,
    origins_of,
)
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.contents import StatCache
    from buildkit.outcomes import DoneBootstrap
    from buildkit.request import Request
    from runtime.store.store import Store


def make_lock(request: Request, store: Store, known: StatCache, vendor: str) -> None:
    """Write the lock file; with `vendor`, its packages into that directory.

    Raises BuildError, its place in its message; the old file stays then.
    """
    with Progress(request.progress) as progress:
        _make_lock(request, store, known, vendor, progress)


def _make_lock(
    request: Request, store: Store, known: StatCache, vendor: str, progress: Progress
) -> None:
    planned = plan_request(request, store, progress)
    plan = _of_bootstraps(planned.plan)
    planned = planned.replace(plan=plan)
    steps = [step for stage in plan.stages for step in stage.steps if _is_locked(step)]
    old = {path: read_lock(path) for path in {place_of_lock(step, request) for step in steps}}
    _check_updates(request.locks.updated, old.values())
    progress.expect(planned.count)
    together = begin_together(store, (request,), progress)
    builder = make_builder(request, store, known, planned, progress, together=together)
    run_builder(request, store, builder, planned, progress)
    for path, before in sorted(old.items()):
        here = [d for d in builder.bootstraps if place_of_lock(d.step, request) == path]
        kept = _kept(before, {d.step.name for d in here}, whole=request.target is None)
        directory = _vendor(vendor, before, path, here, store)
        _write(path, kept, here, directory)
        for done in here:
            progress.note(f"{done.step.name}: {_summary(done, before)}")
        progress.note(f"{path}: written")


def _write(
    path: str, kept: Mapping[str, object], done: Iterable[DoneBootstrap], vendored: str
) -> None:
    entries: dict[str, object] = dict(kept)
    for one in done:
        assert one.result.resolution is not None
        entries[one.step.name] = to_entry(
            one.step,
            one.asked,
            one.result.resolution,
            below=one.below,
            result="" if one.result.layer is None else str(one.result.layer.diff_id),
        )
    write_document(path, write_text(entries, vendored).encode())


def _of_bootstraps(plan: Plan) -> Plan:
    """What leads to the last BOOTSTRAP of each stage; raises BuildError if there is none."""
    short: dict[object, PlannedStage] = {}
    for stage in plan.stages:
        at = [n for n, step in enumerate(stage.steps) if isinstance(step, BootstrapStep)]
        if at:
            short[stage.id] = stage.replace(steps=stage.steps[: at[-1] + 1])
    if not short:
        raise BuildError(
            "there is no BOOTSTRAP to lock", hint="base images are locked by @sha256:… after FROM"
        )
    needed: set[object] = set(short)
    stages: list[PlannedStage] = []
    for stage in reversed(plan.stages):
        if stage.id not in needed:
            continue
        # A stage that others start from or copy from is needed as a whole.
        used = any(stage.id in _sources(other) for other in stages)
        stage = stage if used else short[stage.id]
        stages.append(stage)
        needed |= _sources(stage)
    ordered = tuple(reversed(stages))
    return plan.replace(stages=ordered, targets=tuple(s for s in ordered if s.id in short))


def _sources(stage: PlannedStage) -> set[object]:
    """The stages that one takes files from."""
    bases = [stage.base]
    for step in stage.steps:
        if not isinstance(step, ConfigureStep):
            bases += [base for base, _ in origins_of(step) if base is not None]
    return {base for base in bases if isinstance(base, StageBase)}


def _check_updates(updated: tuple[str, ...] | None, old: Iterable[LockFile | None]) -> None:
    files = [file for file in old if file is not None]
    entries = [entry for file in files for entry in file.entries.values()]
    names = {package.name for entry in entries for package in entry.resolved.packages}
    for name in updated or ():
        if name not in names:
            where = ", ".join(file.path for file in files) or "any lock file"
            raise UsageError(f"--update {name}: no such package in {where}")


def _kept(old: LockFile | None, made: set[str], *, whole: bool) -> dict[str, object]:
    """Entries that this run knows nothing of: other architectures; other stages if not `whole`."""
    if old is None:
        return {}
    stages = {name.rsplit("/", 2)[0] for name in made}
    architectures = {name.rsplit("/", 1)[1] for name in made}
    return {
        name: document
        for name, document in old.documents.items()
        if name.rsplit("/", 1)[-1] not in architectures
        or not (whole or name.rsplit("/", 2)[0] in stages)
    }


def _is_locked(step: AnyStep) -> TypeGuard[BootstrapStep]:
    return isinstance(step, BootstrapStep) and step.lock != "off"


def _vendor(
    given: str, old: LockFile | None, path: str, done: Iterable[DoneBootstrap], store: Store
) -> str:
    """Put packages into a directory; returns that as the lock file names it."""
    beside = os.path.dirname(path)
    name = os.path.relpath(given, beside) if given else ""
    if not name and old is not None:
        name = old.vendored
    if not name:
        return ""
    directory = os.path.normpath(os.path.join(beside, name))
    for one in done:
        assert one.result.resolution is not None
        with Workspace(store) as work:
            placed = place(one.result.resolution.resolved, one.asked, work.path, store)
        for file in placed:
            target = f"{directory}/{vendored_name(file.package)}"
            if os.path.exists(target) and os.path.samefile(file.path, target):
                continue
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with (
                    open(file.path, "rb") as package,
                    Replacement(target) as fd,
                    open(fd, "wb", closefd=False) as copy,
                ):
                    shutil.copyfileobj(package, copy)
            except OSError as error:
                raise DiskError(f"--vendor {directory}: {error.strerror}") from error
    return name


def _summary(done: DoneBootstrap, old: LockFile | None) -> str:
    """What is new in a bootstrap, in a few words."""
    resolution = done.result.resolution
    assert resolution is not None
    now = {p.id: p.sha256 for p in resolution.resolved.packages}
    count = f"{len(now)} packages"
    entry = None if old is None else old.entries.get(done.step.name)
    if entry is None:
        return count
    before = {p.id: p.sha256 for p in entry.resolved.packages}
    added = sorted(name for name in now if name not in before)
    removed = sorted(name for name in before if name not in now)
    rebuilt = sorted(name for name in now if before.get(name, now[name]) != now[name])
    changes = [*(f"+{n}" for n in added), *(f"-{n}" for n in removed), *(f"~{n}" for n in rebuilt)]
    return f"{count}, {' '.join(changes) if changes else 'as before'}"
