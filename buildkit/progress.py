"""Telling how a build goes, on standard error: what happens to its steps, in one of these views.

plain    one numbered line per event, as in CI logs (`progress_plain`)
tty      a picture of all steps that is drawn again and again (`progress_live`)
rawjson  BuildKit's own events, one JSON object per line (`progress_json`)
quiet    nothing; errors keep their logs
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.counting import Count

PLAIN, TTY, RAWJSON, QUIET = "plain", "tty", "rawjson", "quiet"
DONE, CACHED, ERROR, CANCELED = "DONE", "CACHED", "ERROR", "CANCELED"
_KEPT = 1 << 16  # bytes of a step's output that an error can show


class View:
    """What shows events; steps have numbers, from 1 on. This one shows nothing (`-q`)."""

    def expect(self, total: int) -> None:
        """So many steps there may be, beside those that are there once."""

    def begin(self, number: int, title: str) -> Count | None:
        """A step begins. What is counted of it is shown if there is a place for it."""
        return None

    def remark(self, number: int, text: str) -> None:
        """Something is said about a step."""

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        """What a step's process wrote, so many seconds after its begin."""

    def end(self, number: int, outcome: str, seconds: float) -> None:
        """A step ends: DONE, CACHED, ERROR or CANCELED."""

    def note(self, text: str) -> None:
        """Something is said about the build as a whole."""

    def close(self) -> None:
        """Nothing more will come."""


class _Both(View):
    """Two views, of which the first has the place for counts."""

    def __init__(self, first: View, second: View) -> None:
        self._first = first
        self._second = second

    def expect(self, total: int) -> None:
        self._first.expect(total)
        self._second.expect(total)

    def begin(self, number: int, title: str) -> Count | None:
        self._second.begin(number, title)
        return self._first.begin(number, title)

    def remark(self, number: int, text: str) -> None:
        self._first.remark(number, text)
        self._second.remark(number, text)

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        self._first.output(number, seconds, chunk)
        self._second.output(number, seconds, chunk)

    def end(self, number: int, outcome: str, seconds: float) -> None:
        self._first.end(number, outcome, seconds)
        self._second.end(number, outcome, seconds)

    def note(self, text: str) -> None:
        self._first.note(text)
        self._second.note(text)

    def close(self) -> None:
        self._first.close()
        self._second.close()


def make_view(
    kind: str, total: int, doing: str = "Building"
) -> tuple[View, Callable[[], None] | None]:
    """The view of a kind for so many steps, and what it wants called about ten times a second.

    `doing` is the word for all of it.
    """
    match kind:
        case "quiet":
            return View(), None
        case "tty":
            from buildkit.progress_live import LiveView

            live = LiveView(total, doing)
            return live, live.draw
        case "rawjson":
            from buildkit.progress_json import JsonView

            events = JsonView()
            return events, events.tick
        case _:
            from buildkit.progress_plain import PlainView

            return PlainView(), None


def settle_kind(asked: str, *, quiet: bool, by_hand: bool) -> str:
    """The view for what --progress (or BUILDKIT_PROGRESS) asks for: `auto`, "" or a kind.

    What is done by hand on the terminal leaves no room for a picture.
    """
    if quiet or asked == QUIET:
        return QUIET
    if asked in (PLAIN, RAWJSON):
        return asked
    terminal = os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
    return TTY if (terminal or asked == TTY) and not by_hand else PLAIN


class Progress:
    """The steps of one build."""

    def __init__(
        self,
        kind: str = PLAIN,
        total: int = 0,
        also: View | None = None,
        *,
        before: int = 0,
        doing: str = "Building",
    ) -> None:
        """`total` is the number of steps that there may be; `also` sees what the view does.

        `before` is the number of the last step that was shown already.
        """
        self._view, self.tick = make_view(kind, total, doing)
        if also is not None:
            self._view = _Both(self._view, also)
        self.titles: list[str] = []  # of the steps so far that a build has each time
        self._steps = before
        self.last_log = b""  # the end of the output of the step that ran last

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def expect(self, total: int) -> None:
        """So many steps there may be, as is known by now."""
        self._view.expect(total)

    def close(self) -> None:
        """What is printed from here on is not the view's."""
        self._view.close()

    @contextmanager
    def step(self, title: str, *, once: bool = False) -> Iterator[StepProgress]:
        """Announce a step and how it ended; `once`: it is not there when the build is repeated."""
        if not once:
            self.titles.append(title)
        self._steps += 1
        count = self._view.begin(self._steps, title)
        step = StepProgress(self._steps, self._view, count)
        try:
            yield step
        except GeneratorExit:  # the scheduler ends what another step's failure left
            step.end(CANCELED)
            raise
        except BaseException:
            self.last_log = step.log()
            step.end(ERROR)
            raise
        step.end()

    @property
    def last_number(self) -> int:
        """Of the step that was shown last."""
        return self._steps

    def note(self, text: str) -> None:
        """Say something about the build as a whole."""
        self._view.note(text)


class StepProgress:
    """One step: its output, with the time since it began."""

    def __init__(self, number: int, view: View, count: Count | None) -> None:
        self.count = count
        self._number = number
        self._view = view
        self._begun = time.monotonic()
        self._cached = False
        self._log = b""

    def remark(self, text: str) -> None:
        """Say something about the step."""
        self._view.remark(self._number, text)

    def output(self, chunk: bytes) -> None:
        """Take in what the step's process wrote."""
        self._log = (self._log + chunk)[-_KEPT:]
        self._view.output(self._number, time.monotonic() - self._begun, chunk)

    def cached(self) -> None:
        """The step has been done before."""
        self._cached = True

    def log(self) -> bytes:
        """The end of the step's output."""
        return self._log

    def end(self, outcome: str = "") -> None:
        """Announce that the step has ended."""
        outcome = outcome or (CACHED if self._cached else DONE)
        self._view.end(self._number, outcome, time.monotonic() - self._begun)
