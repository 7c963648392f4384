"""A picture of all steps on a terminal, in BuildKit's look: drawn over itself as things change."""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections import deque

from buildkit.counting import Count
from buildkit.progress import CACHED, CANCELED, DONE, ERROR, View

_INTERVAL_S = 0.1
_TAIL = 5  # lines of a running step's output
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)?")
_COLOURS = {DONE: "34", CACHED: "34", ERROR: "31", CANCELED: "33", "log": "2"}


class _Step:
    def __init__(self, title: str) -> None:
        self.title = title
        self.begun = time.monotonic()
        self.outcome = ""  # empty while it runs
        self.seconds = 0.0
        self.count = Count()
        self.partial = b""
        self.tail: deque[str] = deque(maxlen=_TAIL)


class LiveView(View):
    """The steps of a build; `draw` is to be called now and then, for the timers."""

    def __init__(self, total: int, doing: str = "Building") -> None:
        self._total = total
        self._doing = doing
        self._begun = time.monotonic()
        self._steps: dict[int, _Step] = {}
        self._widths: list[int] = []  # of the lines that are on the screen
        self._drawn_at = 0.0
        self._coloured = not os.environ.get("NO_COLOR")
        self._closed = False

    def expect(self, total: int) -> None:
        """Show it from the next picture on."""
        self._total = total + len(self._steps)

    def begin(self, number: int, title: str) -> Count:
        """Show the step, and below it what is counted."""
        step = self._steps[number] = _Step(title)
        self.draw()
        return step.count

    def remark(self, number: int, text: str) -> None:
        """Show it among the step's output."""
        self._steps[number].tail.append(_plain(text))

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        """Show the last lines."""
        step = self._steps[number]
        *lines, step.partial = (step.partial + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").rpartition(b"\r")[2]
            step.tail.append(_plain(text.decode("utf-8", "replace")))
        self.draw()

    def end(self, number: int, outcome: str, seconds: float) -> None:
        """Show how it ended."""
        step = self._steps[number]
        step.outcome, step.seconds = outcome, seconds
        self.draw()

    def note(self, text: str) -> None:
        """Print it above the picture, where it stays."""
        if self._closed:
            _write(f"{text}\n")
            return
        _write(f"{self._home()}\x1b[J{text}\n")
        self._widths = []
        self.draw(now=True)

    def close(self) -> None:
        """Leave the last picture on the screen, all of it."""
        if not self._closed:
            self._closed = True
            if self._steps or self._total:
                self.draw(now=True)

    def draw(self, *, now: bool = False) -> None:
        """Draw the picture, but no more often than somebody can see."""
        moment = time.monotonic()
        if not now and (moment - self._drawn_at < _INTERVAL_S or self._closed):
            return
        self._drawn_at = moment
        columns, rows = _size()
        lines = self._lines(moment, columns - 1)
        if not self._closed:
            lines = _fitting(lines, rows - 1)
        home = self._home()
        text = "".join(f"{self._painted(kind, line)}\x1b[K\n" for kind, line in lines)
        _write(f"{home}{text}\x1b[J")
        self._widths = [_width(line) for _, line in lines]

    def _home(self) -> str:
        """Back to the picture's first line, also if the terminal became narrower since."""
        columns, _ = _size()
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        return f"\x1b[{rows}F" if rows else ""

    def _lines(self, moment: float, width: int) -> list[tuple[str, str]]:
        """Kind and text of every line."""
        ended = sum(bool(step.outcome) for step in self._steps.values())
        total = max(self._total, len(self._steps))
        word = self._doing if not self._closed else "Finished"
        head = f"[+] {word} {moment - self._begun:.1f}s ({ended}/{total})"
        lines = [("head", _cut(head, width))]
        for step in self._steps.values():
            seconds = step.seconds if step.outcome else moment - step.begun
            timer = f"{seconds:.1f}s"
            shown = "" if step.outcome in ("", DONE) else f"{step.outcome} "
            text = _cut(f" => {shown}{_plain(step.title)}", max(4, width - len(timer) - 1))
            gap = max(1, width - _width(text) - len(timer))
            lines.append((step.outcome, f"{text}{' ' * gap}{timer}"))
            if not step.outcome:
                if counted := str(step.count):
                    lines.append(("log", _cut(f" => => {counted}", width)))
                lines += [("log", _cut(f" => => # {line}", width)) for line in step.tail]
        return lines

    def _painted(self, kind: str, line: str) -> str:
        colour = _COLOURS.get(kind) if self._coloured else None
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line


def _fitting(lines: list[tuple[str, str]], rows: int) -> list[tuple[str, str]]:
    """As many lines as there are rows: the steps that ended first give way."""
    surplus = len(lines) - max(rows, 1)
    kept = []
    for kind, line in lines:
        if surplus > 0 and kind in (DONE, CACHED, CANCELED):
            surplus -= 1
            continue
        kept.append((kind, line))
    return kept[:1] + kept[1:][-max(rows - 1, 1) :]


def _size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(2)
    except OSError:  # asked for on something that is none
        return 80, 24
    return max(size.columns, 10), max(size.lines, 3)


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    text = _ESCAPES.sub("", text.expandtabs(8))
    return "".join(c for c in text if unicodedata.category(c)[0] != "C")


def _width(text: str) -> int:
    """Columns that a text takes."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1
        for c in text
    )


def _cut(text: str, width: int) -> str:
    while text and _width(text) > width:
        text = text[:-1]
    return text


def _write(text: str) -> None:
    # In one piece: half a picture would be seen.
    sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stderr.buffer.flush()
