"""The tars of an image's layers as the one tree that they make when they are stacked.

Only headers are read. The rules are those by which a layer is extracted (`image.layer`) and
overlayfs stacks the directories (image-spec layer.md, "Applying Changesets"): a test compares the
two.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.whiteouts import OPAQUE, WHITEOUT
from runtime.image.xattrs import kept_xattr
from runtime.sandbox.rootpath import MAX_LINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    Waiting = list[tuple[str, bool]]  # components, last first, and whether they are the path's own

DIRECTORY, REGULAR, SYMLINK = 0o040000, 0o100000, 0o120000
_KINDS = {
    tar.REGULAR: REGULAR,
    tar.SYMLINK: SYMLINK,
    tar.CHARACTER: 0o020000,
    tar.BLOCKDEV: 0o060000,
    tar.FIFO: 0o010000,
}


class Node:
    """A file, which hard links share, or a directory."""

    __slots__ = (
        *("children", "device", "gid", "layer", "link", "mode", "mtime", "offset", "place"),
        *("rdev", "size", "uid", "xattrs"),
    )

    children: dict[str, Node] | None  # of a directory
    device: int  # number of the file that its content is in
    gid: int
    layer: int  # the highest one that says anything of it
    link: str  # what a symlink leads to
    mode: int  # with the type
    mtime: int  # seconds
    offset: int  # of its content in that file, in bytes
    place: int  # for who writes it
    rdev: tuple[int, int]
    size: int  # bytes
    uid: int
    xattrs: tuple[tuple[str, bytes], ...]


def _directory(layer: int) -> Node:
    """One that the layers imply, but do not list."""
    node = Node()
    node.children, node.layer, node.mode = {}, layer, DIRECTORY | 0o755
    node.uid = node.gid = node.mtime = node.size = 0
    node.link, node.xattrs = "", ()
    return node


class Tree:
    """Layers that were read, lowest first."""

    def __init__(self) -> None:
        self.root = _directory(-1)
        self.count = 0  # entries that were read
        self._layer = -1
        self._folders: dict[str, Node] = {}  # of the layer that is being read, by their paths

    def add(self, stream: tar.FileStream, device: int, where: str) -> None:
        """Put the next layer on top; the offsets of its stream are those in the `device`.

        Raises ImageError that begins with `where`.
        """
        self._layer = layer = self._layer + 1
        self._folders = {}
        whiteouts: list[tuple[str, str]] = []
        folder, folder_path = self.root, ""
        for values in tar.members(stream, where):
            name, kind, mode, uid, gid, size, mtime, link, rdev, xattrs, _ = values
            offset = stream.position
            if size:
                stream.skip(size + -size % tar.BLOCK)
            path = tar.inside_root(name, where)
            above, _, base = path.rpartition("/")
            self.count += 1
            if base[:4] == WHITEOUT:
                whiteouts.append((above, base))
                if base == OPAQUE:
                    self._folder(above, where)
                continue
            if above != folder_path:
                folder, folder_path = self._folder(above, where), above
            if kind == "5":
                node = self._enter(folder, base, where) if path else self.root
                node.mode = DIRECTORY | mode
            elif kind == "1":
                self._put(folder, base, self._target(link, name, where), where)
                continue
            elif not path:
                raise ImageError(f"{where}: the root entry is not a directory")
            else:
                if kind == "3" and rdev == (0, 0):
                    raise ImageError(f"{where}: {name}: device 0/0 is overlayfs's whiteout")
                node = Node()
                node.children = None
                node.mode = _KINDS[kind] | (0o777 if kind == "2" else mode)
                node.device, node.offset, node.size = device, offset, size
                node.link = link if kind == "2" else ""
                node.rdev, node.layer = rdev, layer
                self._put(folder, base, node, where)
            node.uid, node.gid, node.mtime = uid, gid, mtime
            node.xattrs = tuple(x for x in xattrs if kept_xattr(x[0])) if xattrs else ()
        for above, base in sorted(whiteouts):  # directories first
            self._hide(above, base, where)

    def _put(self, folder: Node, name: str, node: Node, where: str) -> None:
        assert folder.children is not None
        before = folder.children.get(name)
        if before is not None and before.layer == self._layer:
            if before.children is not None:
                raise ImageError(f"{where}: {name}: replaces a directory of the same layer")
            self._folders = {}  # it may have been a link that led somewhere
        folder.children[name] = node

    def _enter(self, folder: Node, name: str, where: str) -> Node:
        """The directory of a name, instead of whatever else is there."""
        assert folder.children is not None
        found = folder.children.get(name)
        if found is None or found.children is None:
            found = _directory(self._layer)
            self._put(folder, name, found, where)
        found.layer = self._layer
        return found

    def _folder(self, path: str, where: str) -> Node:
        """The directory at a path, made if the layers do not have it."""
        found = self._folders.get(path)
        if found is None:
            found = self._walk(path, where)
            assert found is not None
            self._folders[path] = found
        return found

    def _walk(self, path: str, where: str, *, make: bool = True) -> Node | None:
        """The directory at a path; unless it is to be made, None where there is none."""
        above = [self.root]
        waiting: Waiting = [(name, True) for name in reversed(path.split("/")) if name]
        links = 0
        while waiting:
            name, is_own = waiting.pop()
            if name == "..":
                above = above[:-1] or [self.root]
                continue
            here = above[-1]
            assert here.children is not None
            child = here.children.get(name)
            if child is not None and child.layer != self._layer and child.children is None:
                child = None  # of a layer below: a directory hides it
            if child is not None and child.children is not None and not make:
                above.append(child)
                continue
            if child is None and not make:
                return None
            if child is None and not is_own:
                raise ImageError(f"{where}: {path}: {os.strerror(errno.ENOENT)}")
            if child is None or child.children is not None:
                above.append(self._enter(here, name, where))
                continue
            if child.mode & 0o170000 != SYMLINK:
                if not make:
                    return None
                raise ImageError(f"{where}: {path}: {os.strerror(errno.ENOTDIR)}")
            links += 1
            if links > MAX_LINKS:
                raise ImageError(f"{where}: {path}: {os.strerror(errno.ELOOP)}")
            if child.link.startswith("/"):
                above = [self.root]
            parts = reversed(child.link.split("/"))
            waiting += [(part, False) for part in parts if part not in ("", ".")]
        return above[-1]

    def _target(self, link: str, name: str, where: str) -> Node:
        """The file that a hard link shares, which is in the same layer."""
        above, _, last = tar.inside_root(link, where).rpartition("/")
        found = (self._folder(above, where).children or {}).get(last)
        if found is None or found.layer != self._layer:
            raise ImageError(f"{where}: {name}: hard link to {link}, not in the layer")
        if found.children is not None:
            raise ImageError(f"{where}: {name}: hard link to {link}, which is a directory")
        return found

    def _hide(self, above: str, base: str, where: str) -> None:
        """Carry a whiteout out; never on what is in its own layer."""
        if base == OPAQUE:
            self._clear(self._folder(above, where))
        elif base in (WHITEOUT, ".wh..", ".wh..."):
            raise ImageError(f"{where}: {above}/{base}: whiteout without a name")
        elif not base.startswith(".wh..wh."):  # AUFS's own records mean nothing here
            folder, name = self._walk(above, where, make=False), base[len(WHITEOUT) :]
            children = (folder and folder.children) or {}
            found = children.get(name)
            if found is not None and found.layer != self._layer:
                del children[name]
            elif found is not None and found.children is not None:
                self._clear(found)

    def _clear(self, folder: Node) -> None:
        """Remove what lower layers have in a directory."""
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            assert folder.children is not None
            kept = {n: c for n, c in folder.children.items() if c.layer == self._layer}
            folder.children = kept
            waiting += [child for child in kept.values() if child.children is not None]
