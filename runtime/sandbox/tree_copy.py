"""A tree copied into another directory, with all that a layer can say of a file."""

from __future__ import annotations

import os

from runtime.sandbox.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNFOLLOWED = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_MAX_PATH = 4096  # bytes, with the NUL (linux/limits.h)
# What the kernel keeps for itself, or only for the filesystem that the file is on.
_FOREIGN_XATTRS = ("trusted.", "security.selinux", "system.", "user.overlay.")


class _Copier:
    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._links: dict[tuple[int, int], str] = {}  # device, inode -> the first name
        self._waiting = ["."]

    def run(self) -> None:
        # By paths from the top, opened without following links: no depth or width of the tree
        # can exhaust the stack or the descriptors.
        while self._waiting:
            path = self._waiting.pop()
            source = open_below(self._source, path)
            target = open_below(self._target, path)
            try:
                for name in os.listdir(source):
                    self._copy(path, name, source, target)
                _copy_status(source, target)
            finally:
                os.close(source)
                os.close(target)

    def _copy(self, folder: str, name: str, source: int, target: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            os.mkdir(name, 0o700, dir_fd=target)
            self._waiting.append(f"{folder}/{name}")
            return
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), f"{folder}/{name}")
            if first != f"{folder}/{name}":
                self._link(first, name, target)
                return
        if kind == 0o100000:
            _copy_file(name, source, target)
            return
        if kind == 0o120000:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif kind in (0o020000, 0o060000, 0o010000):
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        else:
            return  # a socket: a copy of one is of no use
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    def _link(self, first: str, name: str, target: int) -> None:
        folder, _, first_name = first.rpartition("/")
        first_folder = open_below(self._target, folder)
        try:
            os.link(
                first_name,
                name,
                src_dir_fd=first_folder,
                dst_dir_fd=target,
                follow_symlinks=False,
            )
        finally:
            os.close(first_folder)


def open_below(top: int, path: str) -> int:
    """Open a directory, in as many steps as the kernel's limit to a path's length asks for."""
    if len(os.fsencode(path)) < _MAX_PATH:
        return openat2(top, path, _DIRECTORY, resolve=_UNFOLLOWED)
    parts = path.split("/")
    half = len(parts) // 2
    middle = open_below(top, "/".join(parts[:half]))
    try:
        return open_below(middle, "/".join(parts[half:]))
    finally:
        os.close(middle)


def copy_tree(source: int, target: int) -> None:
    """Copy everything below one directory into an empty other one, both given by descriptor.

    Owners, modes, times, hard links, extended attributes and devices are kept. Raises OSError.
    """
    _Copier(source, target).run()


def _copy_file(name: str, source: int, target: int) -> None:
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    write = os.open(name, flags, 0o600, dir_fd=target)
    while os.sendfile(write, read, None, 1 << 24):
        pass
    _copy_status(read, write)
    os.close(read)
    os.close(write)


def _copy_status(source: int, target: int) -> None:
    status = os.fstat(source)
    # chmod after chown: chown(2) clears set-uid bits, and file capabilities.
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if not name.startswith(_FOREIGN_XATTRS):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
