"""Builds that buildah does as well: the same files and the same configuration come out.

What a folder of `conformance` may hold, and where we differ on purpose, is in its README.md.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.image_tree import OLD, read_image
from tests.buildkit.support import Pybuild
from tests.runtime.engines import Buildah
from tests.support import BUSYBOX, Result, run, which

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("buildah")]

FOLDER = Path(__file__).parent / "conformance"
BUILDS = sorted(path.parent.name for path in FOLDER.glob("*/Containerfile"))
_ROW = re.compile(r"^\| (\S+) \| `([^`]+)` \| \S.* \|$", re.MULTILINE)
_BUD = ("--isolation", "chroot", "--format", "docker", "--layers=false", "--pull=false")


class Comparison:
    """One context, built by both."""

    def __init__(self, build: str, pybuild: Pybuild, buildah: Buildah, base: Path) -> None:
        self._build = build
        self.context = pybuild.context
        self._pybuild, self._buildah, self._base = pybuild, buildah, base
        _copy_context(build, self.context)
        self.error = self._take("error")
        self._arguments = self._take("arguments").split()
        if self._take("prepare"):
            script = FOLDER / build / "prepare"
            subprocess.run(["sh", "-eu", script], cwd=self.context, check=True)

    def _take(self, name: str) -> str:
        path = self.context / name
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return text

    def ours(self) -> Result:
        """Build with `pybuild`."""
        file = ("-f", f"{self.context}/Containerfile", "-o", f"{self._pybuild.output}")
        given = ("--timestamp", str(OLD), f"--build-context=busybox={self._base}")
        with self._site() as site:
            arguments = (*file, *given, *site, *self._arguments)
            return self._pybuild.run(*arguments, self.context, cwd=self.context)

    def theirs(self, *options: str) -> Result:
        """Build with buildah, from `Containerfile.buildah` where that is."""
        other = f"{self.context}/Containerfile.buildah"
        file = other if os.path.exists(other) else f"{self.context}/Containerfile"
        name = f"localhost/{self._build}"
        with self._site() as site:
            arguments = (*_BUD, *options, "-t", name, "-f", file, *site, *self._arguments)
            made = self._buildah("bud", *arguments, self.context, cwd=self.context)
        # Not by the build itself: its -t docker-archive:FILE fails where a base has triggers.
        if made.status == 0:
            made = self._buildah("push", name, f"docker-archive:{self.their_output}")
        return made

    @property
    def their_output(self) -> Path:
        """The archive that buildah writes."""
        return self._pybuild.work / "theirs.tar"

    @contextmanager
    def _site(self) -> Iterator[tuple[str, ...]]:
        """Serve the context's `www`, if there is one, and name it on the command line."""
        if not (self.context / "www").is_dir():
            yield ()
            return
        handler = functools.partial(_Files, directory=str(self.context / "www"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield (f"--build-arg=www=http://127.0.0.1:{server.server_address[1]}",)
            finally:
                server.shutdown()
                thread.join()

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Paths of the tree and keys of the configuration, with our value and theirs."""
        ours, theirs = read_image(self._pybuild.output), read_image(self.their_output)
        return {
            name: (ours.get(name), theirs.get(name))
            for name in sorted(ours.keys() | theirs.keys())
            if _differ(ours.get(name), theirs.get(name))
        }


def _differ(ours: Any, theirs: Any) -> bool:
    """Whether two values are not the same; of times only those that we keep count."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.get("time") is None:
        return {**ours, "time": None} != {**theirs, "time": None}
    return bool(ours != theirs)


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _allowed(build: str) -> set[str]:
    """What may differ, by the table."""
    table = (FOLDER / "README.md").read_text()
    return {what for name, what in _ROW.findall(table) if name == build}


@pytest.fixture(scope="module")
def buildah(public_root: Path) -> Buildah:
    """buildah, with storage of its own."""
    directory = public_root / "conformance"
    directory.mkdir()
    return Buildah(directory)


@pytest.fixture(scope="module")
def base(buildah: Buildah, public_root: Path) -> Path:
    """An archive of the base image, which buildah made and has as localhost/busybox."""
    context = public_root / "conformance/context"
    _copy_context("busybox", context)
    archive = context / "base.tar"
    for arguments in (
        ("bud", *_BUD, "-t", "localhost/busybox", context),
        ("push", "localhost/busybox", f"docker-archive:{archive}"),
    ):
        done = buildah(*arguments)
        assert done.status == 0, done.stderr
    return archive


def _copy_context(build: str, to: Path) -> None:
    shutil.copytree(FOLDER / build, to, symlinks=True, dirs_exist_ok=True)
    shutil.copyfile(BUSYBOX, to / "busybox")
    (to / "busybox").chmod(0o755)


# buildah takes seconds for each; those here are of every kind.
_EACH_TIME = (
    *("add-buildkit", "args-scope", "config", "copy-buildkit", "copy-globs", "copy-links"),
    *("copy-stages", "from-base", "ignored-patterns", "mounts-bind", "mounts-cache"),
    *("named-contexts", "onbuild", "replaces", "run-buildkit", "stages", "users"),
)


@pytest.mark.parametrize(
    "build",
    [
        build
        if build.startswith("error") or build in _EACH_TIME
        else pytest.param(build, marks=pytest.mark.slow)
        for build in BUILDS
    ],
)
def test_files_and_configuration_are_those_of_buildah(
    build: str, buildah: Buildah, as_root: Pybuild, base: Path
) -> None:
    both = Comparison(build, as_root, buildah, base)
    theirs, ours, allowed = both.theirs(), both.ours(), _allowed(build)
    if both.error:
        assert ours.status != 0
        assert both.error.strip() in ours.stderr
        assert theirs.status != 0
        return
    assert theirs.status == 0, theirs.stderr
    assert ours.status == 0, ours.stderr
    differ = both.differences()
    shown = "\n".join(
        f"{name}:\n  ours    {ours}\n  buildah {theirs}"
        for name, (ours, theirs) in differ.items()
        if name not in allowed
    )
    if shown:
        pytest.fail(f"without a row in the table:\n{shown}", pytrace=False)
    assert allowed - differ.keys() == set(), "the table says more than there is"


def test_every_build_has_its_place_in_the_table_of_what_is_covered() -> None:
    covered = (FOLDER / "README.md").read_text().partition("## Where we differ")[0]
    assert [build for build in BUILDS if f"`{build}`" not in covered] == []


# What makes an archive of the base image in buildah's storage, or of the archive of it.
FOREIGN = {
    "buildah": "buildah {storage} push localhost/busybox oci-archive:{to}",
    "podman": "podman {storage} save --format docker-archive --output {to} localhost/busybox",
    "skopeo": "skopeo copy --dest-compress-format zstd docker-archive:{base} oci-archive:{to}",
}


@pytest.mark.parametrize("way", FOREIGN)
def test_images_of_others_are_bases(
    way: str, buildah: Buildah, as_root: Pybuild, base: Path
) -> None:
    made = as_root.directory / way
    argv = FOREIGN[way].format(storage=" ".join(buildah.storage), base=base, to=made).split()
    if not which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    done = run(argv, env=buildah.env)
    assert done.status == 0, done.stderr
    both = Comparison("from-base", as_root, buildah, made)
    assert both.theirs().status == 0
    ended = both.ours()
    assert ended.status == 0, ended.stderr
    assert both.differences() == {}


def test_ours_are_bases_of_buildah(buildah: Buildah, as_root: Pybuild, base: Path) -> None:
    ours = Comparison("busybox", as_root, buildah, base)
    assert ours.ours().status == 0
    made = as_root.output.rename(as_root.directory / "ours.tar")
    pulled = buildah("pull", "--quiet", f"oci-archive:{made}")
    assert pulled.status == 0, pulled.stderr
    both = Comparison("from-base", as_root, buildah, made)
    ended = both.theirs("--from", pulled.stdout.strip())
    assert ended.status == 0, ended.stderr
    assert both.ours().status == 0
    assert both.differences().keys() == {"dev", "proc", "sys"}, "what a RUN of buildah leaves"
