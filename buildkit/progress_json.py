"""BuildKit's own events (client.SolveStatus), one JSON object per line: for programs."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import sys

from buildkit.progress import CACHED, CANCELED, ERROR, View


class JsonView(View):
    """Vertexes, logs and warnings."""

    def __init__(self) -> None:
        self._vertexes: dict[int, dict[str, object]] = {}

    def begin(self, number: int, title: str) -> None:
        """A vertex that has started; its digest is only its name here."""
        digest = hashlib.sha256(f"{number} {title}".encode("utf-8", "replace")).hexdigest()
        vertex: dict[str, object] = {
            "digest": f"sha256:{digest}",
            "name": title,
            "started": _now(),
        }
        self._vertexes[number] = vertex
        _print({"vertexes": [vertex]})

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
