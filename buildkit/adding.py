"""What ADD does beyond COPY: archives are unpacked (Dockerfile reference, "ADD").

find_archives   which sources are to be unpacked: part of the step's key
Adder           does it, in a child that has the root mounted
newest_added    what time it came upon: the epoch is never before it
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from buildkit.archives import is_archive
from buildkit.copying import Copier
from buildkit.unpacking import unpack
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.store.workspace import Workspace

_REPORT = "newest"  # a file in the workspace: the child that unpacks has nothing else to say


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPath:
    """A file or directory of the context, to be copied as COPY does."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedArchive:
    """An archive in the context, to be unpacked."""

    path: str


Added = AddedPath | AddedArchive


def find_archives(context: str, paths: Sequence[str]) -> tuple[Added, ...]:
    """What ADD makes of paths of the context; empty if there is no archive among them.

    Only a file that the instruction itself names is unpacked, none in a directory that it names.
    """
    context_fd = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        archives = {path for path in paths if _is_archive(context_fd, path)}
    finally:
        os.close(context_fd)
    if not archives:
        return ()
    return tuple(
        AddedArchive(path=path) if path in archives else AddedPath(path=path) for path in paths
    )


def _is_archive(context_fd: int, path: str) -> bool:
    fd = open_in_root(context_fd, path)
    try:
        return is_archive(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


class Adder(Copier):
    """Carries out one ADD step."""

    def add(self, context: str, added: tuple[Added, ...]) -> int:
        """Add everything in the order in which it was written; returns the newest time of the
        archives, in seconds.
        """
        newest = 0
        for item in added:
            match item:
                case AddedPath(path=path):
                    self.copy_paths(context, (path,))
                case AddedArchive(path=path):
                    newest = max(newest, self._unpack_from(context, path))
        self.write_inline()
        return newest

    def _unpack_from(self, context: str, path: str) -> int:
        context_fd = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = open_in_root(context_fd, path)
        os.close(context_fd)
        try:
            return self._unpack(f"/proc/self/fd/{fd}", path)
        finally:
            os.close(fd)

    def _unpack(self, place: str, where: str) -> int:
        owner = self._made_owner if self._step.chown else None
        return unpack(place, where, self._root_fd, self._step.destination, owner)


def report_newest(work: Workspace, seconds: int) -> None:
    """Leave the newest time of what was added for the process that started us."""
    with open(f"{work.path}/{_REPORT}", "w", encoding="ascii") as report:
        report.write(str(seconds))


def newest_added(work: Workspace) -> int:
    """The time that was reported last, once; 0 if there was none."""
    try:
        with open(f"{work.path}/{_REPORT}", encoding="ascii") as report:
            seconds = int(report.read())
    except FileNotFoundError:
        return 0
    os.unlink(f"{work.path}/{_REPORT}")
    return seconds
