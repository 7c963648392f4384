"""Carrying a plan out: for each step its key, then the recorded result or a new one.

Every stage is a task of the scheduler. What takes time is done in workers: they change nothing but
the store, and what they find out comes back as a value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from buildkit.applying import unmount_bases
from buildkit.cache import Layer, Result, alone, cache_key, look_up, record
from buildkit.counting import Count
from buildkit.errors import BuildError, LocatedError
from buildkit.execution import execute, execute_on_tree
from buildkit.explain import Explanations
from buildkit.history import COMMENT
from buildkit.images import are_there, import_layers
from buildkit.inputs import Input, image_input
from buildkit.platforms import parts_of
from buildkit.preparation import Origins, Prepared, prepare
from buildkit.progress import Progress, StepProgress
from buildkit.scheduler import Scheduler, Steps, Task, Work, value_of
from buildkit.state import CHROOT, LEAST_EPOCH, LOCK_MADE, Settings, State
from buildkit.steps import (
    AnyStep,
    Base,
    BootstrapStep,
    ConfigureStep,
    CopyStep,
    ImageBase,
    Plan,
    PlannedStage,
    RunStep,
    Scratch,
    StageBase,
    origins_of,
)
from buildkit.worker import Output
from grammar import Span
from runtime.erofs.inplace import refusal
from runtime.errors import ImageError
from runtime.image.archive import Image
from runtime.oci.image import History, ImageConfig
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.bootstrap.asked import Asked
    from buildkit.copied_snapshot import Trees


class Built(Record):
    """What a target led to."""

    config: ImageConfig
    layers: tuple[Layer, ...]
    inherited: int  # how many of the layers are those of an image that it is based on


class Linked(Record):
    """An image that is the target of another plan, which is carried out at the same time."""

    name: str
    config: ImageConfig
    platform: str
    state: Callable[[], Task[State]]  # what leads to it


class DoneBootstrap(Record):
    """A BOOTSTRAP, what it was asked for, on what, and what it led to."""

    step: BootstrapStep
    asked: Asked
    below: str  # `State.parent`
    result: Result


class DoneStep(Record):
    """A step that was done or found, and what it was made from."""

    stage: StageBase
    step: AnyStep
    prepared: Prepared
    result: Result


class Builder:
    """Builds the stages of one plan into one store.

    Builders of one process may work `together`: steps that have one key are then done once.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        images: Mapping[ImageBase, Image | Linked],
        *,
        settings: Settings,
        progress: Progress,
        explanations: Explanations,
        name: str = "",
        together: Together | None = None,
    ) -> None:
        """`name` says which of several plans it is, in titles and errors."""
        self.explanations = explanations
        self._store = store
        self._plan = plan
        self._images = images
        self._settings = settings
        self._progress = progress
        self._name = name
        self._together = together or Together()
        self._stages = {stage.id: Task(self._build_stage(stage)) for stage in plan.stages}
        self._bases: dict[ImageBase, Task[State]] = {}
        self._inputs: list[Input] = []
        self.bootstraps: list[DoneBootstrap] = []  # that were resolved just now
        self.done: list[DoneStep] = []  # in no order that stays

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All that the build took from outside the store."""
        return tuple(self._inputs)

    @property
    def tasks(self) -> tuple[Task[State], ...]:
        """What is to be done: a task for each stage."""
        return tuple(self._stages.values())

    def state_of(self, target: PlannedStage) -> Task[State]:
        """The task that leads to one of the plan's targets."""
        return self._stages[target.id]

    def build(self, work: Workspace, *, jobs: int) -> tuple[Built, ...]:
        """Build all stages, at most `jobs` steps at once; returns what the targets led to.

        Raises LocatedError for a step that failed; what was built before it stays cached.
        """
        self._together.build((self,), work, jobs=jobs, tick=self._progress.tick)
        return self.built

    @property
    def built(self) -> tuple[Built, ...]:
        """What the targets led to, once all tasks have ended."""
        return tuple(self._built(target) for target in self._plan.targets)

    def prepare(self, work: Workspace) -> None:
        """Get ready for the tasks: steps by chroot have trees, which builders share."""
        if self._settings.isolation == CHROOT and self._together.trees is None:
            from buildkit.copied_snapshot import Trees

            self._together.trees = Trees(self._store, work)

    def _built(self, target: PlannedStage) -> Built:
        state = self._stages[target.id].value
        assert state is not None
        _, architecture, variant = parts_of(target.platform)
        config = ImageConfig(
            created=_rfc3339(state.epoch),
            author=target.steps[-1].about.author if target.steps else "",
            architecture=architecture,
            variant=variant,
            config=target.config,
            diff_ids=state.diff_ids,
            history=state.history,
        )
        return Built(config=config, layers=state.layers, inherited=self._inherited(target))

    def _inherited(self, target: PlannedStage) -> int:
        """How many of a target's layers are those of an image that it is based on."""
        stages = {stage.id: stage for stage in self._plan.stages}
        base = target.base
        while isinstance(base, StageBase):
            base = stages[base].base
        if not isinstance(base, ImageBase):
            return 0
        image = self._images[base]
        if isinstance(image, Linked):
            state = image.state().value
            assert state is not None
            return len(state.layers)
        return len(image.manifest.layers)

    def _build_stage(self, stage: PlannedStage) -> Steps[State]:
        try:
            return (yield from self._build_steps(stage))
        except LocatedError as error:
            error.plan = error.plan or self._name
            raise

    def _build_steps(self, stage: PlannedStage) -> Steps[State]:
        state = yield from self._base_state(stage.base, stage.base_span)
        count = sum(not isinstance(step, ConfigureStep) for step in stage.steps)
        number = 0
        for step in stage.steps:
            number += not isinstance(step, ConfigureStep)
            title = f"[{self._label(stage)} {number}/{count}] {_one_line(step.about.text)}"
            state = yield from self._do(step, state, stage, title)
        return state

    def _label(self, stage: PlannedStage) -> str:
        """A stage's name, with those of the plan and the platform where there are several."""
        platform = stage.id.image_platform if len(self._plan.targets) > 1 else ""
        return " ".join(filter(None, (self._name, platform, stage.name)))

    def _base_state(self, base: Base, span: Span) -> Steps[State]:
        """What a stage or an image leads to, for what stands at `span`."""
        match base:
            case Scratch():
                return State(epoch=self._settings.clamped(LEAST_EPOCH))
            case StageBase():
                return (yield from value_of(self._stages[base]))
        image = self._images[base]
        if isinstance(image, Linked):
            return (yield from value_of(image.state()))
        try:
            if base not in self._bases:
                self._inputs.append(image_input(image, image.name, base.platform))
                place = (str(image.digest), self._settings.epoch)
                if place not in self._together.images:
                    self._together.images[place] = Task(self._image_state(base, image))
                self._bases[base] = self._together.images[place]
            return (yield from value_of(self._bases[base]))
        except BuildError as error:
            raise LocatedError(error, span) from error
        except ImageError as error:
            raise LocatedError(BuildError(error.message, hint=error.hint), span) from error

    def _image_state(self, base: ImageBase, image: Image) -> Steps[State]:
        if are_there(self._store, image):
            layers = yield from value_of(Work(lambda _: self._import(image), _no_output))
        else:
            title = f"[internal] load layers of {base.name}"
            with self._progress.step(title, once=True) as step:
                work = Work(lambda _: self._import(image, step.count), _no_output)
                layers = yield from value_of(work)
        return State(
            layers=layers,
            based=len(layers),
            history=image.config.history,
            epoch=self._settings.clamped(max(LEAST_EPOCH, _seconds(image.config.created))),
        )

    def _import(self, image: Image, count: Count | None = None) -> tuple[Layer, ...]:
        if self._together.trees is not None:
            from buildkit.copied_snapshot import verify_new_layers

            verify_new_layers(self._store, image)
        elif refusal():  # what cannot be mounted in place
            self._store.layers_of(image)
        with Workspace(self._store) as work:
            return import_layers(self._store, work, image, count)

    def _do(self, step: AnyStep, state: State, stage: PlannedStage, title: str) -> Steps[State]:
        if isinstance(step, ConfigureStep):
            return self._after(step, state, Result(layer=None, epoch=state.epoch))
        origins: list[State | None] = []
        for base, span in origins_of(step):
            state_there = None if base is None else (yield from self._base_state(base, span))
            origins.append(state_there)
        with self._progress.step(title) as progress:
            try:
                result = yield from self._result(step, state, stage, tuple(origins), progress)
            except BuildError as error:
                raise LocatedError(error, step.about.span) from error
        return self._after(step, state, result)

    def _result(
        self,
        step: AnyStep,
        state: State,
        stage: PlannedStage,
        origins: Origins,
        progress: StepProgress,
    ) -> Steps[Result]:
        prepared = yield from self._prepare(step, state, origins, progress)
        self._inputs.extend(prepared.inputs)
        result = yield from self._find_or_make(step, state, stage, prepared, progress)
        self.done.append(DoneStep(stage=stage.id, step=step, prepared=prepared, result=result))
        return result

    def _find_or_make(
        self,
        step: AnyStep,
        state: State,
        stage: PlannedStage,
        prepared: Prepared,
        progress: StepProgress,
    ) -> Steps[Result]:
        if isinstance(step, RunStep) and step.by_hand:
            return (yield from self._by_hand(step, state, prepared, progress))
        key = cache_key(prepared.parts)
        reuses = self._settings.reuses(stage)
        # Who makes a lock file wants to know what there is now.
        anew = self._settings.locks.mode == LOCK_MADE and isinstance(step, BootstrapStep)
        self.explanations.add(self._label(stage), step.about.text, key)
        if key in self._together.making:
            result = yield from value_of(self._together.making[key])
            progress.cached()
            self._note(step, state, prepared, result)
            return result
        found = self._look_up(step, key) if reuses and not anew else None
        if found is not None:
            progress.cached()
            return found
        if self._settings.explain:
            text = step.about.text
            why = self.explanations.why(self._label(stage), text, key, prepared.parts)
            progress.remark(f"MISS {why}" if reuses else "MISS the cache is not to be used")
        making = self._make(step, state, prepared, progress, reuses=reuses, anew=anew)
        task = self._together.making[key] = Task(making)
        result = yield from value_of(task)
        self._note(step, state, prepared, result)
        return result

    def _look_up(self, step: AnyStep, key: str) -> Result | None:
        found = look_up(self._store, key)
        # Earlier versions did not record of what packages a system was made.
        if found is not None and found.packages is None and isinstance(step, BootstrapStep):
            return None
        return found

    def _note(self, step: AnyStep, state: State, prepared: Prepared, result: Result) -> None:
        if isinstance(step, BootstrapStep) and result.resolution is not None:
            assert prepared.bootstrap is not None
            self.bootstraps.append(
                DoneBootstrap(
                    step=step, asked=prepared.bootstrap.asked, below=state.parent, result=result
                )
            )

    def _by_hand(
        self, step: RunStep, state: State, prepared: Prepared, progress: StepProgress
    ) -> Steps[Result]:
        """Let somebody look around; what is changed is lost."""

        def do(output: Output) -> Result:
            return self._execute(step, state, prepared, output, reuses=False)

        if self._together.trees is not None:
            return do(progress.output)
        return (yield from value_of(Work(do, progress.output)))

    def _prepare(
        self,
        step: AnyStep,
        state: State,
        origins: Origins,
        progress: StepProgress,
    ) -> Steps[Prepared]:
        def prepare_it(_: Output) -> Prepared:
            return prepare(step, state, self._settings, origins, self._store, progress.count)

        if isinstance(step, CopyStep) and any(source.remote for source in step.sources):
            return (yield from value_of(Work(prepare_it, progress.output)))
        return prepare_it(progress.output)

    def _make(
        self,
        step: AnyStep,
        state: State,
        prepared: Prepared,
        progress: StepProgress,
        *,
        reuses: bool,
        anew: bool,
    ) -> Steps[Result]:
        """Do a step, or take over what another build has made of it in the meantime."""

        def make(output: Output) -> tuple[Result, bool]:
            key = cache_key(prepared.parts)
            with alone(self._store, key):
                found = self._look_up(step, key) if reuses and not anew else None
                if found is not None:
                    return found, True
                result = self._execute(
                    step, state, prepared, output, progress.count, reuses=reuses
                )
                record(self._store, key, prepared.parts, result)
                return result, False

        # The trees are this process's own.
        result, was_there = (
            make(progress.output)
            if self._together.trees is not None
            else (yield from value_of(Work(make, progress.output)))
        )
        if was_there:
            progress.cached()
        return result

    def _execute(
        self,
        step: AnyStep,
        state: State,
        prepared: Prepared,
        output: Output,
        count: Count | None = None,
        *,
        reuses: bool,
    ) -> Result:
        do = partial(execute, count=count, reuses=reuses)
        if self._together.trees is not None:
            do = partial(execute_on_tree, trees=self._together.trees, count=count, reuses=reuses)
        with Workspace(self._store) as work:
            try:
                return do(
                    step,
                    state,
                    prepared,
                    settings=self._settings,
                    store=self._store,
                    work=work,
                    output=output,
                )
            finally:
                unmount_bases(work)

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
        return state.replace(layers=layers, history=(*state.history, entry), epoch=epoch)


class Together:
    """What builders share that build at the same time."""

    def __init__(self) -> None:
        self.making: dict[str, Task[Result]] = {}  # by the step's key
        self.images: dict[tuple[str, int | None], Task[State]] = {}  # by digest and asked epoch
        self.trees: Trees | None = None  # instead of snapshots in overlays

    def build(
        self,
        builders: Sequence[Builder],
        work: Workspace,
        *,
        jobs: int,
        tick: Callable[[], None] | None,
    ) -> None:
        """Carry out the tasks of all of them, at most `jobs` steps at once.

        Raises LocatedError for a step that failed, with the name of its plan.
        """
        for builder in builders:
            builder.prepare(work)
        Scheduler(jobs, tick).run(task for builder in builders for task in builder.tasks)


def _no_output(_: bytes) -> None:
    raise AssertionError("nothing is said while an image is imported")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _rfc3339(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def _seconds(created: str) -> int:
    """Seconds of an RFC 3339 time; 0 for what is no time."""
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0
