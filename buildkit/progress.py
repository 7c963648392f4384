"""Telling how a build goes, on standard error: one numbered line per event, as in CI logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_KEPT = 1 << 16  # bytes of a step's output that an error can show


class Progress:
    """The steps of one build; `quiet` prints none, errors keep their logs."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.titles: list[str] = []  # of all steps so far
        self.last_log = b""  # the end of the output of the step that ran last

    @contextmanager
    def step(self, title: str) -> Iterator[StepProgress]:
        """Announce a step and how it ended."""
        self.titles.append(title)
        step = StepProgress(len(self.titles), quiet=self._quiet)
        step.say(title)
        try:
            yield step
        except GeneratorExit:  # the scheduler ends what another step's failure left
            step.say("CANCELED")
            raise
        except BaseException:
            self.last_log = step.log()
            step.say("ERROR")
            raise
        step.end()

    def note(self, text: str) -> None:
        """Say something about the build as a whole."""
        if not self._quiet:
            _print(text)


class StepProgress:
    """One step: its output, line by line with the time since it began."""

    def __init__(self, number: int, *, quiet: bool) -> None:
        self._number = number
        self._quiet = quiet
        self._begun = time.monotonic()
        self._cached = False
        self._partial = b""
        self._log = b""

    def say(self, text: str) -> None:
        """Print a line about the step."""
        if not self._quiet:
            _print(f"#{self._number} {text}")

    def output(self, chunk: bytes) -> None:
        """Take in what the step's process wrote."""
        self._log = (self._log + chunk)[-_KEPT:]
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            self._say_output(line)

    def cached(self) -> None:
        """The step has been done before."""
        self._cached = True

    def log(self) -> bytes:
        """The end of the step's output."""
        return self._log

    def end(self) -> None:
        """Announce that the step is done."""
        if self._partial:
            self._say_output(self._partial)
        seconds = time.monotonic() - self._begun
        self.say("CACHED" if self._cached else f"DONE {seconds:.1f}s")

    def _say_output(self, line: bytes) -> None:
        # Only what follows the last carriage return would be left on a terminal.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        seconds = time.monotonic() - self._begun
        self.say(f"{seconds:.3f} {text}")


def _print(text: str) -> None:
    sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.buffer.flush()
