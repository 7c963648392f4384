"""Disks that are full, and places that may not be written to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.buildkit.debian_mirror import add_mirror
from tests.buildkit.support import SHELL, Pybuild
from tests.support import Result

pytestmark = pytest.mark.needs_root


@pytest.fixture
def small_store(as_root: Pybuild) -> Iterator[Pybuild]:
    """`pybuild` whose store has 6 MB."""
    with _mounted(as_root.store, "size=6m"):
        yield as_root


class _mounted:
    """A tmpfs for as long as the block lasts."""

    def __init__(self, path: Path, options: str) -> None:
        self._path, self._options = path, options

    def __enter__(self) -> None:
        argv = ["mount", "-t", "tmpfs", "-o", self._options, "none", str(self._path)]
        subprocess.run(argv, check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self._path], check=True)


def _check(ended: Result) -> None:
    """It failed in one way that a user understands."""
    assert ended.status in (1, 5), ended.stderr
    words = ("No space left on device", "no space left", "disk I/O error\n")
    assert any(said in ended.stderr for said in words), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "internal error" not in ended.stderr


@pytest.mark.parametrize(
    "step",
    [
        "COPY big /",
        "RUN dd if=/dev/zero of=/big bs=1M count=20",
        "COPY half /\nRUN cp /half /other",
        "COPY --from=0 /bin/busybox /b1\nRUN cp /b1 /b2\nRUN cat /bin/busybox /b2 > /c",
    ],
)
def test_a_full_store_fails_the_step_and_keeps_what_was_there(
    small_store: Pybuild, step: str
) -> None:
    small_store.add({"big": b"x" * 20_000_000, "half": b"y" * 1_500_000})
    first = small_store.try_build("FROM scratch\nCOPY Containerfile /\n")
    assert first.status == 0, first.stderr
    output, files = small_store.output.read_bytes(), small_store.store_files()
    ended = small_store.try_build(f"{SHELL.replace('scratch', 'scratch AS a')}FROM a\n{step}\n")
    _check(ended)
    assert small_store.output.read_bytes() == output
    assert files.items() <= small_store.store_files().items()
    assert os.listdir(small_store.store / "tmp") == []


def test_after_a_full_disk_the_store_is_as_good_as_before(small_store: Pybuild) -> None:
    small_store.add({"big": b"x" * 20_000_000, "a": "1"})
    _check(small_store.try_build("FROM scratch\nCOPY a /\nCOPY big /\n"))
    assert small_store.steps("FROM scratch\nCOPY a /\n") == ["CACHED"]


def test_a_full_output_directory_is_status_5_and_leaves_no_half_archive(
    as_root: Pybuild,
) -> None:
    as_root.add({"big": b"x" * 3_000_000})
    place = as_root.work / "small"
    place.mkdir()
    with _mounted(place, "size=1m"):
        (place / "image.tar").write_text("earlier")
        ended = as_root.try_build("FROM scratch\nCOPY big /\n", "-o", "small/image.tar")
        assert ended.status == 5
        assert "small/image.tar: No space left on device" in ended.stderr
        assert (place / "image.tar").read_text() == "earlier"
        assert os.listdir(place) == ["image.tar"]


@pytest.mark.parametrize("size_kb", range(64, 704, 64))
def test_wherever_the_disk_fills_up_it_is_one_clear_error(as_root: Pybuild, size_kb: int) -> None:
    as_root.add({"d/a": b"x" * 100_000, "d/b": b"y" * 100_000})
    text = "FROM scratch\nCOPY d /\nWORKDIR /w\nCOPY d /e\n"
    with _mounted(as_root.store, f"size={size_kb}k"):
        ended = as_root.try_build(text, "-t", "name", "-o", "image.tar")
        if ended.status == 0:
            assert as_root.output.exists()
            return
        _check(ended)
        assert as_root.output.exists() is False or "image.tar: written" in ended.stderr
        if (as_root.store / "tmp").exists():
            assert os.listdir(as_root.store / "tmp") == []


@pytest.mark.parametrize("inodes", range(8, 60, 6))
def test_a_store_without_inodes_is_one_clear_error(as_root: Pybuild, inodes: int) -> None:
    as_root.add({f"d/{number}": "x" for number in range(8)})
    with _mounted(as_root.store, f"size=10m,nr_inodes={inodes}"):
        ended = as_root.try_build("FROM scratch\nCOPY d /\nCOPY d /e\n", "-t", "name")
        if ended.status:
            _check(ended)


def test_a_read_only_store_is_status_5(as_root: Pybuild) -> None:
    as_root.add({"a": ""})
    assert as_root.try_build("FROM scratch\nCOPY a /\n").status == 0
    with _mounted(as_root.store, "size=1m"):
        ended = as_root.try_build("FROM scratch\nCOPY a /\n")
        assert ended.status == 0, ended.stderr
        subprocess.run(["mount", "-o", "remount,ro", as_root.store], check=True)
        ended = as_root.try_build("FROM scratch\nCOPY a /b\n")
        assert ended.status == 5
        assert "Read-only file system" in ended.stderr
        assert "internal error" not in ended.stderr


def test_an_empty_read_only_place_for_a_store_is_status_5_with_a_hint(as_root: Pybuild) -> None:
    as_root.add({"a": ""})
    with _mounted(as_root.store, "size=1m,ro"):
        ended = as_root.try_build("FROM scratch\nCOPY a /\n")
    assert ended.status == 5
    assert "hint: PYBUILD_ROOT" in ended.stderr


@pytest.mark.needs_userns
def test_a_store_of_somebody_else_is_status_5(as_user: Pybuild, as_root: Pybuild) -> None:
    as_user.add({"a": ""})
    assert as_root.try_build("FROM scratch\nCMD x\n").status == 0
    (as_root.store).chmod(0o700)
    ended = as_user.try_build("FROM scratch\nCOPY a /\n", env={"PYBUILD_ROOT": str(as_root.store)})
    assert ended.status == 5
    assert "Permission denied" in ended.stderr


# --- While packages are installed


def _slow(*sizes: int) -> list[ParameterSet]:
    """For the second tier."""
    return [pytest.param(size, marks=pytest.mark.slow) for size in sizes]


@pytest.mark.needs_program("dnf", "rpm")
@pytest.mark.parametrize("size_kb", [200, 900, 2500, *_slow(400, 600, 1200, 3500, 4000)])
def test_wherever_the_disk_fills_up_dnf_and_rpm_end_with_status_5(
    as_root: Pybuild, hello_repository: Path, size_kb: int
) -> None:
    shutil.copytree(hello_repository / "repo", as_root.context / "repo")
    text = (
        "FROM scratch\nBOOTSTRAP --releasever=1 --nogpgcheck --repo=id=hello,url=repo "
        "hello-system hello-release busybox hello\n"
    )
    _fills_up(as_root, text, size_kb)


@pytest.mark.needs_program("apt-get", "mmdebstrap", "dpkg-deb", "gpg", "gpgv")
@pytest.mark.parametrize("size_mb", [40, *_slow(1, 8, 56)])
def test_wherever_the_disk_fills_up_apt_and_dpkg_end_with_status_5(
    as_root: Pybuild, debian_mirror: Path, size_mb: int
) -> None:
    add_mirror(as_root, debian_mirror)
    text = (
        "FROM scratch\nBOOTSTRAP --manager=apt --repo=id=debian,url=debian,suite=bookworm "
        "--key=archive.asc greeting\n"
    )
    _fills_up(as_root, text, size_mb * 1000)


def _fills_up(pybuild: Pybuild, text: str, size_kb: int) -> None:
    """A build fails in one way, and works once there is room."""
    with _mounted(pybuild.store, f"size={size_kb}k"):
        ended = pybuild.try_build(text, timeout_s=180)
        _check(ended)
        assert ended.status == 5, ended.stderr
        if (pybuild.store / "tmp").exists():
            assert os.listdir(pybuild.store / "tmp") == []
        subprocess.run(["mount", "-o", "remount,size=900m", pybuild.store], check=True)
        pybuild.build(text, timeout_s=180)
