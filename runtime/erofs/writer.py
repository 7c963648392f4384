"""Writing an index: the metadata of an EROFS image (kernel fs/erofs/erofs_fs.h).

In blocks of 512 bytes, a tar's, so that a file's content may begin at any of a tar's blocks:

    1024    the superblock, then a slot of 128 bytes for each further device
            inodes of 64 bytes (the extended form), each with its xattrs and a short link's target;
            the number of an inode is its offset / 32
            directories and long links' targets, in whole blocks

Behind the blocks of the index follow, in one numbering, those of the devices: an inode says only
the number of its content's first block. That is 32 bits, so an index reaches 2 TiB.
"""

from __future__ import annotations

import os
import struct

from runtime.erofs.header import BLOCK, BLOCK_BITS, MAGIC, OFFSET
from runtime.erofs.tree import DIRECTORY, REGULAR, SYMLINK, Node
from runtime.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBI")
_DEVICE_TABLE = 8  # of the features that a kernel must know
_SLOT = 128  # bytes of a device; the superblock is as large
_DEVICE = struct.Struct("<64sII")
_INODE = struct.Struct("<HHHHQIIIIqII16x")
_INODE_SIZE = 64
_EXTENDED, _INLINE = 1, 2 << 1  # of i_format: the form, and the layout of the content
_NOWHERE = 0xFFFFFFFF
_DIRENT = struct.Struct("<QHBB")
_TYPES = {REGULAR: 1, DIRECTORY: 2, 0o020000: 3, 0o060000: 4, 0o010000: 5, SYMLINK: 7}
_XATTR_HEAD = 12  # bytes before an inode's xattrs
_XATTR = struct.Struct("<BBH")
_PREFIXES = (("user.", 1), ("security.", 6))


def write_index(root: Node, sizes: Sequence[int]) -> bytes:
    """The index of a tree whose contents are in devices of so many bytes.

    Raises ImageError for a tree that is too large for one.
    """
    return _Writer(root, sizes).write()


class _Writer:
    def __init__(self, root: Node, sizes: Sequence[int]) -> None:
        self._root = root
        self._sizes = sizes
        self._nodes: list[Node] = []
        self._links: dict[Node, int] = {}  # how many names files have
        self._xattrs: dict[Node, bytes] = {}
        self._long_links: dict[Node, int] = {}  # symlinks, and the blocks of their targets
        self._blocks: list[bytes] = []  # behind the inodes

    def write(self) -> bytes:
        end = self._place_all()
        area = bytearray(end + -end % BLOCK)
        directories, block = self._directories(len(area) // BLOCK)
        for node in self._long_links:
            target = os.fsencode(node.link)
            self._long_links[node] = block
            self._blocks.append(target + bytes(-len(target) % BLOCK))
            block += len(self._blocks[-1]) // BLOCK
        starts = []
        total = block
        for number, size in enumerate(self._sizes):
            blocks = -(-size // BLOCK)
            place = OFFSET + _SLOT * (number + 1)
            _DEVICE.pack_into(area, place, b"", blocks & _NOWHERE, total & _NOWHERE)
            starts.append(total)
            total += blocks
        if total >= _NOWHERE:
            raise ImageError(f"an index reaches 2 TiB, not {total * BLOCK} bytes")
        self._write_inodes(area, directories, starts)
        _SUPERBLOCK.pack_into(
            area,
            OFFSET,
            *(MAGIC, 0, 0, BLOCK_BITS, 0, self._root.place >> 5, len(self._nodes), 0, 0),
            *(block, 0, 0, b"", b"pybuild", _DEVICE_TABLE, 0, len(self._sizes)),
            *((OFFSET + _SLOT) // _SLOT, 0, 0, 0),
        )
        return b"".join((area, *self._blocks))

    def _place_all(self) -> int:
        """Give every inode its offset; returns the end of the last one."""
        offset = OFFSET + _SLOT * (1 + len(self._sizes))
        links, nodes = self._links, self._nodes
        offset = self._place(self._root, offset)
        stack = [self._root]
        while stack:
            children = stack.pop().children
            assert children is not None
            for node in children.values():
                if node.children is not None:
                    stack.append(node)
                elif node in links:
                    links[node] += 1
                    continue
                else:
                    links[node] = 1
                if node.xattrs or node.link:
                    offset = self._place(node, offset)
                else:
                    node.place = offset
                    nodes.append(node)
                    offset += _INODE_SIZE
        return offset

    def _place(self, node: Node, offset: int) -> int:
        """The same for one that more follows: xattrs, and a link's target within one block."""
        size = _INODE_SIZE
        if node.xattrs:
            self._xattrs[node] = encoded = _encode_xattrs(node.xattrs)
            size += len(encoded)
        if node.link:
            target = len(os.fsencode(node.link))
            if size + target > BLOCK:
                self._long_links[node] = 0
            else:
                if offset % BLOCK + size + target > BLOCK:
                    offset += -offset % BLOCK
                size += target
        node.place = offset
        self._nodes.append(node)
        return offset + size + -size % _INODE_SIZE

    def _directories(self, block: int) -> tuple[dict[Node, tuple[int, int, int]], int]:
        """Make the blocks of all directories, from `block` on; returns where they end.

        Of each: its first block, its size and how many directories are in it.
        """
        found: dict[Node, tuple[int, int, int]] = {}
        stack = [(self._root, self._root)]
        while stack:
            folder, above = stack.pop()
            assert folder.children is not None
            names = [(b".", folder.place >> 5, 2), (b"..", above.place >> 5, 2)]
            inner = 0
            for name, node in folder.children.items():
                kind = _TYPES[node.mode & 0o170000]
                if kind == 2:
                    stack.append((node, folder))
                    inner += 1
                names.append((name.encode("utf-8", "surrogateescape"), node.place >> 5, kind))
            names.sort()
            blocks, used = _directory_blocks(names)
            found[folder] = (block, (len(blocks) - 1) * BLOCK + used, inner)
            self._blocks += blocks
            block += len(blocks)
        return found, block

    def _write_inodes(
        self,
        area: bytearray,
        directories: dict[Node, tuple[int, int, int]],
        starts: list[int],
    ) -> None:
        """Fill the inodes in."""
        pack = _INODE.pack_into
        for number, node in enumerate(self._nodes, 1):
            mode, place = node.mode, node.place
            xattrs = self._xattrs.get(node, b"") if node.xattrs else b""
            count = (len(xattrs) - _XATTR_HEAD) // 4 + 1 if xattrs else 0
            form, size = _EXTENDED, 0
            links = self._links.get(node, 0)
            kind = mode & 0o170000
            if kind == REGULAR:
                size = node.size
                where = starts[node.device] + (node.offset >> BLOCK_BITS) if size else _NOWHERE
            elif kind == DIRECTORY:
                where, size, inner = directories[node]
                links = inner + 2
            elif kind == SYMLINK:
                target = os.fsencode(node.link)
                size, where = len(target), 0
                if node in self._long_links:
                    where = self._long_links[node]
                else:
                    form |= _INLINE
                    behind = place + _INODE_SIZE + len(xattrs)
                    area[behind : behind + size] = target
            else:
                where = _device_number(*node.rdev)
            pack(
                *(area, place, form, count, mode, 0, size, where, number),
                *(node.uid, node.gid, node.mtime, 0, links),
            )
            if xattrs:
                area[place + _INODE_SIZE : place + _INODE_SIZE + len(xattrs)] = xattrs


def _directory_blocks(names: list[tuple[bytes, int, int]]) -> tuple[list[bytes], int]:
    """The blocks of a directory's sorted entries, and how much of the last one is used.

    In each block all entries come first, then their names.
    """
    blocks: list[bytes] = []
    start, used = 0, 0
    for end, (name, _, _) in enumerate(names):
        if used + _DIRENT.size + len(name) > BLOCK:
            blocks.append(_directory_block(names[start:end]))
            start, used = end, 0
        used += _DIRENT.size + len(name)
    blocks.append(_directory_block(names[start:]))
    return blocks, used


def _directory_block(names: list[tuple[bytes, int, int]]) -> bytes:
    offset = _DIRENT.size * len(names)
    entries = []
    for name, inode, kind in names:
        entries.append(_DIRENT.pack(inode, offset, kind, 0))
        offset += len(name)
    entries += [name for name, _, _ in names]
    return b"".join(entries).ljust(BLOCK, b"\0")


def _encode_xattrs(xattrs: tuple[tuple[str, bytes], ...]) -> bytes:
    """What stands behind an inode: a head, then each with its prefix as a number."""
    pieces = [bytes(_XATTR_HEAD)]
    for key, value in sorted(xattrs):
        prefix, index = next(item for item in _PREFIXES if key.startswith(item[0]))
        name = key[len(prefix) :].encode("utf-8", "surrogateescape")
        entry = _XATTR.pack(len(name), index, len(value)) + name + value
        pieces.append(entry + bytes(-len(entry) % 4))
    return b"".join(pieces)


def _device_number(major: int, minor: int) -> int:
    """As the kernel's new_encode_dev."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
