"""Copying onto a root filesystem that is there as a directory, mounted or not.

In a child whose umask is 0. Destinations are opened inside the root, so a symlink of the image
leads nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat

from buildkit.copying import Attributes, over_directory, over_file, strange_owner
from runtime.image.xattrs import note_owner, noted_owner
from runtime.sandbox.rootpath import MAX_LINKS, make_directories, open_in_root
from runtime.sandbox.userns import has_single_id
from runtime.sandbox.users import Account, look_up

_CHUNK = 1 << 30
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class DirectoryTarget:
    """A `buildkit.copying.Target` whose folders are descriptors."""

    def __init__(self, root: str) -> None:
        self.root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._notes = has_single_id()

    def look_up(self, user: str) -> Account:
        """Who `user[:group]` is, by the files of the root."""
        return look_up(self.root_fd, user)

    def open(self, path: str) -> int:
        """The directory at a path, links followed."""
        return open_in_root(self.root_fd, path, _DIRECTORY)

    def make(self, path: str, mode: int, owner: tuple[int, int]) -> int:
        """The same, what is missing being made."""
        return make_directories(self.root_fd, path, mode, owner, links=MAX_LINKS)

    def close(self, folder: int) -> None:
        """Close the descriptor."""
        os.close(folder)

    def enter(self, folder: int, name: str) -> tuple[int, bool]:
        """A directory inside another, and whether it had to be made; no link is followed."""
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            made = True
        except FileExistsError:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                raise over_file(name, symlink=stat.S_ISLNK(mode)) from None
            made = False
        flags = _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=folder), made

    def is_symlink(self, folder: int, name: str) -> bool:
        """Whether there is a symlink in a directory."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISLNK(status.st_mode)

    def put(
        self,
        folder: int,
        name: str,
        place: str,
        status: os.stat_result,
        attributes: Attributes,
    ) -> None:
        """Copy what is no directory from a place; it replaces what is there."""
        _remove_file(folder, name)
        made = f"/proc/self/fd/{folder}/{name}"
        kind = stat.S_IFMT(status.st_mode)
        match kind:
            case stat.S_IFREG:
                fd = os.open(name, _NEW, 0o600, dir_fd=folder)
                _send(place, fd)
                os.close(fd)
            case stat.S_IFLNK:
                os.symlink(os.readlink(place), name, dir_fd=folder)
            case stat.S_IFIFO | stat.S_IFCHR | stat.S_IFBLK:
                os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=folder)
            case _:  # a socket becomes an empty file, as in BuildKit
                os.close(os.open(name, _NEW, dir_fd=folder))
        _set_attributes(made, attributes, notes=self._notes, link=stat.S_ISLNK(status.st_mode))

    def write(self, folder: int, name: str, content: bytes, attributes: Attributes) -> None:
        """Make a file of what is in memory; it replaces what is there."""
        _remove_file(folder, name)
        fd = os.open(name, _NEW, 0o600, dir_fd=folder)
        while content:
            content = content[os.write(fd, content) :]
        os.close(fd)
        _set_attributes(f"/proc/self/fd/{folder}/{name}", attributes, notes=self._notes)

    def write_through(self, path: str, place: str, attributes: Attributes) -> None:
        """Write to what a symlink points to, inside the root."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        fd = open_in_root(self.root_fd, path, flags, mode=0o600)
        _send(place, fd)
        _set_attributes(f"/proc/self/fd/{fd}", attributes, notes=self._notes)
        os.close(fd)

    def link(self, top: int, first: str, folder: int, name: str) -> None:
        """Make a hard link to a file that was put at a path below a folder."""
        _remove_file(folder, name)
        os.link(first, name, src_dir_fd=top, dst_dir_fd=folder, follow_symlinks=False)

    def set_attributes(self, folder: int, attributes: Attributes) -> None:
        """Give a directory attributes; xattrs that it has beside them stay."""
        _set_attributes(f"/proc/self/fd/{folder}", attributes, notes=self._notes)

    def set_mode(self, folder: int, mode: int) -> None:
        """Give a directory a mode alone."""
        os.chmod(f"/proc/self/fd/{folder}", mode)


def _remove_file(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise over_directory(name) from None


def _set_attributes(path: str, attributes: Attributes, *, notes: bool, link: bool = False) -> None:
    _set_owner(path, attributes.owner, link=link, notes=notes)
    if not link:
        for key, value in attributes.xattrs:
            os.setxattr(path, key, value)
        os.chmod(path, attributes.mode)
    os.utime(path, (attributes.mtime, attributes.mtime), follow_symlinks=not link)


def _set_owner(path: str, owner: tuple[int, int], *, link: bool, notes: bool) -> None:
    """Give a file away; with `notes`, note whose it is to be where that cannot be done."""
    try:
        os.chown(path, *owner, follow_symlinks=not link)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        if notes and not link:
            os.chown(path, 0, 0)
            if note_owner(path, owner):
                return
        name = os.path.basename(os.path.realpath(path))
        raise strange_owner(name, owner) from error
    if notes and not link and noted_owner(path, follow=True):
        note_owner(path, owner)


def _send(place: str, target: int) -> None:
    with open(place, "rb", buffering=0) as source:
        offset = 0
        while count := os.sendfile(target, source.fileno(), offset, _CHUNK):
            offset += count
