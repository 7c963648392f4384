"""Tasks that wait for one another and for work in other processes, all driven by one thread.

A task is a generator. It yields a `Work` to have it done in a worker, or another `Task` to wait
for its end; `value_of` gives it what comes of either. So stages advance at the same time, and
what they share is only ever touched by one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, NoReturn, TypeVar

from buildkit.processes import await_any, signals_held
from buildkit.worker import Output, Worker

T = TypeVar("T")


class Work(Generic[T]):
    """A function for a worker; it gets what takes its output, which `output` is called with."""

    def __init__(self, function: Callable[[Output], T], output: Output) -> None:
        self.function = function
        self.output = output


class Task(Generic[T]):
    """A generator on its way, and the value that it returned once it `ended`."""

    def __init__(self, steps: Steps[T]) -> None:
        self.steps = steps
        self.ended = False
        self.value: T | None = None
        self.waiting: list[Task[Any]] = []  # for this one's end


Awaited = Work[Any] | Task[Any]
Steps = Generator[Awaited, Any, T]


def value_of(awaited: Work[T] | Task[T]) -> Steps[T]:
    """Wait inside a task (`yield from`); returns what comes of the work or of the other task."""
    value: T = yield awaited
    return value


class Scheduler:
    """Carries tasks out, with at most so many workers at once."""

    def __init__(self, jobs: int, tick: Callable[[], None] | None = None) -> None:
        """`tick` is called now and then while workers are waited for."""
        self._jobs = jobs
        self._tick = tick
        self._started: list[Task[Any]] = []
        self._ready: deque[tuple[Task[Any], Any]] = deque()  # and what each is resumed with
        self._queued: deque[tuple[Task[Any], Work[Any]]] = deque()
        self._working: dict[int, tuple[Task[Any], Worker]] = {}  # by the worker's descriptor

    def run(self, tasks: Iterable[Task[Any]]) -> None:
        """Carry out these tasks and all that they wait for, the first ones first.

        What a task raises is raised in the first one that waits for it, else here; all others are
        ended then.
        """
        for task in tasks:
            self._start(task)
        try:
            self._advance()
            while self._working:
                for fd in await_any(list(self._working), self._tick):
                    self._hear(fd)
                self._advance()
        finally:
            self._stop()

    def _start(self, task: Task[Any]) -> None:
        if task not in self._started:
            self._started.append(task)
            self._ready.append((task, None))

    def _advance(self) -> None:
        """Resume what can go on, then begin as much work as there may be."""
        while self._ready:
            self._resume(*self._ready.popleft())
        while self._queued and len(self._working) < self._jobs:
            task, work = self._queued.popleft()
            with signals_held():
                worker = Worker(work.function, work.output)
                self._working[worker.fd] = (task, worker)

    def _resume(self, task: Task[Any], value: object) -> None:
        try:
            awaited = task.steps.send(value)
        except StopIteration as end:
            task.value, task.ended = end.value, True
            self._ready.extend((other, end.value) for other in task.waiting)
            return
        except Exception as error:
            self._pass_on(task, error)
            raise
        if isinstance(awaited, Work):
            self._queued.append((task, awaited))
        elif awaited.ended:
            self._ready.append((task, awaited.value))
        else:
            self._start(awaited)
            awaited.waiting.append(task)

    def _hear(self, fd: int) -> None:
        task, worker = self._working[fd]
        try:
            ended = worker.take_news()
        except Exception as error:
            worker.stop()  # it lives on if it was its output that could not be taken
            del self._working[fd]
            self._throw(task, error)
        if ended:
            del self._working[fd]
            self._ready.append((task, worker.value))

    def _throw(self, task: Task[Any], error: Exception) -> NoReturn:
        try:
            awaited = task.steps.throw(error)
        except Exception as found:
            self._pass_on(task, found)
            raise
        raise AssertionError(f"a task went on with {awaited} after a failure") from error

    def _pass_on(self, task: Task[Any], error: Exception) -> None:
        if task.waiting:
            self._throw(task.waiting[0], error)

    def _stop(self) -> None:
        """End what is still on its way: nothing, unless something failed."""
        with signals_held():
            for _, worker in self._working.values():
                worker.stop()
        for task in self._started:
            task.steps.close()
