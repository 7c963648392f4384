"""One step of a build: its key, and the result that is known of it or is made.

What takes time is done in workers: they change nothing but the store, and what they find out
comes back as a value.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from buildkit.applying import unmount_bases
from buildkit.cache import Layer, Result, alone, cache_key, look_up, record
from buildkit.counting import Count
from buildkit.execution import execute, execute_on_tree
from buildkit.explain import Explanations
from buildkit.inputs import Input
from buildkit.outcomes import DoneBootstrap, DoneStep
from buildkit.preparation import Origins, Prepared, prepare
from buildkit.progress import StepProgress
from buildkit.remote_cache.remote import HollowError
from buildkit.scheduler import Steps, Task, Work, value_of
from buildkit.state import LOCK_MADE, Settings, State
from buildkit.steps import AnyStep, BootstrapStep, CopyStep, RunStep, StageBase
from buildkit.worker import Output
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.together import Together


class Wanted(Record):
    """A step, and what it starts from."""

    stage: StageBase
    label: str  # of the stage
    step: AnyStep
    state: State
    origins: Origins
    reuses: bool  # whether what is known of it will do

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All that must be there to do it."""
        others = (layer for origin in self.origins if origin for layer in origin.layers)
        return (*self.state.layers, *others)


class Making:
    """Finds or makes the results of the steps of one plan; what it notes is in no order."""

    def __init__(
        self, store: Store, settings: Settings, explanations: Explanations, together: Together
    ) -> None:
        self._store = store
        self._settings = settings
        self._explanations = explanations
        self._together = together
        self.inputs: list[Input] = []  # what came from outside the store
        self.bootstraps: list[DoneBootstrap] = []  # that were resolved just now
        self.done: list[DoneStep] = []

    def forget(self, stage: StageBase) -> None:
        """Its steps are gone through once more."""
        self.done = [done for done in self.done if done.stage != stage]

    def result(self, wanted: Wanted, progress: StepProgress) -> Steps[Result]:
        """What the step leads to; raises BuildError, or HollowError for layers that are lost."""
        prepared = yield from self._prepare(wanted, progress)
        self.inputs.extend(prepared.inputs)
        if isinstance(wanted.step, RunStep) and wanted.step.by_hand:
            yield from self._obtain(wanted)
            return (yield from self._by_hand(wanted, prepared, progress))
        result = yield from self._find_or_make(wanted, prepared, progress)
        self.done.append(
            DoneStep(stage=wanted.stage, step=wanted.step, prepared=prepared, result=result)
        )
        return result

    def _find_or_make(
        self, wanted: Wanted, prepared: Prepared, progress: StepProgress
    ) -> Steps[Result]:
        key = cache_key(prepared.parts)
        text = wanted.step.about.text
        self._explanations.add(wanted.label, text, key)
        found = yield from self._find(wanted, key, prepared, progress)
        if found is None and (yield from self._obtain(wanted)):  # which takes time
            found = yield from self._find(wanted, key, prepared, progress)
        if found is not None:
            return found
        if self._settings.explain:
            why = "the cache is not to be used"
            if wanted.reuses:
                why = self._explanations.why(wanted.label, text, key, prepared.parts)
            progress.remark(f"MISS {why}")
        task = Task(self._make(wanted, prepared, progress))
        self._together.making[key] = task
        result = yield from value_of(task)
        self._note(wanted, prepared, result)
        return result

    def _find(
        self, wanted: Wanted, key: str, prepared: Prepared, progress: StepProgress
    ) -> Steps[Result | None]:
        """What is known of a step, or is made of it just now for another target."""
        making = self._together.making.get(key)
        if making is not None:
            found: Result | None = yield from value_of(making)
            assert found is not None
            self._note(wanted, prepared, found)
        else:
            found = self._look_up(wanted, key)
            if found is None and self._may_reuse(wanted):
                found = self._together.remote.find(key, prepared.parts)
        if found is not None:
            progress.cached()
        return found

    def _may_reuse(self, wanted: Wanted) -> bool:
        # Who makes a lock file wants to know what there is now.
        anew = self._settings.locks.mode == LOCK_MADE and isinstance(wanted.step, BootstrapStep)
        return wanted.reuses and not anew

    def _look_up(self, wanted: Wanted, key: str) -> Result | None:
        if not self._may_reuse(wanted):
            return None
        found = look_up(self._store, key)
        # Earlier versions did not record of what packages a system was made.
        if found is not None and found.packages is None and isinstance(wanted.step, BootstrapStep):
            return None
        return found

    def _obtain(self, wanted: Wanted) -> Steps[bool]:
        """Have all layers in the store that a step needs; whether they had to be fetched."""
        remote = self._together.remote
        if not remote.lacks(wanted.layers):
            return False
        if not (yield from remote.obtain(wanted.layers)):
            raise HollowError
        return True

    def _note(self, wanted: Wanted, prepared: Prepared, result: Result) -> None:
        step, below = wanted.step, wanted.state.parent
        if isinstance(step, BootstrapStep) and result.resolution is not None:
            assert prepared.bootstrap is not None
            asked = prepared.bootstrap.asked
            self.bootstraps.append(
                DoneBootstrap(step=step, asked=asked, below=below, result=result)
            )

    def _by_hand(
        self, wanted: Wanted, prepared: Prepared, progress: StepProgress
    ) -> Steps[Result]:
        """Let somebody look around; what is changed is lost."""

        def do(output: Output) -> Result:
            return self._execute(wanted, prepared, output)

        if self._together.trees is not None:
            return do(progress.output)
        return (yield from value_of(Work(do, progress.output)))

    def _prepare(self, wanted: Wanted, progress: StepProgress) -> Steps[Prepared]:
        step, state, origins = wanted.step, wanted.state, wanted.origins

        def prepare_it(_: Output) -> Prepared:
            return prepare(step, state, self._settings, origins, self._store, progress.count)

        if isinstance(step, CopyStep) and any(source.remote for source in step.sources):
            return (yield from value_of(Work(prepare_it, progress.output)))
        return prepare_it(progress.output)

    def _make(self, wanted: Wanted, prepared: Prepared, progress: StepProgress) -> Steps[Result]:
        """Do a step, or take over what another build has made of it in the meantime."""

        def make(output: Output) -> tuple[Result, bool]:
            key = cache_key(prepared.parts)
            with alone(self._store, key):
                found = self._look_up(wanted, key)
                if found is not None:
                    return found, True
                result = self._execute(
                    wanted, prepared, output, progress.count, reuses=wanted.reuses
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
        wanted: Wanted,
        prepared: Prepared,
        output: Output,
        count: Count | None = None,
        *,
        reuses: bool = False,
    ) -> Result:
        do = partial(execute, count=count, reuses=reuses)
        if self._together.trees is not None:
            do = partial(execute_on_tree, trees=self._together.trees, count=count, reuses=reuses)
        with Workspace(self._store) as work:
            try:
                return do(
                    wanted.step,
                    wanted.state,
                    prepared,
                    settings=self._settings,
                    store=self._store,
                    work=work,
                    output=output,
                )
            finally:
                unmount_bases(work)
