"""What a tree was, and what changed in it; that overlays say the same is in test_isolation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.changeset import Change
from buildkit.tree_state import TreeState
from tests.support import make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", {"a/b/f": "1", "a/g": "2", "d/x": "", "l": Path("a")})


def _found(state: TreeState) -> dict[str, str]:
    """Name -> what happened to it, in the order found."""
    kinds = {(False, False): "", (True, False): "gone", (False, True): "opaque"}
    return {change.name: kinds[change.whiteout, change.opaque] for change in state.changes()}


def test_what_was_only_read_has_not_changed(tree: Path) -> None:
    state = TreeState(str(tree))
    (tree / "a/b/f").read_text()
    list((tree / "a").iterdir())
    assert state.changes() == ()


def test_a_change_brings_the_directories_above_it(tree: Path) -> None:
    state = TreeState(str(tree))
    (tree / "a/b/f").write_text("3")
    assert _found(state) == {"a": "", "a/b": "", "a/b/f": ""}


def test_a_change_of_the_same_size_at_the_same_moment_with_the_old_time_is_found(
    tree: Path,
) -> None:
    for number in range(50):
        state = TreeState(str(tree))
        times = (tree / "a/g").stat()
        (tree / "a/g").write_text(str(number % 10))
        os.utime(tree / "a/g", ns=(times.st_mtime_ns, times.st_mtime_ns))
        assert list(_found(state)) == ["a", "a/g"]


def test_a_directory_in_the_place_of_another_is_opaque_also_with_its_inode_number(
    tree: Path,
) -> None:
    for _ in range(20):
        state = TreeState(str(tree))
        (tree / "d/x").unlink()
        (tree / "d").rmdir()
        make_tree(tree, {"d/x": ""})
        assert _found(state) == {"d": "opaque", "d/x": ""}


def test_what_is_gone_is_named_and_what_was_in_it_is_not(tree: Path) -> None:
    state = TreeState(str(tree))
    os.unlink(tree / "a/b/f")
    os.rmdir(tree / "a/b")
    os.unlink(tree / "l")
    assert _found(state) == {"a": "", "a/b": "gone", "l": "gone"}


def test_a_file_that_lost_another_of_its_names_has_not_changed(tree: Path) -> None:
    os.link(tree / "a/g", tree / "h")
    state = TreeState(str(tree))
    os.unlink(tree / "h")
    assert _found(state) == {"h": "gone"}
    os.chmod(tree / "a/g", (tree / "a/g").stat().st_mode)
    assert _found(state) == {"a": "", "a/g": "", "h": "gone"}


def test_an_attribute_of_a_file_that_lost_a_name_is_a_change(tree: Path) -> None:
    os.link(tree / "a/g", tree / "h")
    state = TreeState(str(tree))
    os.setxattr(tree / "h", "user.x", b"1")
    os.unlink(tree / "h")
    assert _found(state) == {"a": "", "a/g": "", "h": "gone"}


def test_accepted_changes_are_none_any_more(tree: Path) -> None:
    state = TreeState(str(tree))
    os.rename(tree / "a", tree / "c")
    os.unlink(tree / "d/x")
    os.rmdir(tree / "d")
    (tree / "d").write_text("a file")
    found = state.changes()
    assert Change(name="a", whiteout=True) in found
    state.accept(found)
    assert state.changes() == ()
    os.unlink(tree / "d")
    make_tree(tree, {"d/x": ""})
    assert _found(state) == {"d": "opaque", "d/x": ""}


def test_the_root_counts_only_with_another_mode(tree: Path) -> None:
    state = TreeState(str(tree))
    (tree / "new").touch()
    os.unlink(tree / "new")
    assert state.changes() == ()
    tree.chmod(0o700)
    assert _found(state) == {"": ""}
