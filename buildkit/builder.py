"""Carrying a plan out: for each step its key, then the recorded result or a new one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from buildkit.cache import Layer, Result, cache_key, look_up, record
from buildkit.copied_snapshot import Trees, verify_new_layers
from buildkit.errors import BuildError, LocatedError
from buildkit.execution import execute, execute_on_tree
from buildkit.history import COMMENT
from buildkit.images import import_layers
from buildkit.inputs import Input, image_input
from buildkit.preparation import Prepared, prepare
from buildkit.progress import Progress, StepProgress
from buildkit.state import CHROOT, LEAST_EPOCH, Settings, State
from buildkit.steps import (
    AnyStep,
    Base,
    ConfigureStep,
    CopyStep,
    Plan,
    PlannedStage,
    Scratch,
    StageBase,
)
from runtime.errors import ImageError
from runtime.image.archive import Image
from runtime.image.blob import BlobRange
from runtime.oci.digest import chain_ids
from runtime.oci.image import History, ImageConfig
from runtime.store.store import Store
from runtime.store.workspace import Workspace


class Builder:
    """Builds the stages of one plan into one store."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        images: Mapping[str, Image],
        *,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._store = store
        self._plan = plan
        self._images = images
        self._settings = settings
        self._progress = progress
        self._states: dict[int, State] = {}
        self._image_states: dict[str, State] = {}
        self._trees: Trees | None = None  # instead of snapshots in overlays
        self._steps_done = 0
        self._inputs: list[Input] = []

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All that the build took from outside the store."""
        return tuple(self._inputs)

    def build(self, work: Workspace) -> tuple[ImageConfig, tuple[Layer, ...]]:
        """Build all stages; returns the target's configuration and layers.

        Raises LocatedError for a step that failed; what was built before it stays cached.
        """
        if self._settings.isolation == CHROOT:
            self._trees = Trees(self._store, work)
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
            diff_ids=state.diff_ids,
            history=state.history,
        )
        return config, state.layers

    def _build_stage(self, stage: PlannedStage, work: Workspace) -> State:
        try:
            state = self._base_state(stage.base, work)
        except BuildError as error:
            raise LocatedError(error, stage.base_span) from error
        except ImageError as error:
            found = BuildError(error.message, hint=error.hint)
            raise LocatedError(found, stage.base_span) from error
        count = sum(not isinstance(step, ConfigureStep) for step in stage.steps)
        number = 0
        for step in stage.steps:
            number += not isinstance(step, ConfigureStep)
            title = f"[{stage.name} {number}/{count}] {_one_line(step.about.text)}"
            state = self._do(step, state, work, title)
        return state

    def _base_state(self, base: Base, work: Workspace) -> State:
        match base:
            case Scratch():
                return State(epoch=self._settings.clamped(LEAST_EPOCH))
            case StageBase(index=index):
                return self._states[index]
            case _:
                if base.name not in self._image_states:
                    self._image_states[base.name] = self._image_state(base.name, work)
                return self._image_states[base.name]

    def _image_state(self, name: str, work: Workspace) -> State:
        image = self._images[name]
        self._inputs.append(image_input(image, image.name))
        if self._trees is None:
            self._store.layers_of(image)
        else:
            verify_new_layers(self._store, image)
        return State(
            layers=import_layers(self._store, work, image),
            history=image.config.history,
            epoch=self._settings.clamped(max(LEAST_EPOCH, _seconds(image.config.created))),
        )

    def _do(self, step: AnyStep, state: State, work: Workspace, title: str) -> State:
        if isinstance(step, ConfigureStep):
            return self._after(step, state, Result(layer=None, epoch=state.epoch))
        with self._progress.step(title) as progress:
            try:
                return self._after(step, state, self._result(step, state, work, progress))
            except BuildError as error:
                raise LocatedError(error, step.about.span) from error

    def _result(
        self, step: AnyStep, state: State, work: Workspace, progress: StepProgress
    ) -> Result:
        origin = None
        if isinstance(step, CopyStep) and step.origin is not None:
            origin = self._base_state(step.origin, work)
        prepared = prepare(step, state, self._settings, origin, self._store)
        self._inputs.extend(prepared.inputs)
        key = cache_key(prepared.parts)
        found = look_up(self._store, key) if self._settings.use_cache else None
        if found is not None and self._is_ready(state, self._after(step, state, found)):
            progress.cached()
            return found
        result = self._execute(step, state, prepared, work, progress)
        record(self._store, key, prepared.parts, result)
        return result

    def _is_ready(self, below: State, state: State) -> bool:
        """Whether a step can go on from here: trees are made of blobs, overlays of directories.

        A directory is made out of the blob where it is missing: what was linked lies over
        something else now, or somebody has removed it.
        """
        if self._trees is not None or state.is_applied(self._store):
            return True
        layer = state.layers[-1]
        path = self._store.blob(layer.descriptor.digest)
        try:
            self._store.apply(
                BlobRange(path=path, offset=0, size=layer.descriptor.size),
                layer.descriptor,
                layer.diff_id,
                chain_ids(state.diff_ids)[-1],
                below.lowers(self._store),
                f"layer {layer.descriptor.digest}",
            )
        except ImageError:  # a damaged blob: the step is done again
            return False
        return True

    def _execute(
        self,
        step: AnyStep,
        state: State,
        prepared: Prepared,
        work: Workspace,
        progress: StepProgress,
    ) -> Result:
        settings, store = self._settings, self._store
        if self._trees is not None:
            return execute_on_tree(
                step,
                self._trees,
                state,
                prepared,
                settings=settings,
                store=store,
                work=work,
                progress=progress,
            )
        self._steps_done += 1
        return execute(
            step,
            f"step-{self._steps_done}",
            state,
            prepared,
            settings=settings,
            store=store,
            work=work,
            progress=progress,
        )

    def _after(self, step: AnyStep, state: State, result: Result) -> State:
        entry = History(
            created=_rfc3339(result.epoch),
            created_by=step.about.created_by,
            author=step.about.author,
            comment=COMMENT,
            empty_layer=result.layer is None,
        )
        layers = state.layers if result.layer is None else (*state.layers, result.layer)
        # A layer that was linked may be older than what lies below it.
        epoch = max(state.epoch, result.epoch)
        return State(layers=layers, history=(*state.history, entry), epoch=epoch)


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
