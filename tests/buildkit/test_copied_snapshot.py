"""Trees: root filesystems as directories, taken over from step to step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildkit.copied_snapshot import Trees
from buildkit.stacking import stack
from buildkit.state import State
from runtime.errors import ImageError
from runtime.image.whiteouts import Hidden
from runtime.store.store import Store
from runtime.store.workspace import Workspace
from tests.support import make_tree

pytestmark = pytest.mark.needs_root


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workspace]:
    store = Store(str(tmp_path / "store"))
    with Workspace(store) as work:
        work.store = store  # type: ignore[attr-defined]
        yield work


@pytest.fixture
def trees(work: Workspace) -> Trees:
    return Trees(work.store, work)  # type: ignore[attr-defined]


def _step(trees: Trees, state: State, name: str) -> State:
    """Make a file on a state."""
    tree = trees.take(state)
    tree.state.settle()
    Path(tree.root, name).write_text(name)
    result = trees.commit(tree, 0)
    assert result.layer is not None
    return State(layers=(*state.layers, result.layer))


def test_steps_in_a_row_work_on_one_tree(trees: Trees) -> None:
    state, roots = State(), set()
    for name in "abc":
        state = _step(trees, state, name)
        roots.add(trees.look(state))
    assert len(roots) == 1
    assert sorted(os.listdir(roots.pop())) == ["a", "b", "c"]


def test_where_stages_part_there_are_two_trees(trees: Trees) -> None:
    first = _step(trees, State(), "a")
    left, right = _step(trees, first, "l"), _step(trees, first, "r")
    assert sorted(os.listdir(trees.look(left))) == ["a", "l"]
    assert sorted(os.listdir(trees.look(right))) == ["a", "r"]


def test_a_tree_that_is_behind_gets_what_it_lacks(trees: Trees, work: Workspace) -> None:
    first = _step(trees, State(), "a")
    second = _step(trees, first, "b")
    others = Trees(work.store, work)  # type: ignore[attr-defined]
    others._made = 10  # not the names that the first ones have
    root = others.look(first)
    assert others.look(second) == root
    assert sorted(os.listdir(root)) == ["a", "b"]


def test_no_more_than_two_trees_lie_idle(trees: Trees, work: Workspace) -> None:
    first = _step(trees, State(), "a")
    for name in "bcde":
        _step(trees, first, name)
    assert len([name for name in os.listdir(work.path) if name.startswith("tree-")]) == 2


def test_a_blob_that_was_changed_is_not_used(trees: Trees, work: Workspace) -> None:
    state = _step(trees, State(), "a")
    path = work.store.blob(state.layers[0].descriptor.digest)  # type: ignore[attr-defined]
    content = bytearray(Path(path).read_bytes())
    content[512] ^= 1
    Path(path).write_bytes(content)
    others = Trees(work.store, work)  # type: ignore[attr-defined]
    others._made = 10
    with pytest.raises(ImageError, match="digest is"):
        others.take(state)


# --- Stacking


def test_a_layer_hides_replaces_and_adds(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "root",
        {"a/x": "1", "a/y": "2", "b/z": "3", "c": "4", "l": Path("a"), "o/p": ""},
    )
    layer = make_tree(tmp_path / "layer", {"a/y": "new", "c/d": "5", "l/m": "6", "o/q": ""})
    hidden = Hidden(str(layer))
    hidden.whiteouts += ["a/x", "b", "l/x"]
    hidden.opaque.add("o")
    os.chmod(layer / "a", 0o700)
    os.utime(layer / "a", (5, 5))
    stack(str(layer), str(root), hidden)
    found = {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }
    assert found == {"a/y": "new", "c/d": "5", "l/m": "6", "o/q": ""}
    assert not (root / "b").exists()
    assert ((root / "a").stat().st_mode & 0o777, (root / "a").stat().st_mtime) == (0o700, 5)


def test_a_link_in_the_tree_leads_no_layer_outside(tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"f": "kept"})
    root = make_tree(tmp_path / "root", {"d": outside})
    stack(str(make_tree(tmp_path / "layer", {"d/f": "new"})), str(root), Hidden(""))
    assert (outside / "f").read_text() == "kept"
    assert (root / "d/f").read_text() == "new"
