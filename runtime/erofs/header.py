"""The superblock of an index (kernel fs/erofs/erofs_fs.h, struct erofs_super_block)."""

from __future__ import annotations

MAGIC = 0xE0F5E1E2
BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS  # bytes; a tar's
OFFSET = 1024  # of the superblock
SUPERBLOCK_END = OFFSET + 128
_BLOCKS = OFFSET + 36  # where the number of blocks is


def size_in(start: bytes) -> int:
    """What an index says that its size is, by its first `SUPERBLOCK_END` bytes; 0 for none."""
    if (
        len(start) < SUPERBLOCK_END
        or int.from_bytes(start[OFFSET : OFFSET + 4], "little") != MAGIC
    ):
        return 0
    return int.from_bytes(start[_BLOCKS : _BLOCKS + 4], "little") << BLOCK_BITS
