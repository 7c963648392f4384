"""BuildKit's own events (client.SolveStatus), one JSON object per line: for programs.

What is counted of a step is a status with its name: the bytes so far, of how many.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import sys
import time

from buildkit.counting import Count
from buildkit.progress import CACHED, CANCELED, ERROR, View

_INTERVAL_S = 0.5


class JsonView(View):
    """Vertexes, statuses, logs and warnings; `tick` is to be called now and then."""

    def __init__(self) -> None:
        self._vertexes: dict[int, dict[str, object]] = {}
        self._counts: dict[int, Count] = {}  # of steps that have not ended
        self._told: dict[int, tuple[int, int]] = {}
        self._next = 0.0

    def begin(self, number: int, title: str) -> Count:
        """A vertex that has started; its digest is only its name here."""
        digest = hashlib.sha256(f"{number} {title}".encode("utf-8", "replace")).hexdigest()
        vertex: dict[str, object] = {
            "digest": f"sha256:{digest}",
            "name": title,
            "started": _now(),
        }
        self._vertexes[number] = vertex
        _print({"vertexes": [vertex]})
        count = self._counts[number] = Count()
        return count

    def tick(self) -> None:
        """Say how far steps are."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _INTERVAL_S
            for number in list(self._counts):
                self._tell(number)

    def _tell(self, number: int, **more: object) -> None:
        current, total = counted = self._counts[number].bytes
        if counted == self._told.get(number, (0, 0)) and not (more and current):
            return
        self._told[number] = counted
        vertex = self._vertexes[number]
        status = {
            "id": vertex["name"],
            "vertex": vertex["digest"],
            "current": current,
            "total": total,
            "timestamp": _now(),
            "started": vertex["started"],
        }
        _print({"statuses": [status | more]})

    def remark(self, number: int, text: str) -> None:
        """A line of the log."""
        self.output(number, 0.0, f"{text}\n".encode("utf-8", "backslashreplace"))

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        """A piece of the log."""
        log = {
            "vertex": self._vertexes[number]["digest"],
            "stream": 2,
            "data": base64.b64encode(chunk).decode("ascii"),
            "timestamp": _now(),
        }
        _print({"logs": [log]})

    def end(self, number: int, outcome: str, seconds: float) -> None:
        """The vertex is completed."""
        self._tell(number, completed=_now())
        del self._counts[number]
        vertex = self._vertexes[number] | {"completed": _now()}
        if outcome == CACHED:
            vertex["cached"] = True
        if outcome in (ERROR, CANCELED):
            vertex["error"] = outcome.lower()
        _print({"vertexes": [vertex]})

    def note(self, text: str) -> None:
        """A warning without a vertex."""
        short = base64.b64encode(text.encode("utf-8", "backslashreplace")).decode("ascii")
        _print({"warnings": [{"level": 1, "short": short}]})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def _print(event: dict[str, object]) -> None:
    sys.stderr.write(json.dumps(event) + "\n")
    sys.stderr.flush()
