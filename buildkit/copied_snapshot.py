"""Snapshots without overlayfs: a step works on a directory that holds the whole root filesystem.

The directory is made out of the layers' blobs, once; each step takes it over from the one before,
and only what it changed is read (`tree_state`). Where stages part, and for `COPY --from`, another
one is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from buildkit.cache import Layer, Result
from buildkit.changeset import Packed, normalise, normalise_changes, pack, pack_changes
from buildkit.layer_blob import keep_blob, write_blob
from buildkit.owners import Owners, owners_here
from buildkit.stacking import stack
from buildkit.tree_state import TreeState
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.image.whiteouts import Hidden
from runtime.store.workspace import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.state import State
    from runtime.image.archive import Image
    from runtime.store.store import Store
    from runtime.store.workspace import Workspace

_KEPT = 2  # trees that nobody works on: that of the last step, and one that is copied from


class Tree:
    """A root filesystem as one directory, and what it was before the step that works on it."""

    def __init__(self, root: str, layers: tuple[Layer, ...]) -> None:
        self.root = root
        self.layers = layers  # what it is made of, lowest first
        self.before: TreeState | None = None

    @property
    def state(self) -> TreeState:
        """What the tree was; looked at when it is first asked for."""
        if self.before is None:
            self.before = TreeState(self.root)
        return self.before


class Trees:
    """The trees of one build."""

    def __init__(self, store: Store, work: Workspace) -> None:
        self._store = store
        self._work = work
        self._idle: list[Tree] = []  # longest unused first
        self._made = 0

    def take(self, state: State) -> Tree:
        """A tree of this state for a step to change; to be given back by `commit`."""
        tree = self._nearest(state.layers)
        if tree is None:
            tree = Tree(root=self._directory(), layers=())
        else:
            self._idle.remove(tree)
        self._add_layers(tree, state.layers[len(tree.layers) :])
        return tree

    def look(self, state: State) -> str:
        """The root of a tree of this state, to be read and not changed."""
        tree = self.take(state)
        self._give_back(tree)
        return tree.root

    def commit(self, tree: Tree, epoch: int, owners: Owners | None = None) -> Result:
        """Turn what a step changed into a layer: its blob gets its name in the store."""
        changes = tree.state.changes()
        normalise_changes(tree.root, changes, epoch)
        layer = self._pack(lambda fd: pack_changes(tree.root, changes, fd, owners=owners))
        if layer is not None:
            tree.state.accept(changes)
            tree.layers = (*tree.layers, layer)
        self._give_back(tree)
        return Result(layer=layer, epoch=epoch)

    def give_up(self, tree: Tree) -> None:
        """Remove a tree that was taken, if it was not given back."""
        if tree not in self._idle and os.path.exists(tree.root):
            remove_tree(tree.root)

    def aside(self, tree: Tree) -> str:
        """An empty directory that looks as a tree's root does, for `link`."""
        aside = self._work.directory("layer")
        status = os.stat(tree.root)
        os.chown(aside, status.st_uid, status.st_gid)
        os.chmod(aside, status.st_mode & 0o7777)
        return aside

    def link(self, tree: Tree, aside: str, epoch: int) -> Result:
        """Turn all that is in such a directory into a layer, and put it over the tree."""
        normalise(aside, epoch)
        layer = self._pack(lambda fd: pack(aside, tree.root, fd, owners=owners_here()))
        if layer is not None:
            stack(aside, tree.root, Hidden(aside))
            tree.before = None
            tree.layers = (*tree.layers, layer)
        remove_tree(aside)
        self._give_back(tree)
        return Result(layer=layer, epoch=epoch)

    def _pack(self, write: Callable[[int], Packed]) -> Layer | None:
        return keep_blob(self._store, self._work, write_blob(self._work, write))

    def _nearest(self, layers: tuple[Layer, ...]) -> Tree | None:
        """The tree with most of these layers, and none beside them."""
        fitting = [t for t in self._idle if t.layers == layers[: len(t.layers)]]
        return max(fitting, key=lambda tree: len(tree.layers), default=None)

    def _give_back(self, tree: Tree) -> None:
        self._idle.append(tree)
        while len(self._idle) > _KEPT:
            remove_tree(self._idle.pop(0).root)

    def _directory(self) -> str:
        self._made += 1
        root = self._work.directory(f"tree-{self._made}")
        os.chmod(root, 0o755)  # mkdir's mode is masked by the umask
        return root

    def _add_layers(self, tree: Tree, layers: tuple[Layer, ...]) -> None:
        for layer in layers:
            aside = self.aside(tree)  # a layer need not say what its root is
            where = f"layer {layer.descriptor.digest}"
            path = self._store.blob(layer.descriptor.digest)
            blob = BlobRange(path=path, offset=0, size=os.stat(path).st_size)
            hidden = Hidden(aside)
            with LayerReader(blob, layer.descriptor, layer.diff_id, where) as reader:
                apply_layer(reader, aside, (tree.root,), where, hidden, notes=True)
                reader.finish()
            stack(aside, tree.root, hidden)
            remove_tree(aside)
            tree.before = None
        tree.layers += layers


def verify_new_layers(store: Store, image: Image) -> None:
    """Read the layers that the store has not got yet; raises ImageError for a wrong one."""
    for layer in image.layers:
        if not os.path.exists(store.blob(layer.descriptor.digest)):
            layer.verify()
