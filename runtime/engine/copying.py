"""`pyrun cp` as docker's users know it: what goes where, by slashes and by what is there."""

from __future__ import annotations

import errno
import os

from runtime.engine.trees import Found, Target, TarWriter, extract, walk
from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox.rootpath import MAX_LINKS, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_KIND, _DIRECTORY, _LINK = 0o170000, 0o040000, 0o120000


class End(Record):
    """One side of a copy: a path below a root, as it was written."""

    root: int
    path: str
    shown: str

    @property
    def wants_directory(self) -> bool:
        """Whether it can be only a directory: a slash, or `/.`, is at its end."""
        return self.path.endswith(("/", "/."))

    @property
    def wants_content(self) -> bool:
        """Whether what is in the directory is meant, not the directory."""
        return self.path.endswith("/.")

    def error(self, number: int) -> ContainerError:
        """What the kernel said of it."""
        return ContainerError(f"{self.shown}: {os.strerror(number)}")


def copy(source: End, target: End, owner: tuple[int, int] | None, *, follow: bool = False) -> None:
    """Copy a file or directory; links in it are copied as such. Raises ContainerError."""
    found = _look(source, follow=follow or source.wants_directory)
    folder, name = _place(source, target, found)
    try:
        into = Target(folder, owner)
        if found.is_directory:
            top = os.open(
                found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=found.folder
            )
            if name != ".":
                into.take(found, name)
            for below in walk(top):
                try:
                    into.take(below, f"{name}/{below.path}")
                except OSError as error:
                    where = f"{source.shown.rstrip('/')}/{below.path.removeprefix('./')}"
                    raise ContainerError(f"{where}: {error.strerror}") from error
            into.finish()
        else:
            into.take(found, name)
    except OSError as error:
        raise ContainerError(f"{target.shown}: {error.strerror}") from error


def write_tar(source: End, output: IO[bytes], *, follow: bool = False) -> None:
    """Write a file or directory, under its name, as a tar. Raises ContainerError."""
    found = _look(source, follow=follow or source.wants_directory)
    name = "." if source.wants_content else os.path.basename(os.path.normpath(source.path)) or "."
    tar = TarWriter(output)
    tar.add(found, name)
    if found.is_directory:
        top = os.open(
            found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=found.folder
        )
        for below in walk(top):
            tar.add(below, f"{name}/{below.path.removeprefix('./')}")
    tar.close()


def read_tar(target: End, source: IO[bytes], owner: tuple[int, int] | None) -> None:
    """Put the files of a tar into a directory, which must be there. Raises ContainerError."""
    try:
        top = open_in_root(target.root, target.path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise target.error(error.errno or 0) from error
    try:
        extract(source, top, owner)
    except OSError as error:
        raise ContainerError(f"{target.shown}: {error.strerror}") from error


def _parent(end: End, path: str) -> tuple[int, str]:
    """The directory of a path, and its last name, "." for the root or a directory itself."""
    folder, _, name = path.rstrip("/").rpartition("/")
    try:
        if name in ("", ".", ".."):
            return open_in_root(end.root, path or "/", os.O_PATH | os.O_DIRECTORY), "."
        return open_in_root(end.root, folder or "/", os.O_PATH | os.O_DIRECTORY), name
    except OSError as error:
        raise end.error(error.errno or 0) from error


def _look(end: End, *, follow: bool) -> Found:
    """What is to be copied; a link itself, unless it is to be followed."""
    path = end.path
    for _ in range(MAX_LINKS):
        folder, name = _parent(end, path)
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if status.st_mode & _KIND != _LINK or not follow:
                break
            # Inside the root: an absolute one begins there.
            path = os.path.join(os.path.dirname(path.rstrip("/")), _target(folder, name))
        except OSError as error:
            raise end.error(error.errno or 0) from error
    else:
        raise end.error(errno.ELOOP)
    if end.wants_directory and status.st_mode & _KIND != _DIRECTORY:
        raise ContainerError(f"{end.shown}: is no directory")
    return Found(path=".", folder=folder, name=name, status=status)


def _target(folder: int, name: str) -> str:
    return os.readlink(name, dir_fd=folder)


def _place(source: End, target: End, found: Found) -> tuple[int, str]:
    """Where a copy goes: an open directory and a name in it, "." for what is in there already."""
    try:
        top = open_in_root(target.root, target.path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        if target.wants_directory and not found.is_directory:
            raise ContainerError(f"{target.shown}: there is no such directory") from None
        return _parent(target, target.path)
    except NotADirectoryError:
        if found.is_directory or target.wants_directory:
            raise ContainerError(f"{target.shown}: is no directory") from None
        return _parent(target, target.path)
    except OSError as error:
        raise target.error(error.errno or 0) from error
    if found.is_directory and source.wants_content:
        return top, "."
    return top, os.path.basename(os.path.normpath(source.path)) or "."
