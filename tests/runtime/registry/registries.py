"""A real registry (docker-registry) on a loopback port: open, with a password or with tokens."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.registry.credentials import Credentials
from runtime.registry.reference import Reference, parse_reference
from tests.support import Result, environment, run, wait_for, which

PROGRAM = which("docker-registry") or which("registry")  # Debian's name, and Fedora's
USER, PASSWORD = "alice", "correct horse: battery"
ALICE = Credentials(username=USER, password=PASSWORD)
# `htpasswd -nbB alice 'correct horse: battery'`: the registry takes bcrypt only.
_HTPASSWD = "alice:$2y$05$G8htnO/N/g1ZqTIR8zjtYuG49ANTrPkzZxDz/O2UV.hu.XeA5LYca\n"
_SERIALIZED = "docker/registry/v2"


@dataclass
class Registry:
    """A registry that is running."""

    host: str
    root: Path

    def name(self, rest: str) -> Reference:
        """A name in it."""
        return parse_reference(f"{self.host}/{rest}")

    def tag(self, repository: str, tag: str) -> str:
        """The digest that a tag has, read from its disk; empty if there is no such tag."""
        folder = self.root / _SERIALIZED / "repositories" / repository / "_manifests/tags"
        link = folder / tag / "current/link"
        return link.read_text() if link.exists() else ""

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob, read from its disk."""
        folder = self.root / _SERIALIZED / "repositories" / repository / "_layers/sha256"
        return (folder / digest.removeprefix("sha256:") / "link").exists()

    def data(self, digest: str) -> Path:
        """Where the bytes of a blob are on its disk."""
        hex_digits = digest.removeprefix("sha256:")
        return self.root / _SERIALIZED / "blobs/sha256" / hex_digits[:2] / hex_digits / "data"

    def log(self) -> list[str]:
        """Method, path with query, and status of the requests so far, by its own access log."""
        found = re.findall(
            r'"([A-Z]+) (/v2/\S*) HTTP/1.1" (\d+) ', (self.root / "log").read_text()
        )
        return [" ".join(words) for words in found]


@contextmanager
def running_registry(root: Path, **settings: str) -> Iterator[Registry]:
    """A registry until the end of the block; settings are REGISTRY_ variables without that."""
    root.mkdir(parents=True, exist_ok=True)
    config = root / "config.yml"
    document = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(root)},
            "delete": {"enabled": True},
        },
        "http": {"addr": "127.0.0.1:0", "secret": "of a test"},
    }
    config.write_text(json.dumps(document))  # JSON is YAML
    environ = {f"REGISTRY_{name}": value for name, value in settings.items()}
    log = root / "log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={"PATH": os.environ["PATH"], **environ},
        )
    found: list[str] = []

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        found.extend(re.findall(r"listening on (127\.0\.0\.1:\d+)", log.read_text()))
        return bool(found)

    try:
        wait_for(listens)
        yield Registry(host=found[0], root=root)
    finally:
        process.terminate()
        process.wait()


def password_settings(root: Path) -> Mapping[str, str]:
    """Settings of a registry that only `USER` may use."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "htpasswd").write_text(_HTPASSWD)
    return {"AUTH_HTPASSWD_REALM": "test", "AUTH_HTPASSWD_PATH": str(root / "htpasswd")}


def own_environment() -> dict[str, str]:
    """For programs that look into the home of whoever calls them."""
    home = Path(os.environ["HOME"])
    home.mkdir(exist_ok=True)
    return environment(None, HOME=str(home))


def skopeo(*arguments: str | Path) -> Result:
    """Run skopeo, which must succeed."""
    ended = run(["skopeo", "--insecure-policy", *arguments], env=own_environment())
    assert ended.status == 0, ended.stderr
    return ended
