"""Carrying a plan out: for each step its key, then the recorded result or a new one.

Every stage is a task of the scheduler. What takes time is done in workers: they change nothing but
the store, and what they find out comes back as a value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from buildkit.cache import Layer, Result
from buildkit.counting import Count
from buildkit.errors import BuildError, LocatedError
from buildkit.explain import Explanations
from buildkit.history import COMMENT
from buildkit.images import are_there, import_layers
from buildkit.inputs import Input, image_input
from buildkit.making import Making, Wanted
from buildkit.outcomes import Built, DoneBootstrap, DoneStep, Linked
from buildkit.platforms import parts_of
from buildkit.progress import Progress
from buildkit.remote_cache.remote import HollowError
from buildkit.scheduler import Steps, Task, Work, value_of
from buildkit.state import CHROOT, LEAST_EPOCH, Settings, State
from buildkit.steps import (
    AnyStep,
    Base,
    ConfigureStep,
    ImageBase,
    Plan,
    PlannedStage,
    Scratch,
    StageBase,
    origins_of,
)
from buildkit.together import Together
from grammar import Span
from runtime.erofs.inplace import refusal
from runtime.errors import ImageError
from runtime.image.archive import Image
from runtime.oci.image import History, ImageConfig
from runtime.store.store import Store
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.remote_cache.reading import Cache


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
        together: Together,
        name: str = "",
    ) -> None:
        """`name` says which of several plans it is, in titles and errors."""
        self.explanations = explanations
        self._store = store
        self._plan = plan
        self._images = images
        self._settings = settings
        self._progress = progress
        self._name = name
        self._together = together
        self._making = Making(store, settings, explanations, together)
        self._stages = {stage.id: Task(self._build_stage(stage)) for stage in plan.stages}
        self._whole = {stage.id: Task(self._build_whole(stage)) for stage in plan.stages}
        self._bases: dict[ImageBase, Task[State]] = {}
        self._inputs: list[Input] = []

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All that the build took from outside the store."""
        return *self._inputs, *self._making.inputs

    @property
    def bootstraps(self) -> tuple[DoneBootstrap, ...]:
        """Those that were resolved just now."""
        return tuple(self._making.bootstraps)

    @property
    def done(self) -> tuple[DoneStep, ...]:
        """All steps, in no order that stays."""
        return tuple(self._making.done)

    @property
    def caches(self) -> Sequence[Cache]:
        """Those elsewhere that were asked."""
        return self._together.remote.caches

    @property
    def tasks(self) -> tuple[Task[State], ...]:
        """What is to be done: a task for each stage, and one more for each target."""
        targets = (self._whole[target.id] for target in self._plan.targets)
        return *self._stages.values(), *targets

    def state_of(self, target: PlannedStage, *, whole: bool) -> Task[State]:
        """The task that leads to one of the plan's targets.

        The layers of a `whole` state are in the store; others may be in a cache elsewhere.
        """
        return (self._whole if whole else self._stages)[target.id]

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
        state = self._whole[target.id].value
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
            state = image.state(True).value or image.state(False).value
            assert state is not None
            return len(state.layers)
        return len(image.manifest.layers)

    def _build_stage(self, stage: PlannedStage) -> Steps[State]:
        """What a stage leads to; its layers may be in a cache elsewhere."""
        try:
            return (yield from self._build_steps(stage, whole=False))
        except HollowError:
            return (yield from self._build_again(stage))
        except LocatedError as error:
            error.plan = error.plan or self._name
            raise

    def _build_whole(self, stage: PlannedStage) -> Steps[State]:
        """The same, with all layers in the store at the end."""
        remote = self._together.remote
        state = yield from value_of(self._stages[stage.id])
        while remote.lacks(state.layers) and not (yield from remote.obtain(state.layers)):
            state = yield from self._build_again(stage)
        return state

    def _build_again(self, stage: PlannedStage) -> Steps[State]:
        """Build a stage without what turned out to be nowhere any more."""
        while True:
            self._making.forget(stage.id)
            try:
                return (yield from self._build_steps(stage, whole=True))
            except HollowError:  # more of it: each time there is less that is believed
                continue
            except LocatedError as error:
                error.plan = error.plan or self._name
                raise

    def _build_steps(self, stage: PlannedStage, *, whole: bool) -> Steps[State]:
        """Do a stage's steps; if `whole`, on states whose layers are in the store."""
        state = yield from self._base_state(stage.base, stage.base_span, whole=whole)
        count = sum(not isinstance(step, ConfigureStep) for step in stage.steps)
        number = 0
        for step in stage.steps:
            number += not isinstance(step, ConfigureStep)
            title = f"[{self._label(stage)} {number}/{count}] {_one_line(step.about.text)}"
            state = yield from self._do(step, state, stage, title, whole=whole)
        return state

    def _label(self, stage: PlannedStage) -> str:
        """A stage's name, with those of the plan and the platform where there are several."""
        platform = stage.id.image_platform if len(self._plan.targets) > 1 else ""
        return " ".join(filter(None, (self._name, platform, stage.name)))

    def _base_state(self, base: Base, span: Span, *, whole: bool) -> Steps[State]:
        """What a stage or an image leads to, for what stands at `span`."""
        match base:
            case Scratch():
                return State(epoch=self._settings.clamped(LEAST_EPOCH))
            case StageBase():
                return (yield from value_of((self._whole if whole else self._stages)[base]))
        image = self._images[base]
        if isinstance(image, Linked):
            return (yield from value_of(image.state(whole)))
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

    def _do(
        self, step: AnyStep, state: State, stage: PlannedStage, title: str, *, whole: bool
    ) -> Steps[State]:
        if isinstance(step, ConfigureStep):
            return self._after(step, state, Result(layer=None, epoch=state.epoch))
        origins: list[State | None] = []
        for base, span in origins_of(step):
            state_there = (
                None if base is None else (yield from self._base_state(base, span, whole=whole))
            )
            origins.append(state_there)
        wanted = Wanted(
            stage=stage.id,
            label=self._label(stage),
            step=step,
            state=state,
            origins=tuple(origins),
            reuses=self._settings.reuses(stage),
        )
        result = None
        with self._progress.step(title) as progress:
            try:
                result = yield from self._making.result(wanted, progress)
            except HollowError:
                progress.remark("what lies below is in no cache any more: it is built again")
            except BuildError as error:
                raise LocatedError(error, step.about.span) from error
        if result is None:
            raise HollowError
        return self._after(step, state, result)

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
