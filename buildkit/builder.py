"""Carrying a plan out: for each step its key, then the recorded result or a new one."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from buildkit.bootstrap.install import find_manager, install
from buildkit.bootstrap.repositories import LocatedError, Repositories, read_repositories
from buildkit.cache import Layer, Parts, Result, cache_key, look_up, record
from buildkit.copying import Copier
from buildkit.errors import BuildError
from buildkit.images import import_layers
from buildkit.processes import call_in_mount_namespace
from buildkit.progress import Progress, StepProgress
from buildkit.run import execute_run
from buildkit.selection import digest, select
from buildkit.snapshot import Snapshot, commit, new_snapshot
from buildkit.steps import (
    AnyStep,
    Base,
    BootstrapStep,
    ConfigureStep,
    CopyStep,
    Plan,
    PlannedStage,
    RunStep,
    Scratch,
    StageBase,
    WorkdirStep,
)
from grammar import Source, Span
from runtime.image.archive import Image
from runtime.oci.digest import chain_ids
from runtime.oci.image import History, ImageConfig
from runtime.sandbox.rootfs import Overlay
from runtime.sandbox.rootpath import make_directories
from runtime.sandbox.users import look_up as look_up_user
from runtime.store.store import Store
from runtime.store.workspace import Workspace

LEAST_EPOCH = 315532800  # 1 January 1980: zip files and others can hold no earlier time


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A root filesystem and its past: what a step starts from and what it leads to."""

    layers: tuple[Layer, ...] = ()  # lowest first
    history: tuple[History, ...] = ()
    epoch: int = LEAST_EPOCH  # seconds; nothing in a new layer is later

    @property
    def parent(self) -> str:
        """Identity of the filesystem, as cache keys name it."""
        diff_ids = tuple(layer.diff_id for layer in self.layers)
        return str(chain_ids(diff_ids)[-1]) if diff_ids else "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of a build beside its plan."""

    context: str  # path of the build context
    architecture: str
    epoch: int | None = None  # SOURCE_DATE_EPOCH, if it was given
    use_cache: bool = True


class StepFailure(Exception):
    """A step failed: how, and where its instruction (or a word of it) stands."""

    def __init__(self, error: BuildError, span: Span) -> None:
        super().__init__(error.message)
        self.error = error
        self.span = span


class Builder:
    """Builds the stages of one plan into one store."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        images: Mapping[str, Image],
        *,
        settings: Settings,
        source: Source,
        progress: Progress,
    ) -> None:
        self._store = store
        self._plan = plan
        self._images = images
        self._settings = settings
        self._source = source
        self._progress = progress
        self._states: dict[int, State] = {}
        self._image_states: dict[str, State] = {}
        self._steps_done = 0

    def build(self, work: Workspace) -> tuple[ImageConfig, tuple[Layer, ...]]:
        """Build all stages; returns the target's configuration and layers.

        Raises StepFailure for a step that failed; what was built before it stays cached.
        """
        for stage in self._plan.stages:
            self._states[stage.index] = self._build_stage(stage, work)
        target = self._plan.stages[-1]
        state = self._states[target.index]
        created = _rfc3339(state.epoch)
        author = target.steps[-1].about.author if target.steps else ""
        config = ImageConfig(
            created=created,
            author=author,
            architecture=self._settings.architecture,
            config=target.config,
            diff_ids=tuple(layer.diff_id for layer in state.layers),
            history=state.history,
        )
        return config, state.layers

    def _build_stage(self, stage: PlannedStage, work: Workspace) -> State:
        try:
            state = self._base_state(stage.base, work)
        except BuildError as error:
            raise StepFailure(error, stage.base_span) from error
        for number, step in enumerate(stage.steps, 1):
            title = f"[{stage.name} {number}/{len(stage.steps)}] {_one_line(step.about.text)}"
            state = self._do(step, state, work, title)
        return state

    def _base_state(self, base: Base, work: Workspace) -> State:
        match base:
            case Scratch():
                return State(epoch=self._clamped(LEAST_EPOCH))
            case StageBase(index=index):
                return self._states[index]
            case _:
                if base.name not in self._image_states:
                    self._image_states[base.name] = self._image_state(base.name, work)
                return self._image_states[base.name]

    def _image_state(self, name: str, work: Workspace) -> State:
        image = self._images[name]
        self._store.layers_of(image)
        return State(
            layers=import_layers(self._store, work, image),
            history=image.config.history,
            epoch=self._clamped(max(LEAST_EPOCH, _seconds(image.config.created))),
        )

    def _clamped(self, epoch: int) -> int:
        return epoch if self._settings.epoch is None else self._settings.epoch

    def _do(self, step: AnyStep, state: State, work: Workspace, title: str) -> State:
        if isinstance(step, ConfigureStep):
            return self._after(step, state, Result(layer=None, epoch=state.epoch))
        with self._progress.step(title) as progress:
            try:
                prepared = self._prepare(step, state, work)
                key = cache_key(prepared.parts)
                found = look_up(self._store, key) if self._settings.use_cache else None
                if found is not None and self._has_layers(state, found):
                    progress.cached()
                    return self._after(step, state, found)
                result = self._execute(step, state, prepared, work, progress)
                record(self._store, key, prepared.parts, result)
                return self._after(step, state, result)
            except LocatedError as error:
                raise StepFailure(error.error, error.span) from error
            except BuildError as error:
                raise StepFailure(error, step.about.span) from error

    def _after(self, step: AnyStep, state: State, result: Result) -> State:
        entry = History(
            created=_rfc3339(result.epoch),
            created_by=step.about.created_by,
            author=step.about.author,
            empty_layer=result.layer is None,
        )
        layers = state.layers if result.layer is None else (*state.layers, result.layer)
        return State(layers=layers, history=(*state.history, entry), epoch=result.epoch)

    def _has_layers(self, state: State, result: Result) -> bool:
        """Whether the applied form of a recorded layer is there as well as its blob."""
        if result.layer is None:
            return True
        diff_ids = tuple(layer.diff_id for layer in state.layers)
        chain = chain_ids((*diff_ids, result.layer.diff_id))
        return os.path.isdir(self._store.layer(chain[-1]))

    def _lowers(self, state: State) -> tuple[str, ...]:
        chain = chain_ids(tuple(layer.diff_id for layer in state.layers))
        return tuple(self._store.layer(chain_id) for chain_id in reversed(chain))

    def _prepare(self, step: AnyStep, state: State, work: Workspace) -> _Prepared:
        """Find out what the step works with, and from that its key."""
        parts: dict[str, object] = {"parent": state.parent, "epoch": state.epoch}
        match step:
            case RunStep():
                parts |= {
                    "kind": "run",
                    "args": step.args,
                    "env": step.env,
                    "cwd": step.cwd,
                    "user": step.user,
                    "host_network": step.host_network,
                }
                return _Prepared(parts=parts)
            case WorkdirStep():
                return _Prepared(
                    parts=parts | {"kind": "workdir", "path": step.path, "user": step.user}
                )
            case CopyStep():
                return self._prepare_copy(step, parts, work)
            case BootstrapStep():
                repositories = read_repositories(step, self._settings.context)
                parts |= {
                    "kind": "bootstrap",
                    "packages": step.packages,
                    "excludes": step.excludes,
                    "repositories": [[s.id, s.options] for s in repositories.sections],
                    "metadata": repositories.metadata,
                    "keys": [key.content.decode("latin-1") for key in repositories.keys],
                    "releasever": step.releasever,
                    "arch": step.arch,
                    "setopts": step.setopts,
                    "dbpath": step.dbpath,
                    "langs": step.langs,
                    "weak": step.weak,
                    "docs": step.docs,
                    "gpgcheck": step.gpgcheck,
                    "manager": os.path.basename(find_manager()),
                }
                return _Prepared(parts=parts, repositories=repositories)
            case ConfigureStep():
                raise AssertionError("a configuration change needs no preparation")
            case _:
                assert_never(step)

    def _prepare_copy(
        self, step: CopyStep, parts: dict[str, object], work: Workspace
    ) -> _Prepared:
        parts |= {
            "kind": "copy",
            "destination": step.destination,
            "chown": step.chown,
            "chmod": step.chmod,
            "inline": [[inline.name, inline.content] for inline in step.inline],
        }
        if step.origin is not None:
            origin = self._base_state(step.origin, work)
            parts |= {"origin": origin.parent, "sources": [s.path for s in step.sources]}
            parts["epoch"] = self._clamped(max(int(str(parts["epoch"])), origin.epoch))
            return _Prepared(parts=parts, origin=origin)
        paths: list[str] = []
        root_fd = os.open(self._settings.context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for source in step.sources:
                paths.extend(_select(root_fd, source.path, source.span, self._settings.context))
            parts["sources"] = [[os.path.basename(p), digest(root_fd, p)] for p in paths]
        except OSError as error:
            raise BuildError(f"context: {error.filename or ''}: {error.strerror}") from error
        finally:
            os.close(root_fd)
        return _Prepared(parts=parts, paths=tuple(paths))

    def _execute(
        self,
        step: AnyStep,
        state: State,
        prepared: _Prepared,
        work: Workspace,
        progress: StepProgress,
    ) -> Result:
        self._steps_done += 1
        snapshot = new_snapshot(work, f"step-{self._steps_done}", self._lowers(state))
        epoch = int(str(prepared.parts["epoch"]))
        match step:
            case RunStep():
                execute_run(step, snapshot, store=self._store, work=work, output=progress.output)
            case WorkdirStep():
                call_in_mount_namespace(lambda: _make_workdir(step, snapshot, self._store))
            case CopyStep():
                self._copy(step, snapshot, prepared, epoch)
            case BootstrapStep():
                assert prepared.repositories is not None
                installed = install(
                    step,
                    prepared.repositories,
                    snapshot,
                    store=self._store,
                    work=work,
                    epoch=self._settings.epoch,
                    least_epoch=state.epoch,
                    output=progress.output,
                )
                epoch = self._clamped(max(epoch, installed.epoch))
            case ConfigureStep():
                raise AssertionError("a configuration change is not executed")
            case _:
                assert_never(step)
        parents = tuple(layer.diff_id for layer in state.layers)
        return commit(self._store, work, snapshot, parents, epoch)

    def _copy(self, step: CopyStep, snapshot: Snapshot, prepared: _Prepared, epoch: int) -> None:
        scratch = self._store.scratch

        def copy() -> None:
            root = snapshot.rootfs().attach(scratch)
            if prepared.origin is None:
                source, paths = self._settings.context, prepared.paths
            else:
                os.mkdir(f"{scratch}/origin")
                source = Overlay(lowers=self._lowers(prepared.origin)).attach(f"{scratch}/origin")
                paths = _select_all(source, step)
            Copier(step, root, epoch=epoch).copy(source, paths)

        call_in_mount_namespace(copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What a step works with, found before its key is computed."""

    parts: Parts
    paths: tuple[str, ...] = ()  # of a COPY from the context
    origin: State | None = None  # of a COPY from elsewhere
    repositories: Repositories | None = None


def _select(root_fd: int, path: str, span: Span, context: str) -> tuple[str, ...]:
    try:
        return select(root_fd, path)
    except (FileNotFoundError, NotADirectoryError):
        near = _near(path, context)
        hint = f"did you mean {near}?" if near else None
        error = BuildError(f"{path}: not found in the context {context}", hint=hint)
        raise LocatedError(error, span) from None


def _near(path: str, context: str) -> str | None:
    import difflib

    directory, _, name = path.strip("/").rpartition("/")
    try:
        names = os.listdir(os.path.join(context, directory))
    except OSError:
        return None
    near = difflib.get_close_matches(name, names, 1)
    return os.path.join(directory, near[0]) if near else None


def _select_all(root: str, step: CopyStep) -> tuple[str, ...]:
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    paths: list[str] = []
    try:
        for source in step.sources:
            try:
                paths.extend(select(root_fd, source.path))
            except (FileNotFoundError, NotADirectoryError):
                raise BuildError(f"{source.path}: not found in what --from names") from None
    finally:
        os.close(root_fd)
    return tuple(paths)


def _make_workdir(step: WorkdirStep, snapshot: Snapshot, store: Store) -> None:
    root = snapshot.rootfs().attach(store.scratch)
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    owner = (0, 0)
    if step.user:
        user = look_up_user(root_fd, step.user).user
        owner = (user.uid, user.gid)
    os.close(make_directories(root_fd, step.path, owner=owner))
    os.close(root_fd)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _rfc3339(epoch: int) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(created: str) -> int:
    """Seconds of an RFC 3339 time; 0 for what is no time."""
    try:
        return int(datetime.datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0
