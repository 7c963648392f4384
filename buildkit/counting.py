"""How far long work has come, seen by the view while other processes do it."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

_FIELDS = struct.Struct("QQQQ")
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Count:
    """Bytes and files of one step, in memory that is shared with the processes forked for it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, size: int, *, of: int = 0, files: int = 0, packages: int = 0) -> None:
        """So many bytes (of so many, 0 if that is not known), files and packages are done."""
        _FIELDS.pack_into(self._page, 0, size, of, files, packages)

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes that are done, of how many; 0 where that is not known."""
        size, of, _, _ = _FIELDS.unpack_from(self._page)
        return size, of

    def __str__(self) -> str:
        """As `1,234 files, 5.6MB` or `5.6MB / 40.0MB`; empty if nothing was counted."""
        size, of, files, packages = _FIELDS.unpack_from(self._page)
        words = [
            f"{number:,} {name}{'s' * (number != 1)}"
            for number, name in ((files, "file"), (packages, "package"))
            if number
        ]
        if size:
            words.append(_text(size) + (f" / {_text(of)}" if of else ""))
        return ", ".join(words)


def teller(count: Count | None) -> Callable[[int, int], None]:
    """What takes how many bytes are done of how many, for a count if there is one."""

    def tell(done: int, total: int) -> None:
        if count is not None:
            count.set(done, of=total)

    return tell


def _text(size: int) -> str:
    """A size as docker writes it, in powers of 1000."""
    value, unit = float(size), 0
    while value >= 999.95 and unit + 1 < len(_UNITS):
        value, unit = value / 1000, unit + 1
    return f"{value:.1f}{_UNITS[unit]}" if unit else f"{size}B"
