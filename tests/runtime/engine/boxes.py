"""Containers beside a test, and the verbs that reach into them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import Caller, Result, run_pyrun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOREVER = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")


class Boxes:
    """A caller's store, with containers that are gone after the test."""

    def __init__(self, place: Path, caller: Caller, image: Path) -> None:
        self.caller = caller
        self.place = place  # the caller's own
        self.image = image
        self.store = place / "store"
        self._env = {"XDG_RUNTIME_DIR": str(place / "runtime")}
        for path in (place, self.store, place / "runtime"):
            path.mkdir(exist_ok=True)
            os.chown(path, caller.uid, caller.gid)

    def __call__(self, *arguments: str | Path, **choices: Any) -> Result:
        """Call `pyrun`."""
        env = self._env | choices.pop("env", {})
        return run_pyrun(*arguments, store=self.store, caller=self.caller, env=env, **choices)

    def ok(self, *arguments: str | Path, **choices: Any) -> str:
        """Call `pyrun`, which must succeed; what it prints."""
        ended = self(*arguments, **choices)
        assert ended.status == 0, ended.stderr
        return ended.stdout

    def started(self, *options: str | Path, command: tuple[str, ...] = FOREVER) -> str:
        """A container that runs until the test ends; its id."""
        return self.ok("run", "-d", *options, self.image, *command).strip()

    def made(self, *options: str | Path, command: tuple[str, ...] = ("true",)) -> str:
        """A container that was not started; its id."""
        return self.ok("create", *options, self.image, *command).strip()

    def clear(self) -> None:
        """Remove all containers."""
        self.ok("rm", "-f", "-v", "-a")

    def file(self, name: str, content: str = "content\n") -> Path:
        """A file of the caller's."""
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        for made in (path, path.parent):
            os.chown(made, self.caller.uid, self.caller.gid)
        return path
