"""One numbered line per event, as in CI logs and as BuildKit's plain progress."""

from __future__ import annotations

import sys

from buildkit.progress import DONE, View


class PlainView(View):
    """Lines, whole ones only."""

    def __init__(self) -> None:
        self._partial: dict[int, tuple[float, bytes]] = {}  # by step: what has no end of line yet

    def begin(self, number: int, title: str) -> None:
        """Print what the step is."""
        _print(f"#{number} {title}")

    def remark(self, number: int, text: str) -> None:
        """Print it."""
        _print(f"#{number} {text}")

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        """Print the lines that are whole."""
        _, before = self._partial.get(number, (seconds, b""))
        *lines, rest = (before + chunk).split(b"\n")
        for line in lines:
            _print_output(number, seconds, line)
        self._partial[number] = (seconds, rest)

    def end(self, number: int, outcome: str, seconds: float) -> None:
        """Print how it ended, after what has no end of line."""
        when, rest = self._partial.pop(number, (seconds, b""))
        if rest:
            _print_output(number, when, rest)
        timer = f" {seconds:.1f}s" if outcome == DONE else ""
        _print(f"#{number} {outcome}{timer}")

    def note(self, text: str) -> None:
        """Print it."""
        _print(text)


def _print_output(number: int, seconds: float, line: bytes) -> None:
    # Only what follows the last carriage return would be left on a terminal.
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    _print(f"#{number} {seconds:.3f} {text}")


def _print(text: str) -> None:
    sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.buffer.flush()
