"""Bundles with busybox, and `pyrun-oci` called on them as root or as a user."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support import BUSYBOX, GROUP, PASSWD, Caller, Result, command, environment, make_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    Config = dict[str, Any]
    Edit = Callable[[Config], object]

_numbers = itertools.count()
MARK = "PYRUN_TEST"  # a variable that every process of a test has: who is left can be found
as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)
as_root_and_user = pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
as_user = pytest.mark.parametrize("caller", ["user", "lone_user"], indirect=True)
FOREVER = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"


class Room:
    """Where one test's bundles and states are, and whose they are."""

    def __init__(self, place: Path, caller: Caller, example: Config, applets: Path) -> None:
        self.place = place
        self.caller = caller
        self.mark = f"{os.getpid()}-{next(_numbers)}"
        self._example = example
        self._applets = applets  # a directory `bin` that belongs to the caller

    def bundle(self, what: str | Sequence[str] = FOREVER, *edits: Edit) -> Path:
        """Make a bundle that runs a script, or an argv; each edit changes its config."""
        path = Path(tempfile.mkdtemp(prefix="bundle-", dir=self.place))
        path.chmod(0o755)
        rootfs = path / "rootfs"
        make_tree(rootfs, {"etc/passwd": PASSWD, "etc/group": GROUP})
        for name in ("dev", "home", "proc", "root", "sys", "tmp"):
            (rootfs / name).mkdir()
        (rootfs / "tmp").chmod(0o1777)
        self.give(path)
        subprocess.run(["cp", "-al", self._applets, rootfs / "bin"], check=True)
        config = copy.deepcopy(self._example)
        config["process"]["args"] = ["sh", "-c", what] if isinstance(what, str) else list(what)
        config["process"]["env"] += [f"{MARK}={self.mark}"]
        for edit in edits:
            edit(config)
        (path / "config.json").write_text(json.dumps(config))
        return path

    def give(self, path: Path) -> Path:
        """Let a tree belong to the caller."""
        for folder, folders, files in os.walk(path):
            for name in (folder, *(os.path.join(folder, name) for name in (*folders, *files))):
                os.chown(name, self.caller.uid, self.caller.gid, follow_symlinks=False)
        return path

    def directory(self, name: str, tree: Mapping[str, Any] | None = None) -> Path:
        """A directory beside the bundles that belongs to the caller."""
        return self.give(make_tree(self.place / name, tree or {}))


class Runtime:
    """`pyrun-oci` with a state directory of its own."""

    def __init__(self, room: Room, root: Path, argv: Sequence[str] | None = None) -> None:
        self.room = room
        self.root = root
        self.argv = list(argv or command("pyrun-oci"))
        self._bundles: dict[str, Path] = {}

    @property
    def caller(self) -> Caller:
        """Who calls."""
        return self.room.caller

    @property
    def env(self) -> dict[str, str]:
        """The environment of the calls."""
        store = str(self.room.place / "store")
        return environment(self.caller, PYBUILD_ROOT=store, **{MARK: self.room.mark})

    def popen(self, *arguments: str | Path, **choices: Any) -> subprocess.Popen[bytes]:
        """Start a call; the caller of this waits for it."""
        return subprocess.Popen(
            [*self.argv, "--root", str(self.root), *map(str, arguments)],
            **{"env": self.env, "cwd": "/", **self.caller.switch, **choices},
        )

    def __call__(
        self,
        *arguments: str | Path,
        stdin: bytes | int = b"",
        timeout_s: float = 30,
        **choices: Any,
    ) -> Result:
        """Call to the end. Its output goes to files: containers that live on have them too."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
            read = given if isinstance(stdin, bytes) else stdin
            streams = {"stdin": read, "stdout": out, "stderr": err}
            process = self.popen(*arguments, **(streams | choices))
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "backslashreplace"))
        return Result(status, *texts)

    def new_id(self) -> str:
        """An id that no other test has."""
        return f"t{self.room.mark}-{next(_numbers)}"

    def run(self, bundle: Path, *options: str | Path, **choices: Any) -> Result:
        """`run` to the end."""
        return self("run", "--bundle", bundle, *options, self.new_id(), **choices)

    def output_of(self, bundle: Path, *options: str | Path, **choices: Any) -> str:
        """What `run` printed; it must have ended well."""
        result = self.run(bundle, *options, **choices)
        assert (result.status, result.stderr) == (0, ""), result
        return result.stdout

    def create(self, bundle: Path, *options: str | Path, **choices: Any) -> str:
        """`create`; returns the id. What the container writes is in `written`."""
        identity = self.new_id()
        with open(bundle / "stdout", "wb") as out:
            result = self(
                "create", "--bundle", bundle, *options, identity, **{"stdout": out, **choices}
            )
        assert (result.status, result.stderr) == (0, ""), result
        self._bundles[identity] = bundle
        return identity

    def started(self, bundle: Path, *options: str | Path, **choices: Any) -> str:
        """`create` and `start`; returns the id."""
        identity = self.create(bundle, *options, **choices)
        self.ok("start", identity)
        return identity

    def ok(self, *arguments: str | Path, **choices: Any) -> str:
        """Call what must succeed without a word of complaint; returns what it printed."""
        result = self(*arguments, **choices)
        assert (result.status, result.stderr) == (0, ""), result
        return result.stdout

    def refused(self, *arguments: str | Path, **choices: Any) -> str:
        """Call what must fail with one line and perhaps a hint; returns what it said."""
        result = self(*arguments, **choices)
        return complaint(result)

    def written(self, identity: str) -> str:
        """What a created container has written so far."""
        return (self._bundles[identity] / "stdout").read_text()

    def wait_written(self, identity: str, text: str) -> str:
        """Wait until a created container has written something."""
        assert until(lambda: text in self.written(identity)), self.written(identity)
        return self.written(identity)

    def state(self, identity: str) -> dict[str, Any]:
        """The state's JSON."""
        state: dict[str, Any] = json.loads(self.ok("state", identity))
        return state

    def status(self, identity: str) -> str:
        """The status: created, running, paused, stopped."""
        return str(self.state(identity)["status"])

    def wait_stopped(self, identity: str) -> None:
        """Wait until a container has ended."""
        assert until(lambda: self.status(identity) == "stopped")

    def stop(self, identity: str) -> None:
        """Kill it, and wait until it is stopped."""
        self.ok("kill", identity, "KILL")
        self.wait_stopped(identity)

    def end(self) -> None:
        """Delete every container."""
        for path in sorted(self.root.iterdir()) if self.root.exists() else ():
            self("delete", "--force", path.name)


def give_away(bundle: Path, first: int = 300_000) -> None:
    """Let a bundle's root belong to the ids of `edits.user_namespace`."""
    rootfs = bundle / "rootfs"
    # But for the programs, which are other bundles' too: these are hard links.
    argv = ["find", str(rootfs), "-path", f"{rootfs}/bin/*", "-prune", "-o"]
    argv += ["-exec", "chown", "-h", f"{first}:{first}", "{}", "+"]
    subprocess.run(argv, check=True)


def complaint(result: Result) -> str:
    """What pyrun said of its own failure: one line, and perhaps a hint."""
    assert result.status == 125, result
    lines = result.stderr.splitlines()
    assert lines, result
    assert lines[0].startswith("pyrun: "), result
    assert "internal error" not in lines[0], result
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == [], result
    return result.stderr


def until(condition: Callable[[], object], timeout_s: float = 10) -> bool:
    """Whether something comes true in time."""
    ends = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent to notice."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def make_applets(place: Path, caller: Caller) -> Path:
    """A directory with busybox under all its names, as the caller's own."""
    place.mkdir(parents=True)
    shutil.copy(BUSYBOX, place / "busybox")
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True)
    for name in names.stdout.split():
        if name != "busybox":
            (place / name).symlink_to("busybox")
    for path in (place, *place.iterdir()):
        os.chown(path, caller.uid, caller.gid, follow_symlinks=False)
    return place


def marked(mark: str) -> list[tuple[int, str]]:
    """The processes of a test that are there: pid and command line. Needs root."""
    return [(pid, line) for pid, line in _processes(f"{MARK}={mark}".encode())]


def end_marked(mark: str) -> None:
    """Kill the processes of a test."""
    for pid, _ in marked(mark):
        # It may be gone: it was in a container whose first process went before.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes(variable: bytes) -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc"):
        try:
            if not name.isdigit() or int(name) == os.getpid():
                continue
            if variable in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(name), line
        except OSError:  # it ended, or is not ours to look at
            continue


def groups_of(mark: str) -> list[str]:
    """The control groups whose names hold a test's mark."""
    found = []
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(folder, name) for name in folders if mark in name]
    return found
