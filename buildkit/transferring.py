"""Pulls and pushes as steps that are seen: in a child, which counts bytes in shared memory.

Who talks to a registry is a child: its threads must not be there when steps are forked.
"""

from __future__ import annotations

import time

from buildkit.counting import Count
from buildkit.errors import BuildError, DiskError, NetworkError
from buildkit.processes import call_in_child
from runtime.errors import PyrunError, RegistryError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from buildkit.progress import Progress, StepProgress
    from runtime.registry.reference import Reference

    _T = TypeVar("_T")
    Report = Callable[[int, int], None]  # told the bytes that are done, of how many

_EVERY_S = 5  # a line, where there is no place for a count


def in_child(work: Callable[[], _T], tick: Callable[[], None] | None = None) -> _T:
    """Do it in a child, whose threads end with it; raises errors of ours.

    Meanwhile `tick` is called about ten times a second.
    """

    def safely() -> _T:
        try:
            return work()
        except RegistryError as error:
            raise NetworkError(error.message, hint=error.hint) from error
        except StoreError as error:
            raise DiskError(error.message, hint=error.hint) from error
        except PyrunError as error:
            raise BuildError(error.message, hint=error.hint) from error

    return call_in_child(safely, tick)


def transferred(
    progress: Progress, title: str, work: Callable[[Report], _T], ended: Callable[[_T], str]
) -> _T:
    """Do it in a child, as a step of the build; what `ended` says of the result is its last line.

    Raises as `in_child`.
    """
    with progress.step(title, once=True) as step:
        count = step.count or Count()
        teller = _Teller(progress, step, count)
        result = in_child(lambda: work(lambda size, of: count.set(size, of=of)), teller.tick)
        if text := ended(result):
            step.remark(text)
        return result


def first_answer(places: tuple[Reference, ...], ask: Callable[[Reference], _T]) -> _T:
    """The first answer; if there is none, the last place's error, with those of the others.

    A registry that has said no is not asked again without TLS.
    """
    problems: list[RegistryError] = []
    for place in places:
        if place.plain_http and problems and problems[-1].code:
            continue
        try:
            return ask(place)
        except RegistryError as error:
            problems.append(error)
    message = "; ".join(dict.fromkeys(problem.message for problem in problems))
    raise RegistryError(message, hint=problems[-1].hint) from problems[-1]


class _Teller:
    """Shows how far it is: a picture draws the count itself, others get a line now and then."""

    def __init__(self, progress: Progress, step: StepProgress, count: Count) -> None:
        self._progress = progress
        self._step = step
        self._count = count
        self._next = time.monotonic() + _EVERY_S

    def tick(self) -> None:
        """Called about ten times a second."""
        if self._progress.tick is not None:
            self._progress.tick()
        if self._step.count is None and time.monotonic() >= self._next:
            self._next += _EVERY_S
            if text := str(self._count):
                self._step.remark(text)
