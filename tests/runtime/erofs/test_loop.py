"""Kernels before Linux 6.12, whose EROFS wants block devices: loop devices stand for the files."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.erofs import inplace, mount
from runtime.erofs.loop import attach_loop
from runtime.erofs.mount import LOOP_CONTROL, mount_by_loop
from tests.runtime.erofs.support import indexed, write_layers
from tests.support import directory, file, symlink

pytestmark = pytest.mark.needs_root

LAYERS = [
    [directory("d", mode=0o1777, uid=3), file("d/a", b"1" * 70000), file("b", b"2" * 513)],
    [file("d/.wh.a"), file("d/c", b"3"), symlink("l", "d/c")],
]


@functools.cache
def _loops_are_missing() -> str:
    try:
        fd = os.open(__file__, os.O_RDONLY)
        device, _ = attach_loop(fd)
    except OSError as error:
        return f"no loop devices here: {error.strerror}"
    os.close(device)
    os.close(fd)
    return ""


@pytest.fixture(autouse=True)
def _loops() -> None:
    if reason := _loops_are_missing():
        pytest.skip(reason)


def _attached_to(folder: Path) -> list[str]:
    """The files below a folder that loop devices stand for."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            name = backing.read_text().rstrip("\n")
        except OSError:  # it was just detached
            continue
        if name.startswith(f"{folder}/"):
            found.append(name)
    return found


def test_loop_devices_show_what_files_show_and_are_free_afterwards(public: Path) -> None:
    paths = write_layers(public, LAYERS)

    def by_loop(index: str, devices: Sequence[str]) -> int:
        mounted = mount_by_loop(index, devices)
        assert len(_attached_to(public)) == 3, "the index and two layers, while it is mounted"
        return mounted

    (public / "one").mkdir()
    (public / "two").mkdir()
    shown = indexed(paths, public / "one", by_loop)
    assert shown == indexed(paths, public / "two")
    assert _attached_to(public) == []


def test_a_kernel_that_wants_block_devices_gets_them(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mount._mount

    def older(source: str, devices: Sequence[str]) -> int:
        if not source.startswith("/dev/loop"):
            raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))
        return real(source, devices)

    monkeypatch.setattr(mount, "_mount", older)
    paths = write_layers(public, LAYERS)
    assert indexed(paths, public)["d/c"][4] == _content(b"3")
    assert _attached_to(public) == []


def _content(content: bytes) -> tuple[int, str]:
    """As `listing` has a file's content."""
    return len(content), hashlib.sha256(content).hexdigest()


@pytest.fixture
def release(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kernel's version, as it is said to be."""
    real = os.uname()
    said = os.uname_result((real[0], real[1], request.param, real[3], real[4]))
    monkeypatch.setattr(os, "uname", lambda: said)
    return str(request.param)


@pytest.mark.parametrize("release", ["6.4.0", "6.11.9-generic", "6.12.0"], indirect=True)
def test_kernels_that_can(release: str) -> None:
    assert inplace.refusal() == "", release


@pytest.mark.parametrize("release", ["6.3.13", "5.14.0-503.el9"], indirect=True)
def test_kernels_that_cannot(release: str) -> None:
    assert inplace.refusal() == f"Linux {release} cannot, 6.4 can"


@pytest.mark.parametrize("release", ["6.6.1"], indirect=True)
def test_without_loop_devices_an_older_kernel_cannot(
    release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != LOOP_CONTROL)
    why = f"Linux {release} needs loop devices, and there is no {LOOP_CONTROL}"
    assert inplace.refusal() == why
