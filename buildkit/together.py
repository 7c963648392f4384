"""What builders share that build at the same time, and their tasks carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from buildkit.cache import Result
from buildkit.remote_cache.remote import RemoteCache
from buildkit.scheduler import Scheduler, Task
from buildkit.state import State
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.builder import Builder
    from buildkit.copied_snapshot import Trees


class Together:
    """What builders share that build at the same time."""

    def __init__(self, remote: RemoteCache) -> None:
        self.remote = remote
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
