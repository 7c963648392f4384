"""What a directory tree was, and what has changed in it since: the work of overlayfs, done after
the fact.

A change is what would have made overlayfs copy a file up: its ctime shows it, which nobody can set
back. A directory in the place of another one is opaque, as overlayfs makes it. So the same step
leads to the same layer. What leaves no trace (a file opened for writing, and not written to) is no
change here, and one for overlayfs.
"""

from __future__ import annotations

import ctypes
import os
import stat
import time

from buildkit.changeset import Change

_AT_SYMLINK_NOFOLLOW, _STATX_BTIME = 0x100, 0x800  # linux/fcntl.h, linux/stat.h
_CLOCK_REALTIME_COARSE = 5  # linux/time.h: the clock of file times
_libc = ctypes.CDLL(None, use_errno=True)


class _Entry:
    """All by which a file can be told from what it was."""

    __slots__ = ("birth", "links", "status", "xattrs")

    def __init__(self, path: str, status: os.stat_result) -> None:
        directory = stat.S_ISDIR(status.st_mode)
        self.status = status
        # Of a directory, in nanoseconds: inode numbers are given out again.
        self.birth = _birth(path) if directory else 0
        self.links = 0 if directory else status.st_nlink
        # Of a file with several names.
        self.xattrs = _xattrs(path) if self.links > 1 else ()


class TreeState:
    """A tree as it was when it was last looked at."""

    def __init__(self, root: str) -> None:
        """Look at the whole tree below `root`."""
        self._root = root
        self._entries: dict[str, _Entry] = {}
        self._names: dict[str, set[str]] = {}  # of each directory
        self._newest = 0  # ctime
        self._add("", os.lstat(root))
        self._look_below("")
        self.settle()

    def settle(self) -> None:
        """Wait until the clock of file times has moved on, so that it tells what comes after."""
        for _ in range(20):  # a clock that was set back will not get there
            if time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) > self._newest:
                return
            time.sleep(0.002)

    def changes(self) -> tuple[Change, ...]:
        """What is other than it was, each directory before what is in it, names sorted.

        Directories above a change are there as well, as they are in overlayfs's upper directory.
        The root is among it only if its owner or mode became another one.
        """
        found = {change.name: change for change in self._compare()}
        for name in tuple(found):
            while name:
                name = name.rpartition("/")[0]
                if not name or name in found:
                    break
                found[name] = Change(name=name)
        return tuple(found[name] for name in sorted(found, key=_order))

    def accept(self, changes: tuple[Change, ...]) -> None:
        """Take the tree as it is now, which differs in these changes, for what it was."""
        for change in changes:
            if change.whiteout or change.opaque:
                self._forget(change.name)
            if not change.whiteout:
                self.refresh(change.name)
        self.settle()

    def knows(self, name: str) -> bool:
        """Whether there was something at a path."""
        return name in self._entries

    def refresh(self, name: str) -> None:
        """Take one file or directory as it is now for what it was."""
        status = os.lstat(self._path(name))
        if name in self._names and not stat.S_ISDIR(status.st_mode):
            self._forget(name)
        self._add(name, status)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _look_below(self, top: str) -> None:
        stack = [top]
        while stack:
            above = stack.pop()
            for entry in os.scandir(self._path(above)):
                name = f"{above}/{entry.name}" if above else entry.name
                self._add(name, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    stack.append(name)

    def _add(self, name: str, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            self._names.setdefault(name, set())
        if name:
            above, _, last = name.rpartition("/")
            self._names.setdefault(above, set()).add(last)
        self._newest = max(self._newest, status.st_ctime_ns)
        self._entries[name] = _Entry(self._path(name), status)

    def _forget(self, top: str) -> None:
        above, _, last = top.rpartition("/")
        self._names[above].discard(last)
        stack = [top]
        while stack:
            name = stack.pop()
            self._entries.pop(name, None)
            stack.extend(f"{name}/{inner}" for inner in self._names.pop(name, ()))

    def _compare(self) -> list[Change]:
        found: list[Change] = []
        before, now = self._entries[""].status, os.lstat(self._root)
        if _rights(before) != _rights(now):
            found.append(Change(name=""))
        stack = [("", False)]
        while stack:
            above, is_new = stack.pop()
            here = set()
            for entry in os.scandir(self._path(above)):
                here.add(entry.name)
                name = f"{above}/{entry.name}" if above else entry.name
                status = entry.stat(follow_symlinks=False)
                old = None if is_new else self._entries.get(name)
                directory = stat.S_ISDIR(status.st_mode)
                opaque = directory and old is not None and not self._is_same(name, old, status)
                if old is None or opaque or self._differs(name, old, status):
                    found.append(Change(name=name, opaque=opaque))
                if directory:
                    stack.append((name, old is None or opaque))
            if not is_new:
                gone = self._names[above] - here
                prefix = f"{above}/" if above else ""
                found.extend(Change(name=prefix + name, whiteout=True) for name in gone)
        return found

    def _is_same(self, name: str, old: _Entry, status: os.stat_result) -> bool:
        """Whether a directory is the one that was there."""
        before = old.status
        if not stat.S_ISDIR(before.st_mode) or before.st_ino != status.st_ino:
            return False
        # Only one that changed can be another one.
        return before.st_ctime_ns == status.st_ctime_ns or old.birth == _birth(self._path(name))

    def _differs(self, name: str, old: _Entry, now: os.stat_result) -> bool:
        directory = stat.S_ISDIR(now.st_mode)
        before = old.status
        same = (
            _rights(before) == _rights(now)
            and (before.st_mtime_ns, before.st_ino) == (now.st_mtime_ns, now.st_ino)
            and before.st_rdev == now.st_rdev
            and (directory or before.st_size == now.st_size)
        )
        if not same:
            return True
        if before.st_ctime_ns == now.st_ctime_ns:
            return False
        if directory or now.st_nlink >= old.links or _xattrs(self._path(name)) != old.xattrs:
            return True
        # It lost another of its names: that is a change of the other one.
        self._add(name, now)
        return False


def _rights(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _order(name: str) -> list[bytes]:
    """Sorts as a walk does that takes the names of each directory by their bytes."""
    return os.fsencode(name).split(b"/") if name else []


def _xattrs(path: str) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _birth(path: str) -> int:
    """When an inode was made (statx(2)), in nanoseconds; 0 where the filesystem does not know."""
    buffer = (ctypes.c_uint64 * 32)()  # struct statx is 256 bytes
    flags = ctypes.c_uint(_AT_SYMLINK_NOFOLLOW)
    place = os.fsencode(path)
    if _libc.statx(ctypes.c_int(-100), place, flags, ctypes.c_uint(_STATX_BTIME), buffer) != 0:
        return 0
    if not buffer[0] & _STATX_BTIME:  # stx_mask
        return 0
    seconds, nanoseconds = buffer[10], buffer[11] & 0xFFFFFFFF  # stx_btime is at byte 80
    return seconds * 1_000_000_000 + nanoseconds
