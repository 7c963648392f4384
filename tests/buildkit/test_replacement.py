"""A file takes another's place when it is complete, or was never there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.replacement import Replacement


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What fsync(2) was called for: the sizes of files."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    return sizes


@pytest.mark.parametrize("is_link", [False, True])
def test_what_was_there_is_replaced_by_what_is_on_the_disk(
    tmp_path: Path, synced: list[int], is_link: bool
) -> None:
    path = tmp_path / "image.tar"
    if is_link:
        path.symlink_to("nowhere")
    else:
        path.write_text("before")
    with Replacement(str(path)) as fd:
        os.write(fd, b"after")
        assert is_link or path.read_text() == "before"
    assert path.read_text() == "after"
    assert synced == [5]


def test_nobody_waits_for_the_disk_where_nothing_can_be_lost(
    tmp_path: Path, synced: list[int]
) -> None:
    with Replacement(str(tmp_path / "image.tar")) as fd:
        os.write(fd, b"new")
    assert (tmp_path / "image.tar").read_text() == "new"
    assert synced == []


def _fail_in_the_middle(path: Path) -> None:
    with Replacement(str(path)) as fd:
        os.write(fd, b"half")
        raise OSError("full")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        _fail_in_the_middle(path)
    assert os.listdir(tmp_path) == ["image.tar"]
    assert path.read_text() == "before"
