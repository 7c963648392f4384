"""dockerd and containerd with storages of their own, until the end of a block."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import run, wait_for, which


class Daemon:
    """A program that listens on a socket, and the client that speaks to it there."""

    def __init__(self, place: Path, daemon: Sequence[str], client: Sequence[str]) -> None:
        self.place = place
        self._daemon = daemon
        self._client = client

    def __call__(self, *arguments: str | Path) -> str:
        ended = run([*self._client, *arguments])
        assert ended.status == 0, ended.stderr
        return ended.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        """Skips the test where it does not start."""
        log = self.place / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(self._daemon, stdout=output, stderr=output)
        try:
            wait_for(lambda: process.poll() is not None or self._answers())
            if process.poll() is not None:
                last = log.read_text().strip().splitlines()[-1:]
                pytest.skip(f"{self._daemon[0]} does not run here: {' '.join(last)}")
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _answers(self) -> bool:
        return run([*self._client, "version"]).status == 0


class Docker(Daemon):
    """A dockerd that makes no networks."""

    def __init__(self, place: Path) -> None:
        host = ("--host", f"unix://{place}/docker.sock")
        daemon = [
            *(which("dockerd"), *host, "--pidfile", str(place / "pid")),
            *("--data-root", str(place / "data"), "--exec-root", str(place / "exec")),
            # Its driver that copies loses attributes of files with several names.
            *("--storage-driver=overlay2", "--bridge=none"),
            *("--iptables=false", "--ip-forward=false"),
        ]
        super().__init__(place, daemon, ["docker", *host])


class Containerd(Daemon):
    """A containerd, and ctr."""

    def __init__(self, place: Path) -> None:
        address = ("--address", str(place / "containerd.sock"))
        daemon = [
            *(which("containerd"), *address, "--config", "/dev/null"),
            *("--root", str(place / "root"), "--state", str(place / "state")),
        ]
        super().__init__(place, daemon, ["ctr", *address])
