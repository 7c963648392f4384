"""Calling `pybuild` as its users do, and reading what it wrote with Python's own tar reader."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import (
    BUSYBOX,
    Caller,
    Result,
    TreeValue,
    command,
    environment,
    make_tree,
    members_of,
    read_members,
    run,
)

# What a RUN needs of its image, in one layer: the test's context has busybox.
SHELL = """\
FROM scratch
COPY busybox /bin/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""


class Image:
    """An image archive: every document and layer, as another reader than ours sees them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members = read_members(path)
        self.index: dict[str, Any] = json.loads(self.members["index.json"])
        self.docker: list[dict[str, Any]] = json.loads(self.members["manifest.json"])
        [self.descriptor] = self.index["manifests"]
        self.manifest: dict[str, Any] = json.loads(self.blob(self.descriptor))
        self.config: dict[str, Any] = json.loads(self.blob(self.manifest["config"]))
        self.layers = [_plain(self.blob(layer)) for layer in self.manifest["layers"]]

    def blob(self, descriptor: Mapping[str, Any]) -> bytes:
        """The bytes that a descriptor names."""
        return self.members["blobs/" + descriptor["digest"].replace(":", "/")]

    @property
    def process(self) -> dict[str, Any]:
        """The `config` member: how to run the image."""
        found: dict[str, Any] = self.config["config"]
        return found

    @property
    def created_by(self) -> list[str]:
        """What the history says."""
        return [entry["created_by"] for entry in self.config["history"]]

    def layer(self, number: int = -1) -> dict[str, tarfile.TarInfo]:
        """The entries of one layer, by name."""
        return members_of(self.layers[number])

    @property
    def files(self) -> dict[str, tarfile.TarInfo]:
        """The entries of all layers; a later one wins, whiteouts are entries."""
        return {name: info for layer in self.layers for name, info in members_of(layer).items()}

    def read(self, name: str) -> bytes:
        """Content of a file, from the highest layer that has it."""
        for layer in reversed(self.layers):
            entry = members_of(layer).get(name)
            if entry is not None:
                start = entry.offset_data
                return layer[start : start + entry.size]
        raise KeyError(name)


def _plain(layer: bytes) -> bytes:
    """A layer's tar, which is compressed in what was pulled."""
    return gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer


def modes(image: Image) -> dict[str, str]:
    """Owner and mode of every entry, as `uid:gid 755`."""
    return {n: f"{i.uid}:{i.gid} {i.mode:o}" for n, i in image.files.items()}


def text_files(image: Image) -> dict[str, str]:
    """Content of every regular file outside /bin; a symlink is `-> TARGET`."""
    found = {}
    for name, info in image.files.items():
        if name.startswith("bin/"):
            continue
        if info.issym():
            found[name] = f"-> {info.linkname}"
        elif info.isreg():
            found[name] = image.read(name).decode("utf-8", "backslashreplace")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pybuild:
    """`pybuild` run by somebody, with a context, a store and a working directory of its own."""

    directory: Path
    caller: Caller
    variables: dict[str, str] = field(default_factory=dict)
    launcher: tuple[str, ...] = ()  # what the command line begins with

    @property
    def context(self) -> Path:
        """The build context; it holds a Containerfile once something was built."""
        return self.directory / "context"

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.directory / "store"

    @property
    def work(self) -> Path:
        """The working directory, which gets image.tar."""
        return self.directory / "work"

    @property
    def output(self) -> Path:
        """The archive that is written where nothing else is said."""
        return self.work / "image.tar"

    def add(self, tree: Mapping[str, TreeValue]) -> None:
        """Put files into the context."""
        make_tree(self.context, tree)

    def write(self, containerfile: str) -> None:
        """Write the Containerfile; the context gets busybox if the text names it."""
        path = self.context / "Containerfile"
        # A build that was started before may be reading it: it must never be half there.
        if not path.exists() or path.read_text() != containerfile:
            path.write_text(containerfile)
        if "busybox" in containerfile and not (self.context / "busybox").exists():
            os.link(_shared_busybox(self.directory), self.context / "busybox")

    def run(self, *arguments: str | Path, **choices: Any) -> Result:
        """Run `pybuild` with these arguments to its end."""
        given: dict[str, Any] = {"caller": self.caller, "cwd": self.work, **choices}
        given["env"] = self.environment(choices.get("env"))
        return run([*self.command, *arguments], **given)

    @property
    def command(self) -> list[str]:
        """The argv of `pybuild`."""
        return [*self.launcher, *command("pybuild")]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that `pybuild` gets."""
        root = {"PYBUILD_ROOT": str(self.store)}
        return environment(self.caller, **(root | self.variables | dict(more or {})))

    def try_build(self, containerfile: str, *arguments: str | Path, **choices: Any) -> Result:
        """Build a Containerfile in the context, whatever comes of it."""
        self.write(containerfile)
        return self.run(*arguments, self.context, **choices)

    def build(self, containerfile: str, *arguments: str | Path, **choices: Any) -> Image:
        """Build a Containerfile in the context; it must work."""
        ended = self.try_build(containerfile, *arguments, **choices)
        assert ended.status == 0, ended.stderr
        return Image(self.output)

    def steps(self, containerfile: str, *arguments: str, **choices: Any) -> list[str]:
        """Build, and say of each step whether it was CACHED or DONE."""
        ended = self.try_build(containerfile, *arguments, **choices)
        assert ended.status == 0, ended.stderr
        words = [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("#")]
        return [word for word in words if word in ("CACHED", "DONE")]

    def start(self, containerfile: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start `pybuild` in a session of its own; standard error goes to the file `log`."""
        self.write(containerfile)
        with open(self.directory / "log", "wb") as log:
            return subprocess.Popen(
                [*self.command, *arguments, self.context],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.work,
                start_new_session=True,
                preexec_fn=_default_signals,
                **self.caller.switch,
            )

    @property
    def log(self) -> str:
        """What the started `pybuild` said."""
        return (self.directory / "log").read_text()

    def store_files(self) -> dict[str, str]:
        """Everything in the store but work in progress and packages, by digest."""
        found = {}
        for folder, _, files in os.walk(self.store):
            for name in files:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self.store)
                if not relative.startswith(("tmp/", "dnf/")) and not os.path.islink(path):
                    found[relative] = _digest(path)
        return found


def _default_signals() -> None:
    # A test runner in the background ignores SIGINT, and its children would.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _digest(path: str) -> str:
    if not os.path.isfile(path):
        return "special"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shared_busybox(directory: Path) -> Path:
    """A copy of busybox beside the tests' directories: hard links to it cost nothing."""
    path = directory.parent / "busybox"
    if not path.exists():
        path.write_bytes(BUSYBOX.read_bytes())
        path.chmod(0o755)
    return path


def add_program(root: Path, name: str) -> None:
    """Put a program of this machine and its libraries into a tree."""
    program = shutil.which(name)
    assert program is not None, name
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"(/\S+) \(0x", listed)):
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def make_pybuild(directory: Path, caller: Caller, *, launcher: tuple[str, ...] = ()) -> Pybuild:
    """A new `Pybuild` below a directory that everybody can reach."""
    made = Pybuild(directory=directory, caller=caller, launcher=launcher)
    for path in (directory, made.context, made.work, made.store):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    for path in (made.work, made.store):
        if caller.uid != os.geteuid():
            os.chown(path, caller.uid, caller.gid)
    return made


def processes(directory: Path) -> list[str]:
    """Command lines of the processes that have something to do with a directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cmdline = Path(f"/proc/{pid}/cmdline").read_bytes()
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            links = [os.readlink(f"/proc/{pid}/{name}") for name in ("cwd", "root")]
            apart = os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
            mounted = Path(f"/proc/{pid}/mountinfo").read_bytes() if apart else b""
        except OSError:
            continue
        needle = os.fsencode(str(directory))
        if needle in cmdline + environ + mounted or any(str(directory) in link for link in links):
            found.append(f"{pid} {cmdline.decode(errors='replace')}")
    return found


def mounts(directory: Path) -> list[str]:
    """Mounts below a directory, in this process's namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f"{directory}/" in line]


def order(names: Sequence[str]) -> list[str]:
    """Names by their bytes, which no locale changes."""
    return sorted(names, key=os.fsencode)
