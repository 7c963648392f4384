"""Doing one step: on a snapshot over the layers below it, which then becomes a layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, assert_never

from buildkit.applying import apply_layers
from buildkit.cache import Result
from buildkit.changeset import Packed
from buildkit.copy_to_directory import DirectoryTarget
from buildkit.copy_to_layer import LayerTarget, NeedsRootError
from buildkit.copying import Copier, Folder, Target
from buildkit.counting import Count
from buildkit.errors import BuildError
from buildkit.excluding import read_exclusions
from buildkit.ignoring import ALL_VISIBLE, read_ignore_file
from buildkit.layer_blob import keep_blob, write_blob
from buildkit.owners import Owners, owners_here
from buildkit.preparation import Prepared, refuse_changes
from buildkit.processes import call_in_child, call_in_mount_namespace
from buildkit.run import execute_run
from buildkit.selection import select, select_below
from buildkit.snapshot import Snapshot, commit, new_snapshot
from buildkit.state import Settings, State
from buildkit.steps import AnyStep, BootstrapStep, ConfigureStep, CopyStep, RunStep, WorkdirStep
from buildkit.worker import Output
from runtime.sandbox.rootfs import Overlay
from runtime.sandbox.rootpath import MAX_LINKS, make_directories
from runtime.sandbox.users import look_up
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.copied_snapshot import Trees


def execute(
    step: AnyStep,
    state: State,
    prepared: Prepared,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    output: Output,
    reuses: bool,
    count: Count | None = None,
) -> Result:
    """Do a step in a workspace of its own and commit what it changed.

    With `reuses`, what a BOOTSTRAP finds out to have been installed before is not installed again.
    Raises BuildError, or LocatedError for one word of the instruction.
    """
    if isinstance(step, CopyStep) and not prepared.added:
        packed = _copy_to_layer(step, state, prepared, settings, store, work, count)
        if packed is not None:
            return Result(layer=keep_blob(store, work, packed), epoch=prepared.epoch)
    snapshot = new_snapshot(work, apply_layers(store, state, work))
    epoch, owners = prepared.epoch, owners_here()
    if owners is not None:
        _look_below(owners, step, store, state, snapshot.has_below)
    match step:
        case RunStep():
            execute_run(
                step,
                snapshot,
                prepared,
                settings=settings,
                store=store,
                work=work,
                output=output,
            )
            if step.by_hand:
                return Result(layer=None, epoch=state.epoch)
        case WorkdirStep():
            call_in_mount_namespace(
                lambda: _make_workdir(step, snapshot.rootfs().attach(store.scratch))
            )
        case CopyStep():
            with _fetched(prepared, work) as fetched:
                source = _source(fetched, store, work)
                newest = call_in_mount_namespace(
                    lambda: _copy_mounted(step, snapshot, fetched, settings, store, source)
                )
            epoch = settings.clamped(max(epoch, newest))
        case BootstrapStep():
            from buildkit.bootstrap.places import perform_on_snapshot

            return perform_on_snapshot(
                step,
                state,
                prepared.bootstrap,
                snapshot,
                settings=settings,
                store=store,
                work=work,
                owners=owners,
                reuses=reuses,
                output=output,
                count=count,
            )
        case ConfigureStep():
            raise AssertionError("a change of the configuration is not executed")
        case _:
            assert_never(step)
    return commit(store, work, snapshot, state.diff_ids, epoch, count=count, owners=owners)


def execute_on_tree(
    step: AnyStep,
    state: State,
    prepared: Prepared,
    *,
    trees: Trees,
    settings: Settings,
    store: Store,
    work: Workspace,
    output: Output,
    reuses: bool,
    count: Count | None = None,
) -> Result:
    """The same without mounts, on a copy of the root filesystem."""
    tree = trees.take(state)
    _ = tree.state  # looked at before anything is changed
    epoch, owners = prepared.epoch, owners_here()
    if owners is not None:
        _look_below(owners, step, store, state, tree.state.knows)
    match step:
        case RunStep():
            from buildkit.run_on_tree import run_on_tree

            run_on_tree(
                step,
                trees,
                tree,
                prepared,
                settings=settings,
                store=store,
                work=work,
                output=output,
            )
            if step.by_hand:
                return Result(layer=None, epoch=state.epoch)
        case WorkdirStep():
            call_in_child(lambda: _make_workdir(step, tree.root))
        case CopyStep():
            [elsewhere] = prepared.origins or (None,)
            origin = None if elsewhere is None else trees.look(elsewhere)
            root = trees.aside(tree) if step.link else tree.root
            with _fetched(prepared, work) as fetched:
                newest = call_in_child(lambda: _copy_or_add(step, root, origin, fetched, settings))
            epoch = settings.clamped(max(epoch, newest))
            if step.link:
                return trees.link(tree, root, epoch)
        case BootstrapStep():
            from buildkit.bootstrap.places import perform_on_tree

            return perform_on_tree(
                step,
                state,
                prepared.bootstrap,
                tree,
                trees,
                settings=settings,
                store=store,
                work=work,
                owners=owners,
                reuses=reuses,
                output=output,
                count=count,
            )
        case ConfigureStep():
            raise AssertionError("a change of the configuration is not executed")
        case _:
            assert_never(step)
    return trees.commit(tree, epoch, owners)


def _look_below(
    owners: Owners, step: AnyStep, store: Store, state: State, has: Callable[[str], bool]
) -> None:
    """Let owners be those of the layers below; `has` says whether something was at a path."""
    from buildkit.owners_below import OwnersBelow

    owners.below = OwnersBelow(store, state.layers, has)
    owners.inherits = isinstance(step, RunStep)


def _copy_to_layer(
    step: CopyStep,
    state: State,
    prepared: Prepared,
    settings: Settings,
    store: Store,
    work: Workspace,
    count: Count | None,
) -> Packed | None:
    """Copy into a new blob; None if that takes the root filesystem as a directory."""
    # Linked: as if nothing were below.
    lowers = () if step.link else apply_layers(store, state, work)
    source = _source(prepared, store, work)

    def copy() -> Packed | None:
        target = LayerTarget(lowers, prepared.epoch)
        origin = None if source is None else Overlay(lowers=source).attach(store.scratch)
        try:
            _copy(step, target, origin, prepared, settings)
        except NeedsRootError:
            return None
        return write_blob(work, lambda fd: target.pack(fd, count))

    return call_in_child(copy) if source is None else call_in_mount_namespace(copy)


def _copy_mounted(
    step: CopyStep,
    snapshot: Snapshot,
    prepared: Prepared,
    settings: Settings,
    store: Store,
    source: tuple[str, ...] | None,
) -> int:
    """Copy or add to a snapshot; returns the newest time of what came out of archives."""
    root = snapshot.upper if step.link else snapshot.rootfs().attach(store.scratch)
    origin = None
    if source is not None:
        scratch = f"{store.scratch}/origin"
        os.mkdir(scratch)
        origin = Overlay(lowers=source).attach(scratch)
    return _copy_or_add(step, root, origin, prepared, settings)


@contextmanager
def _fetched(prepared: Prepared, work: Workspace) -> Iterator[Prepared]:
    """With the files of the git repositories that an ADD names."""
    if not prepared.added:
        yield prepared
        return
    from buildkit.adding import fetch_trees, remove_trees

    yield prepared.replace(added=fetch_trees(prepared.added, work))
    remove_trees(work)


def _source(prepared: Prepared, store: Store, work: Workspace) -> tuple[str, ...] | None:
    """The layers that a COPY takes files from, None for the context."""
    [elsewhere] = prepared.origins or (None,)
    return None if elsewhere is None else apply_layers(store, elsewhere, work)


def _copy_or_add(
    step: CopyStep, root: str, origin: str | None, prepared: Prepared, settings: Settings
) -> int:
    """Copy or add to a directory; returns the newest time of what came out of archives, in
    seconds.
    """
    target = DirectoryTarget(root)
    if not prepared.added:
        _copy(step, target, origin, prepared, settings)
        return 0
    from buildkit.adding import Adder

    settings = settings.within(step.context)
    visible = read_ignore_file(settings.ignore_file)
    adder = Adder(step, target, epoch=prepared.epoch, visible=visible)
    newest = adder.add(settings.context, prepared.added)
    refuse_changes(prepared, adder.newest_change, settings)
    return newest


def _copy(
    step: CopyStep,
    target: Target[Folder],
    origin: str | None,
    prepared: Prepared,
    settings: Settings,
) -> None:
    """Copy from another root filesystem, or from the context if `origin` is None."""
    if origin is None:
        settings = settings.within(step.context)
        source, paths = settings.context, prepared.paths
        visible = read_ignore_file(settings.ignore_file)
    else:
        source, paths, visible = origin, _select_all(origin, step), ALL_VISIBLE
    copier = Copier(step, target, epoch=prepared.epoch, visible=visible)
    copier.copy(source, paths)
    if origin is None:
        refuse_changes(prepared, copier.newest_change, settings)


def _select_all(root: str, step: CopyStep) -> tuple[str, ...]:
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    paths: list[str] = []
    excluded = read_exclusions(step.exclude)
    try:
        for source in step.sources:
            try:
                found = (select_below if step.parents else select)(root_fd, source.path)
            except (FileNotFoundError, NotADirectoryError):
                raise BuildError(f"{source.path}: not found in what --from names") from None
            paths.extend(path for path in found if not excluded.leaves_out(root_fd, path))
    finally:
        os.close(root_fd)
    return tuple(paths)


def _make_workdir(step: WorkdirStep, root: str) -> None:
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    owner = (0, 0)
    if step.user:
        user = look_up(root_fd, step.user).user
        # A number alone is the group as well, as for --chown and other than for processes.
        owner = (user.uid, user.uid if step.user.isdigit() else user.gid)
    os.close(make_directories(root_fd, step.path, owner=owner, links=MAX_LINKS))
    os.close(root_fd)
