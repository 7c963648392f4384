"""What a command line asks of a build, as one value."""

from __future__ import annotations

import os
from collections.abc import Mapping

from buildkit.attestations.options import Attestations, read_attestations
from buildkit.command_line import (
    CommandLine,
    build_arguments,
    isolation,
    lock_path,
    progress_kind,
    steps_at_once,
    uncached_stages,
)
from buildkit.errors import UsageError
from buildkit.images import MISSING_ONES
from buildkit.isolation import settle_isolation
from buildkit.named_contexts import NamedContext, read_named_contexts
from buildkit.outputs import Output
from buildkit.platforms import docker_architecture, read_platforms
from buildkit.progress import View, settle_kind
from buildkit.registry_images import ALWAYS, MISSING, Puller
from buildkit.run_options import RunOptions, read_run_options
from buildkit.sbom.options import SbomFile
from buildkit.shape_options import read_shape
from buildkit.shaping import Shape
from buildkit.state import LOCK_MADE, LOCK_OFF, LOCK_REQUIRED, LOCK_USED, Locks
from buildkit.supplies import Supplies, read_supplies
from runtime.oci.platform import this_platform
from runtime.record import Record
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.remote_cache.options import CacheSource, CacheTarget

INLINE = "<inline>"  # a Containerfile that is no file


class Request(Record):
    """What is to be built, how, and where to."""

    name: str  # of the Containerfile, for errors
    text: bytes
    context: str  # real path
    contexts: Mapping[str, NamedContext]
    outputs: tuple[Output, ...]
    sboms: tuple[SbomFile, ...]
    attestations: Attestations
    shape: Shape
    tags: tuple[str, ...]
    target: str | None
    platforms: tuple[str, ...]  # empty: this machine's
    build_args: Mapping[str, str]
    epoch: int | None  # SOURCE_DATE_EPOCH, seconds
    use_cache: bool
    uncached: frozenset[str]  # stages that are done anew
    cache_from: tuple[CacheSource, ...]
    cache_to: tuple[CacheTarget, ...]
    explain: bool
    progress: str  # kind of view
    isolation: str  # NAMESPACES or CHROOT
    jobs: int  # steps at once
    run: RunOptions
    supplies: Supplies
    at: int | None = None  # line that a shell is wanted at; 0: at the end
    shell_on_failure: bool = False
    locks: Locks = Locks()
    puller: Puller = MISSING_ONES
    watcher: View | None = None  # sees how the steps go, beside who shows it


def read_request(
    line: CommandLine,
    store: Store,
    *,
    name: str,
    text: bytes,
    context: str,
    outputs: tuple[Output, ...],
    sboms: tuple[SbomFile, ...],
    epoch: int | None,
    watcher: View | None = None,
) -> Request:
    """Read all options; raises UsageError. Then this process is root (`settle_isolation`)."""
    asked = (*line.platforms, *(f"linux/{docker_architecture(a)}" for a in line.architectures))
    platforms = read_platforms(asked, this_platform())
    if line.shell and len(platforms) > 1:
        raise UsageError("pybuild shell: one --platform at a time")
    by_hand = line.shell or bool(line.on_fail)
    return Request(
        name=name,
        text=text,
        context=context,
        outputs=outputs,
        sboms=sboms,
        attestations=read_attestations(line),
        shape=read_shape(line),
        tags=line.tags,
        target=line.target,
        platforms=platforms,
        build_args=build_arguments(line.build_args),
        epoch=epoch,
        use_cache=not (line.no_cache or line.verify),
        uncached=uncached_stages(line),
        cache_from=_read_sources(line),
        cache_to=_read_targets(line),
        explain=line.explain,
        progress=settle_kind(progress_kind(line), quiet=line.quiet, by_hand=by_hand),
        # What others say would be in the way on a terminal.
        jobs=1 if line.on_fail else steps_at_once(line),
        at=int(line.at or 0) if line.shell else None,
        shell_on_failure=line.on_fail == "shell",
        run=read_run_options(line),
        locks=_read_locks(line, name),
        puller=Puller(policy=pull_policy(line)),
        watcher=watcher,
        contexts=read_named_contexts(line.build_contexts),
        supplies=read_supplies(line.secrets, line.ssh),
        isolation=settle_isolation(isolation(line), store, quiet=line.quiet),
    )


def _read_sources(line: CommandLine) -> tuple[CacheSource, ...]:
    if not line.cache_from:
        return ()
    from buildkit.remote_cache.options import read_sources

    return read_sources(line.cache_from)


def _read_targets(line: CommandLine) -> tuple[CacheTarget, ...]:
    if not line.cache_to:
        return ()
    from buildkit.remote_cache.options import read_targets

    return read_targets(line.cache_to)


def _read_locks(line: CommandLine, name: str) -> Locks:
    mode = LOCK_USED
    if line.lock:
        mode = LOCK_MADE
    elif line.locked or line.no_lock:
        mode = LOCK_REQUIRED if line.locked else LOCK_OFF
    updated = tuple(word for text in line.updates for word in text.split(",") if word)
    return Locks(
        mode=mode,
        path=os.path.abspath(lock_path(line, name)),
        updated=updated if line.updates else None,
    )


def pull_policy(line: CommandLine) -> str:
    """What --pull asks for, in podman's words; docker's is true or false."""
    return {"": MISSING, "true": ALWAYS, "false": MISSING}.get(line.pull, line.pull)
