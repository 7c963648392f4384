"""Whose packaged files are, by rpm's database: for those of which it was not recorded.

That is so where the kernel granted no listener (`chowns`), and of files that took the place of
packaged ones: who edits /etc/shadow writes a new file and gives it the owner that it saw on the
old one, which with a single id is root. What was recorded of a file counts more: a scriptlet's
word comes after its package's.
"""

from __future__ import annotations

import os
import re

from buildkit.errors import BuildError
from buildkit.owners import Owner, Owners
from buildkit.packages import rpm_header
from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_database import SQLITE, read_headers
from runtime.errors import ContainerError
from runtime.sandbox.rootpath import open_in_root
from runtime.sandbox.users import look_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildkit.packages.rpm_header import Header

_GHOST = 1 << 6  # RPMFILE_GHOST, rpm include/rpm/rpmfiles.h: not installed, only known
# Tags of scriptlets and triggers: PREIN to POSTUN, TRIGGERSCRIPTS, PRETRANS, POSTTRANS,
# FILETRIGGERSCRIPTS, TRANSFILETRIGGERSCRIPTS (rpm include/rpm/rpmtag.h).
_SCRIPTLETS = (1023, 1024, 1025, 1026, 1065, 1151, 1152, 5066, 5076)
_CHANGES_OWNERS = re.compile(r"\b(?:chown|chgrp|install\s.*(?:-[A-Za-z]*[og]\b|--owner|--group))")


def note_packaged(root: str, upper: str, dbpath: str, owners: Owners) -> dict[str, Owner]:
    """Note owners of packaged files that are in `upper` and have no note.

    `root` shows the whole system, `upper` is where this step wrote. Returns those of files that
    bear no notes, by path below `upper`. To be called before the database is moved. Raises
    BuildError for a file of an owner that the system does not have.
    """
    found: dict[str, Owner] = {}
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ids = _Ids(root_fd)
        folders: dict[str, str | None] = {}
        for folder, name, user, group in _foreign_files(f"{root}{dbpath}"):
            if folder not in folders:
                folders[folder] = _real_folder(root_fd, root, folder)
            inside = folders[folder]
            if inside is None:
                continue
            path = f"{upper}{inside}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:  # left out, deleted, or of a layer below
                continue
            if owners.noted(path, status) is not None:
                continue
            owner = ids.owner(f"{folder}{name}", user, group)
            if not owners.note(path, status, owner):
                found[path] = owner
    finally:
        os.close(root_fd)
    return found


def changing_scriptlets(root: str, dbpath: str) -> tuple[str, ...]:
    """Names of the packages whose scriptlets seem to change owners."""
    found = set()
    for header in _headers(f"{root}{dbpath}"):
        if any(_CHANGES_OWNERS.search(text) for t in _SCRIPTLETS for text in header.strings(t)):
            found.add(header.string(rpm_header.NAME))
    return tuple(sorted(found))


class _Ids:
    """Ids of names, by the system's own files; each is looked up once."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._users = {"root": 0}
        self._groups = {"root": 0}

    def owner(self, path: str, user: str, group: str) -> Owner:
        """The ids of a user and a group; raises BuildError for `path` if one is not there."""
        try:
            if user not in self._users:
                self._users[user] = look_up(self._root_fd, f"{user}:0").user.uid
            if group not in self._groups:
                self._groups[group] = look_up(self._root_fd, f"0:{group}").user.gid
        except ContainerError as error:
            raise BuildError(f"{path}: its owner is not known: {error.message}") from error
        return self._users[user], self._groups[group]


def _foreign_files(directory: str) -> Iterator[tuple[str, str, str, str]]:
    """Directory with a slash, name, user and group of every packaged file that is not root's."""
    for header in _headers(directory):
        users = header.strings(rpm_header.FILEUSERNAME)
        groups = header.strings(rpm_header.FILEGROUPNAME)
        if {*users, *groups} <= {"root"}:
            continue
        names = header.strings(rpm_header.BASENAMES)
        folders = header.strings(rpm_header.DIRNAMES)
        indexes = header.integers(rpm_header.DIRINDEXES)
        flags = header.integers(rpm_header.FILEFLAGS)
        try:
            for name, index, flag, user, group in zip(
                names, indexes, flags, users, groups, strict=True
            ):
                if (user, group) != ("root", "root") and not flag & _GHOST:
                    yield folders[index], name, user, group
        except (ValueError, IndexError) as error:
            package = header.string(rpm_header.NAME)
            raise BuildError(f"rpm's database: the files of {package} do not fit") from error


def _headers(directory: str) -> Iterator[Header]:
    path = f"{directory}/{SQLITE}"
    try:
        yield from read_headers(path, where="rpm's database")
    except (PackageError, OSError) as error:
        raise BuildError(f"whose files are is not known: {error}") from error


def _real_folder(root_fd: int, root: str, folder: str) -> str | None:
    """Where a directory is below the root, links followed; None if it is not there."""
    try:
        fd = open_in_root(root_fd, folder, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        real = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    inside = real[len(os.path.realpath(root)) :]
    return inside.rstrip("/")
