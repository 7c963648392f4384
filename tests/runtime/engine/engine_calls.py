"""Calls of `pyrun run` and the other verbs on one store, and what they leave behind."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

from tests.support import Caller, Result, command, environment, run_pyrun, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT = ("names", "events", "events.1")  # of a store without containers


class Engine:
    """The containers of a store, for one caller."""

    def __init__(self, store: Path, caller: Caller, image: Path) -> None:
        self.store = store
        self.caller = caller
        self.image = str(image)
        self.made: set[str] = set()  # ids

    def __call__(self, *arguments: str | Path, **choices: Any) -> Result:
        """Run one verb."""
        return run_pyrun(*arguments, store=self.store, caller=self.caller, **choices)

    def done(self, *arguments: str | Path, **choices: Any) -> str:
        """Run one verb that must succeed; what it prints."""
        result = self(*arguments, **choices)
        assert result.status == 0, result
        return result.stdout.strip()

    def background(self, script: str, *options: str) -> str:
        """A container beside us that runs a script; its id."""
        identity = self.done("run", "-d", *options, self.image, "sh", "-c", script)
        self.made.add(identity)
        return identity

    def popen(self, *arguments: str, **choices: Any) -> subprocess.Popen[bytes]:
        """A command that goes on."""
        return subprocess.Popen(
            [*command("pyrun"), *arguments],
            env=environment(self.caller, PYBUILD_ROOT=str(self.store)),
            cwd="/",
            **self.caller.switch,
            **choices,
        )

    def folder(self, identity: str) -> Path:
        """The directory of a container."""
        return self.store / "containers" / identity

    def file(self, identity: str, name: str) -> dict[str, Any]:
        """A document of a container."""
        document: dict[str, Any] = json.loads((self.folder(identity) / name).read_text())
        return document

    def says(self, identity: str, text: str) -> None:
        """Wait until a container has said something."""
        wait_for(lambda: text in self("logs", identity).stdout)

    def clean(self) -> None:
        """Remove all containers."""
        self.done("rm", "-f", "--all", timeout_s=120)

    def processes(self) -> list[str]:
        """Monitors and processes of containers that live."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                is_monitor = f"PYBUILD_ROOT={self.store}".encode() in Path(
                    f"/proc/{entry}/environ"
                ).read_bytes().split(b"\0")
                lives_there = f"{self.store}/" in Path(f"/proc/{entry}/mountinfo").read_text()
                if is_monitor or lives_there:
                    line = Path(f"/proc/{entry}/cmdline").read_bytes()
                    found.append(f"{entry} {line.decode(errors='replace')}")
            except OSError:
                continue
        return found

    def remains(self) -> list[str]:
        """What should not be there when there are no containers."""
        found = self.processes()
        for folder in ("containers", "containers/names", "tmp", "mnt"):
            place = self.store / folder
            names = os.listdir(place) if place.exists() else []
            found += [f"{folder}/{name}" for name in names if name not in _KEPT]
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.store) in line:
                found.append(line)
        for identity in self.made:
            for root in ("/run/pyrun", f"/tmp/pyrun-{self.caller.uid}"):
                if os.path.exists(f"{root}/{identity}"):
                    found.append(f"{root}/{identity}")
        for group, folders, _ in os.walk("/sys/fs/cgroup"):
            found += [f"{group}/{name}" for name in folders if name in self.made]
        return found


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = engine.popen(
            *arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def expect(self, text: str) -> None:
        """Read until a text is there, and forget it with what was before."""
        deadline = time.monotonic() + 20
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen)
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # all have closed it
                    assert text in self.seen, (text, self.seen)
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        """Type at it."""
        os.write(self.master, text.encode())

    def status(self) -> int:
        """Its exit status."""
        found = self.process.wait(20)
        os.close(self.master)
        return found
