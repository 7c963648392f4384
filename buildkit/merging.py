"""Several layers as one tar, made from their tars alone: no mount, and the same for everybody.

The rules are those by which layers are stacked (image-spec layer.md, overlayfs.rst): what a layer
has replaces what is below it, directories are merged, whiteouts hide what lower layers have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from buildkit.changeset import marker
from buildkit.errors import BuildError
from buildkit.tarwriter import TarWriter
from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.whiteouts import OPAQUE, WHITEOUT
from runtime.sandbox.rootpath import MAX_LINKS


class _Node:
    """A file, which hard links share, or a directory."""

    __slots__ = ("children", "content", "entry", "gone", "layer", "name", "opaque")

    def __init__(
        self,
        layer: int,
        entry: tar.Entry | None = None,
        *,
        content: tuple[str, int] = ("", 0),
        children: dict[str, _Node] | None = None,
        opaque: bool = False,
        gone: bool = False,
    ) -> None:
        self.layer = layer  # that it is from
        self.entry = entry  # None: a directory that is only implied
        self.content = content  # where its bytes are: a file, and the offset in it
        self.children = children  # of a directory
        self.opaque = opaque  # a directory that hides what the base has there
        self.gone = gone  # nothing is there, and what the base has is hidden
        self.name = ""  # where it was written first


class LayerTree:
    """Layers that were read, lowest first; `onto_base`: they are to lie over others."""

    def __init__(self, *, onto_base: bool) -> None:
        self._onto_base = onto_base
        self._root = _Node(layer=-1, children={})
        self._layer = -1

    def add(self, path: str, where: str) -> None:
        """Put the next layer, an uncompressed tar at `path`, on top; raises ImageError."""
        self._layer += 1
        found: list[tuple[str, tar.Entry, int]] = []
        with open(path, "rb") as file:
            stream = tar.FileStream(file.fileno(), where)
            for entry in tar.entries(stream, where):
                found.append((tar.inside_root(entry.name, where), entry, stream.position))
                stream.skip(entry.size + tar.padding(entry.size))
        # A whiteout hides what is in lower layers, wherever it stands in its own.
        for name, _, _ in found:
            self._hide(name, where)
        for name, entry, offset in found:
            if not name.rpartition("/")[2].startswith(WHITEOUT):
                self._put(name, entry, (path, offset), where)

    def write(self, fd: int, *, owner: tuple[int, int] | None = None) -> tuple[str, int]:
        """Write the tar; returns its digest and its size in bytes.

        With `owner` all files belong to it, and there are no devices.
        """
        writer = TarWriter(fd)
        for name, node in self._sorted():
            if node.gone:
                parent, slash, last = name.rpartition("/")
                writer.add(marker(f"{parent}{slash}{WHITEOUT}{last}"))
                continue
            entry = node.entry
            if entry is None and not self._onto_base:
                entry = _directory()
            if entry is not None and not (owner and entry.kind in (tar.CHARACTER, tar.BLOCKDEV)):
                self._write(writer, name, node, entry, owner)
            if node.opaque and self._onto_base:
                writer.add(marker(f"{name or '.'}/{OPAQUE}"))
        return writer.finish(), writer.size

    def _write(
        self,
        writer: TarWriter,
        name: str,
        node: _Node,
        entry: tar.Entry,
        owner: tuple[int, int] | None,
    ) -> None:
        entry = entry.replace(name=name or ".")
        if owner is not None:
            entry = entry.replace(uid=owner[0], gid=owner[1])
        if node.name:
            writer.add(entry.replace(kind=tar.HARDLINK, link=node.name, size=0, xattrs=()))
        elif entry.size:
            path, offset = node.content
            content = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.lseek(content, offset, os.SEEK_SET)
                writer.add_file(entry, content)
            finally:
                os.close(content)
        else:
            writer.add(entry)
        if node.children is None:
            node.name = name

    def _sorted(self) -> Iterator[tuple[str, _Node]]:
        """Every path, a directory before what is in it, names in the order of their bytes."""
        for node in self._files():
            node.name = ""
        if self._root.entry is not None or self._root.opaque or not self._onto_base:
            yield "", self._root
        stack = self._below("", self._root)
        while stack:
            name, node = stack.pop()
            yield name, node
            stack += self._below(name, node)

    def _files(self) -> Iterator[_Node]:
        stack = [self._root]
        while stack:
            node = stack.pop()
            yield node
            stack += (node.children or {}).values()

    def _below(self, name: str, node: _Node) -> list[tuple[str, _Node]]:
        prefix = f"{name}/" if name else ""
        children = node.children or {}
        names = sorted(children, key=os.fsencode, reverse=True)
        return [(prefix + child, children[child]) for child in names]

    def _hide(self, name: str, where: str) -> None:
        above, _, last = name.rpartition("/")
        if last == OPAQUE:
            folder = self._folder(above, where)
            assert folder.children is not None
            folder.children = {n: c for n, c in folder.children.items() if self._is_new(c)}
            folder.opaque = True
        elif last.startswith(WHITEOUT) and not last.startswith(".wh..wh."):
            hidden = last.removeprefix(WHITEOUT)
            if hidden in ("", ".", ".."):
                raise ImageError(f"{where}: {name}: whiteout without a name")
            folder = self._folder(above, where)
            assert folder.children is not None
            folder.children.pop(hidden, None)
            if self._onto_base and not folder.opaque:
                folder.children[hidden] = _Node(layer=self._layer, gone=True)

    def _is_new(self, node: _Node) -> bool:
        return node.layer == self._layer

    def _put(self, name: str, entry: tar.Entry, content: tuple[str, int], where: str) -> None:
        if not name:
            if entry.kind != tar.DIRECTORY:
                raise ImageError(f"{where}: the root entry is not a directory")
            self._root.entry = entry
            return
        above, _, last = name.rpartition("/")
        folder = self._folder(above, where)
        assert folder.children is not None
        before = folder.children.get(last)
        if entry.kind == tar.DIRECTORY:
            made = self._enter(folder, last)
            made.entry, made.layer = entry, self._layer
        elif before is not None and before.children is not None and self._is_new(before):
            raise ImageError(f"{where}: {name}: replaces a directory of the same layer")
        elif entry.kind == tar.HARDLINK:
            folder.children[last] = self._target(entry, where)
        else:
            folder.children[last] = _Node(layer=self._layer, entry=entry, content=content)

    def _target(self, entry: tar.Entry, where: str) -> _Node:
        """The file that a hard link shares, which is in the same layer."""
        above, _, last = tar.inside_root(entry.link, where).rpartition("/")
        found = (self._folder(above, where).children or {}).get(last)
        if found is None or found.children is not None or not self._is_new(found):
            raise ImageError(f"{where}: {entry.name}: hard link to {entry.link}, not in the layer")
        return found

    def _folder(self, path: str, where: str) -> _Node:
        """The directory at a path, made if the layers do not have it."""
        above = [self._root]
        waiting = path.split("/")[::-1] if path else []
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                above = above[:-1] or [self._root]
                continue
            child = (above[-1].children or {}).get(name)
            # Only a link of the same layer leads on: what lies below it is hidden by a directory.
            if child and self._is_new(child) and child.entry and child.entry.kind == tar.SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise ImageError(f"{where}: {path}: too many symbolic links")
                target = child.entry.link
                above = [self._root] if target.startswith("/") else above
                waiting += target.split("/")[::-1]
                continue
            above.append(self._enter(above[-1], name))
        return above[-1]

    def _enter(self, folder: _Node, name: str) -> _Node:
        """The directory of a name, instead of whatever else is there."""
        assert folder.children is not None
        child = folder.children.get(name)
        if child is None or child.children is None:
            # What is no directory, or is gone, hides what the base has there: so must this.
            child = _Node(layer=self._layer, children={}, opaque=child is not None)
            folder.children[name] = child
        return child


def merge_layers(layers: Sequence[tuple[str, str]], *, onto_base: bool) -> LayerTree:
    """Read layers, lowest first: of each the path of its tar, and what errors call it.

    Raises BuildError.
    """
    merged = LayerTree(onto_base=onto_base)
    try:
        for path, where in layers:
            merged.add(path, where)
    except ImageError as error:
        raise BuildError(error.message, hint=error.hint) from error
    return merged


def _directory() -> tar.Entry:
    return tar.Entry(name="", kind=tar.DIRECTORY, mode=0o755, uid=0, gid=0, size=0, mtime=0)
