"""Digests of many files, read by several processes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from buildkit import contents
from buildkit.contents import digest
from buildkit.reading import file_digests


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, int]]:
    """Files of all sizes, two of which are hard links."""
    found = []
    for number in range(300):
        path = tmp_path / f"f{number}"
        path.write_bytes(os.urandom(number * number))
        found.append((str(path), number * number))
    (tmp_path / "link").hardlink_to(tmp_path / "f9")
    return [*found, (str(tmp_path / "link"), 81)]


@pytest.mark.parametrize("processors", [1, 2, 3, 7, 400])
def test_the_digests_are_those_of_the_files_in_their_order(
    files: list[tuple[str, int]], processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    expected = [hashlib.sha256(Path(path).read_bytes()).digest() for path, _ in files]
    assert file_digests(files) == expected


@pytest.mark.parametrize("gone", [0, 150, 299])
def test_a_file_that_cannot_be_read_is_named(files: list[tuple[str, int]], gone: int) -> None:
    path = files[gone][0]
    os.unlink(path)
    with pytest.raises(FileNotFoundError) as caught:
        file_digests(files)
    assert caught.value.filename == path
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_files_that_grew_are_read_to_their_end(files: list[tuple[str, int]]) -> None:
    sizes = [(path, 0) for path, _ in files]
    assert file_digests(sizes) == file_digests(files)


def test_a_tree_has_one_digest_however_it_is_read(
    tmp_path: Path, files: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        alone = digest(root, ".")
        monkeypatch.setattr(contents, "_MANY", 2)
        assert digest(root, ".") == alone
        for batch in (1, 7, 300):
            monkeypatch.setattr(contents, "_BATCH", batch)
            assert digest(root, ".") == alone
    finally:
        os.close(root)
