"""What a step works with, found before anything is done: from it comes the step's key."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, assert_never

from buildkit.cache import Parts
from buildkit.contents import GoneError
from buildkit.counting import Count
from buildkit.errors import BuildError, LocatedError
from buildkit.inputs import HiddenError, Input, context_input, is_same_context
from buildkit.state import LEAST_EPOCH, Settings, State
from buildkit.steps import (
    AnyStep,
    BootstrapStep,
    ConfigureStep,
    CopyStep,
    RunStep,
    Source,
    WorkdirStep,
)
from grammar.values.mounts import BindMount
from runtime.record import Record
from runtime.store.store import Store

if TYPE_CHECKING:
    from buildkit.adding import Added
    from buildkit.bootstrap.prepare import PreparedBootstrap

# A file's times come from a clock that is read a hundred times a second, or more often.
_GRAIN_NS = 20_000_000
_CHANGED = "the context changed while it was copied"
_QUIET = "run the build again when nothing writes to it"

# What a COPY takes files from if it is not the context; of a RUN one for each of its mounts.
Origins = tuple[State | None, ...]


class Prepared(Record):
    """A step's inputs. `parts` identify them all, and become the cache key."""

    parts: Parts
    epoch: int  # seconds; of what the step writes, unless what it installs is newer
    paths: tuple[str, ...] = ()  # of a COPY from the context
    added: tuple[Added, ...] = ()  # of an ADD instead, if it does more than COPY
    origins: Origins = ()
    bound: tuple[tuple[str, ...], ...] = ()  # of each mount: its paths in the context
    bootstrap: PreparedBootstrap | None = None
    inputs: tuple[Input, ...] = ()  # what it takes from outside the store
    began: int = 0  # when these were looked at, in nanoseconds of the clock that files have


def prepare(
    step: AnyStep,
    state: State,
    settings: Settings,
    origins: Origins,
    store: Store,
    count: Count | None = None,
) -> Prepared:
    """Find a step's inputs; `origins` is what it takes files from (`origins_of`).

    What ADD fetches is in the store afterwards. Raises BuildError, or LocatedError for one word of
    the instruction.
    """
    began = time.time_ns()
    match step:
        case RunStep():
            prepared = _prepare_run(step, state, settings, origins)
        case WorkdirStep():
            parts: dict[str, object] = {"kind": "workdir", "path": step.path, "user": step.user}
            prepared = _prepared(parts, state)
        case CopyStep():
            within = settings.within(step.context)
            prepared = _prepare_copy(step, state, within, origins[0], store, count)
        case BootstrapStep():
            prepared = _prepare_bootstrap(step, state, settings, origins, store)
        case ConfigureStep():
            raise AssertionError("a change of the configuration has no inputs")
        case _:
            assert_never(step)
    return prepared.replace(began=began)


def refuse_changes(prepared: Prepared, newest_change: int, settings: Settings) -> None:
    """Raise BuildError if what was copied from the context is not what the step's key speaks of.

    `newest_change` is the newest ctime that was seen, in nanoseconds: all is read again only if
    something has changed since it was looked at first.
    """
    if newest_change + _GRAIN_NS < prepared.began:
        return
    for item in prepared.inputs:
        if item[0] == "context" and not is_same_context(item, settings.known):
            raise BuildError(_CHANGED, hint=_QUIET)


def _prepared(
    parts: dict[str, object],
    state: State,
    *,
    epoch: int | None = None,
    paths: tuple[str, ...] = (),
    origins: Origins = (),
    bound: tuple[tuple[str, ...], ...] = (),
    bootstrap: PreparedBootstrap | None = None,
    inputs: tuple[Input, ...] = (),
    parent: str = "",
    added: tuple[Added, ...] = (),
) -> Prepared:
    epoch = state.epoch if epoch is None else epoch
    return Prepared(
        parts=parts | {"parent": parent or state.parent, "epoch": epoch},
        epoch=epoch,
        paths=paths,
        origins=origins,
        bound=bound,
        bootstrap=bootstrap,
        inputs=inputs,
        added=added,
    )


def _prepare_run(step: RunStep, state: State, settings: Settings, origins: Origins) -> Prepared:
    mounts: list[object] = []
    inputs: list[Input] = []
    bound: list[tuple[str, ...]] = []
    for mounted, origin in zip(step.mounts, origins, strict=True):
        mount = mounted.mount
        paths: tuple[str, ...] = ()
        # What a cache or a secret holds is no part of the key, only what is asked of it.
        parts: list[object] = [repr(mount), origin.parent if origin else mounted.context]
        if isinstance(mount, BindMount) and origin is None:
            source = Source(path=_literal(mount.source), span=mounted.span)
            found, paths = _select(source, settings.within(mounted.context))
            inputs.append(found)
            parts += list(found[-1])
        mounts.append(parts)
        bound.append(paths)
    parts_of_key: dict[str, object] = {
        "kind": "run",
        "args": step.args,
        "env": sorted(step.env),
        "cwd": step.cwd,
        "user": step.user,
        "network": settings.run.network_of(step),
        "insecure": step.insecure,
        "mounts": mounts,
        "script": step.script and step.script.content,
        "options": settings.run.parts,
    }
    return _prepared(
        parts_of_key, state, origins=origins, inputs=tuple(inputs), bound=tuple(bound)
    )


def _literal(path: str) -> str:
    """The pattern that matches a path alone."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def _prepare_copy(
    step: CopyStep,
    state: State,
    settings: Settings,
    origin: State | None,
    store: Store,
    count: Count | None,
) -> Prepared:
    parts: dict[str, object] = {
        "kind": "copy",
        "destination": step.destination,
        "chown": step.chown,
        "chmod": repr(step.chmod),
        "inline": [[inline.name, inline.content] for inline in step.inline],
        "exclude": step.exclude,
        "parents": step.parents,
    }
    # What is linked is as old whatever lies below it, so that its layer is the same.
    below = LEAST_EPOCH if step.link else state.epoch
    parent = "link" if step.link else ""
    if origin is not None:
        parts |= {"origin": origin.parent, "sources": [source.path for source in step.sources]}
        epoch = settings.clamped(max(below, origin.epoch))
        return _prepared(parts, state, epoch=epoch, origins=(origin,), parent=parent)
    paths: list[str] = []
    inputs: list[Input] = []
    sources: list[object] = []
    added: list[Added] = []
    adds = step.unpacks or any(source.remote is not None for source in step.sources)
    if adds:
        from buildkit.adding import AddedPath, find_local, find_remote
    for source in step.sources:
        if source.remote is not None:
            remote = find_remote(source, step, below, store, count)
            inputs.extend(remote.inputs)
            sources.append(remote.parts)
            added.append(remote.added)
            continue
        found, named = _select(source, settings, exclude=step.exclude, parents=step.parents)
        inputs.append(found)
        sources.append(list(found[-1]))
        paths.extend(named)
        if adds:
            added.extend(find_local(settings.context, named, unpacks=step.unpacks))
    parts["sources"] = sources
    if adds and all(isinstance(item, AddedPath) for item in added):
        added = []  # nothing that COPY does not do
    if added:
        parts["added"] = [type(item).__name__ for item in added]
        parts["unpacked"] = [getattr(item, "unpacks", None) for item in added]
    return _prepared(
        parts,
        state,
        epoch=settings.clamped(below),
        paths=tuple(paths),
        inputs=tuple(inputs),
        parent=parent,
        added=tuple(added),
    )


def _prepare_bootstrap(
    step: BootstrapStep, state: State, settings: Settings, origins: Origins, store: Store
) -> Prepared:
    from buildkit.bootstrap.prepare import prepare_bootstrap

    tools = origins[0] if origins else None
    found = prepare_bootstrap(step, state, settings, tools, store)
    return _prepared(
        found.parts,
        state,
        epoch=found.epoch,
        origins=origins,
        bootstrap=found.bootstrap,
        inputs=found.inputs,
    )


def _select(
    source: Source, settings: Settings, *, exclude: tuple[str, ...] = (), parents: bool = False
) -> tuple[Input, tuple[str, ...]]:
    try:
        return context_input(
            settings.context,
            (source.path,),
            settings.ignore_file,
            settings.known,
            exclude=exclude,
            parents=parents,
        )
    except HiddenError as hidden:
        error = BuildError(f"{source.path}: excluded from the context", hint=f"by {hidden}")
    except GoneError as gone:
        error = BuildError(f"{_CHANGED}: {gone.filename} is gone", hint=_QUIET)
    except (FileNotFoundError, NotADirectoryError):
        near = _near(source.path, settings.context)
        hint = f"did you mean {near}?" if near else None
        error = BuildError(
            f"{source.path}: not found in the context {settings.context}", hint=hint
        )
    except OSError as reason:
        error = BuildError(f"{reason.filename or source.path}: {reason.strerror}")
    raise LocatedError(error, source.span)


def _near(path: str, context: str) -> str | None:
    import difflib

    directory, _, name = path.strip("/").rpartition("/")
    try:
        names = os.listdir(os.path.join(context, directory))
    except OSError:
        return None
    near = difflib.get_close_matches(name, names, 1)
    return os.path.join(directory, near[0]) if near else None
