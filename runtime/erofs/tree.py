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


_NAME_MAX, _PATH_MAX, _XATTRS_MAX = 255, 4096, 65535  # bytes
_SURELY_SHORT = _NAME_MAX // 4  # characters; UTF-8 has at most four bytes for one


class _Refused(Exception):
    """Why a member cannot be in an image."""


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

    def add(self, stream: tar.Positioned, device: int, where: str) -> None:
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
            try:
                if base[:4] == WHITEOUT:
                    whiteouts.append((above, base))
                    if base == OPAQUE:
                        self._folder(above)
                    continue
                if above != folder_path:
                    folder, folder_path = self._folder(above), above
                if kind == tar.DIRECTORY:
                    node = self._enter(folder, base) if path else self.root
                    node.mode = DIRECTORY | mode
                elif kind == tar.HARDLINK:
                    self._put(folder, base, self._target(tar.inside_root(link, where), path))
                    continue
                elif not path:
                    raise _Refused("the root entry is not a directory")
                else:
                    node = _file(kind, mode, link, rdev)
                    node.device, node.offset, node.size = device, offset, size
                    node.layer = layer
                    self._put(folder, base, node)
                node.uid, node.gid, node.mtime = uid, gid, mtime
                node.xattrs = _kept_xattrs(xattrs, node.mode) if xattrs else ()
            except _Refused as error:
                raise ImageError(f"{where}: {name or path}: {error}") from None
            except OSError as error:
                raise ImageError(f"{where}: {name}: {error.strerror}") from error
        for above, base in sorted(whiteouts):  # directories first
            try:
                self._hide(above, base)
            except (OSError, _Refused) as error:
                raise ImageError(f"{where}: {above}/{base}: {error}") from error

    def _put(self, folder: Node, name: str, node: Node) -> None:
        assert folder.children is not None
        if len(name) > _SURELY_SHORT and len(os.fsencode(name)) > _NAME_MAX:
            raise _os_error(errno.ENAMETOOLONG)
        before = folder.children.get(name)
        if before is not None and before.layer == self._layer:
            if before.children is not None:
                raise _Refused("replaces a directory of the same layer")
            self._folders = {}  # it may have been a link that led somewhere
        folder.children[name] = node

    def _enter(self, folder: Node, name: str) -> Node:
        """The directory of a name, instead of whatever else is there."""
        assert folder.children is not None
        found = folder.children.get(name)
        if found is None or found.children is None:
            found = _directory(self._layer)
            self._put(folder, name, found)
        found.layer = self._layer
        return found

    def _folder(self, path: str) -> Node:
        """The directory at a path, made if the layers do not have it."""
        found = self._folders.get(path)
        if found is None:
            found = self._walk(path)
            assert found is not None
            self._folders[path] = found
        return found

    def _walk(self, path: str, *, make: bool = True) -> Node | None:
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
            if child is not None and child.mode & 0o170000 == SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise _os_error(errno.ELOOP)
                if child.link.startswith("/"):
                    above = [self.root]
                parts = reversed(child.link.split("/"))
                waiting += [(part, False) for part in parts if part not in ("", ".")]
            elif child is not None and child.children is None:
                if make:
                    raise _os_error(errno.ENOTDIR)
                return None
            elif not make:
                if child is None:
                    return None
                above.append(child)
            elif child is None and not is_own:
                raise _os_error(errno.ENOENT)
            else:
                above.append(self._enter(here, name))
        return above[-1]

    def _target(self, link: str, path: str) -> Node:
        """The file that a hard link at a path shares, which is in the same layer."""
        above, _, last = link.rpartition("/")
        folder = self._walk(above, make=False)
        found = ((folder and folder.children) or {}).get(last)
        if found is None or found.layer != self._layer or link == path:
            raise _Refused(f"hard link to {link}, not in the layer")
        if found.children is not None:
            raise _os_error(errno.EPERM)
        return found

    def _hide(self, above: str, base: str) -> None:
        """Carry a whiteout out; never on what is in its own layer."""
        if base == OPAQUE:
            self._clear(self._folder(above))
        elif base in (WHITEOUT, ".wh..", ".wh..."):
            raise _Refused("whiteout without a name")
        elif not base.startswith(".wh..wh."):  # AUFS's own records mean nothing here
            folder, name = self._walk(above, make=False), base[len(WHITEOUT) :]
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


def _file(kind: str, mode: int, link: str, rdev: tuple[int, int]) -> Node:
    node = Node()
    node.children = None
    node.link, node.rdev = "", rdev
    node.mode = _KINDS[kind] | mode
    if kind == tar.SYMLINK:
        node.mode = SYMLINK | 0o777
        node.link = link
        if not link:
            raise _os_error(errno.ENOENT)
        if len(os.fsencode(link)) >= _PATH_MAX:
            raise _os_error(errno.ENAMETOOLONG)
    elif kind == tar.CHARACTER and rdev == (0, 0):
        raise _Refused("device 0/0 is overlayfs's whiteout")
    return node


def _kept_xattrs(
    xattrs: tuple[tuple[str, bytes], ...], mode: int
) -> tuple[tuple[str, bytes], ...]:
    """Those that belong to an image; refused is what setxattr(2) would refuse."""
    kept = tuple(xattr for xattr in xattrs if kept_xattr(xattr[0]))
    for key, value in kept:
        if len(os.fsencode(key)) > _NAME_MAX:
            raise _os_error(errno.ERANGE)
        if key == "security.capability":
            # struct vfs_cap_data and vfs_ns_cap_data, with their revisions (capabilities(7)).
            if (len(value), value[3:4]) not in ((20, b"\2"), (24, b"\3")):
                raise _os_error(errno.EINVAL)
        elif mode & 0o170000 not in (REGULAR, DIRECTORY):
            raise _os_error(errno.EPERM)
    if sum(len(value) for _, value in kept) > _XATTRS_MAX:
        raise _os_error(errno.E2BIG)
    return kept


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
