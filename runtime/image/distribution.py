"""Applying a large layer by several processes at once.

What files cost is the kernel's time, which processes can spend beside each other. They may where
the order of the members does not matter: every path but a directory's is there once, and nothing
lies below what is no directory. Then directories come first, files and symlinks in any order, and
last what refers to others. Such are nearly all layers; for the rest there is `layer` alone.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.layer import Extraction, LayerRoot, Owners, failure
from runtime.image.whiteouts import OPAQUE, WHITEOUT, OverlayForm
from runtime.image.workers import share_out
from runtime.image.xattrs import set_xattrs
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Parent, name, mode, uid, gid, time, target of a symlink or None, xattrs; offset and size.
    Job = tuple[
        str, str, int, int, int, int, str | None, tuple[tuple[str, bytes], ...], int, int
    ]  # fmt: skip

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
# A piece of work ends with one of these; there are never more than a thousand.
_FILES, _BYTES, _PIECES = 128, 1 << 22, 400


def apply_distributed(
    stream: tar.FileStream,
    root: str,
    lowers: tuple[str, ...],
    where: str,
    processes: int,
) -> bool:
    """Extract a layer as `apply_layer` does; False, with nothing done, where order matters.

    Owners are noted as with its `notes`. Nobody may change the file meanwhile. Raises ImageError,
    and OSError where there is no room.
    """
    owners = Owners(notes=True)
    plan = _Plan(stream, where, owners)
    if not plan.any_order:
        return False
    with LayerRoot(root) as root_fd:
        extraction = Extraction(stream, root_fd, lowers, where, OverlayForm(), owners)
        for entry in plan.first:
            if isinstance(entry, str):
                extraction.open_parent(entry)
            else:
                extraction.take(entry)
        making = _Making(stream.fd, root_fd, where, plan.jobs)
        pieces = _pieces(plan.jobs)
        share_out(lambda number: making.make(*pieces[number]), len(pieces), processes)
        for entry in plan.last:
            extraction.take(entry)
        extraction.finish()
    return True


class _Plan:
    """The members of a layer by when they are made."""

    def __init__(self, stream: tar.FileStream, where: str, owners: Owners) -> None:
        self.first: list[tar.Entry | str] = []  # directories, or paths of implied ones; whiteouts
        self.jobs: list[Job] = []  # files and symlinks
        self.last: list[tar.Entry] = []  # hard links, devices
        self._directories = {""}
        self._others: set[str] = set()
        self.any_order = self._sort(stream, where, owners)

    def _sort(self, stream: tar.FileStream, where: str, owners: Owners) -> bool:
        for values in tar.members(stream, where):
            name, kind, mode, uid, gid, size, mtime, link, _, xattrs, _ = values
            offset = stream.position
            stream.skip(size + tar.padding(size))
            path = tar.inside_root(name, where)
            parent, _, base = path.rpartition("/")
            if base.startswith(WHITEOUT) and base != OPAQUE:
                self.first.append(tar.Entry.restore(values).replace(size=0))
                continue
            if parent not in self._directories and not self._imply(parent):
                return False
            if base == OPAQUE:
                self.first.append(tar.Entry.restore(values).replace(size=0))
            elif kind == tar.DIRECTORY:
                if path in self._others:
                    return False
                self._directories.add(path)
                self.first.append(tar.Entry.restore(values))
            elif path in self._others or path in self._directories:
                return False
            elif kind in (tar.REGULAR, tar.SYMLINK):
                self._others.add(path)
                xattrs = owners.xattrs(kind, uid, gid, xattrs)
                if not owners.known(uid, gid):
                    uid, gid, mode = 0, 0, mode & 0o1777
                target = link if kind == tar.SYMLINK else None
                job = (parent, base, mode, uid, gid, mtime, target, xattrs, offset, size)
                self.jobs.append(job)
            elif kind == tar.HARDLINK and tar.inside_root(link, where) not in self._others:
                return False
            else:
                self._others.add(path)
                self.last.append(tar.Entry.restore(values))
        return True

    def _imply(self, path: str) -> bool:
        """Take note of a directory that has no entry so far; False if that is something else."""
        self.first.append(path)
        while path not in self._directories:
            if path in self._others:
                return False
            self._directories.add(path)
            path = path.rpartition("/")[0]
        return True


def _pieces(jobs: list[Job]) -> list[tuple[int, int]]:
    files = max(_FILES, len(jobs) // _PIECES)
    size = max(_BYTES, sum(job[-1] for job in jobs) // _PIECES)
    found = []
    first = held = 0
    for number, job in enumerate(jobs, 1):
        held += job[-1]
        if number - first >= files or held >= size or number == len(jobs):
            found.append((first, number))
            first, held = number, 0
    return found


class _Making:
    """Files and symlinks of a layer, in directories that are there, all by descriptor."""

    def __init__(self, fd: int, root_fd: int, where: str, jobs: list[Job]) -> None:
        self._fd, self._root_fd, self._where, self._jobs = fd, root_fd, where, jobs

    def make(self, first: int, end: int) -> None:
        """Make some of them."""
        above: str | None = None
        above_fd = -1
        owner = (-1, -1)  # that the kernel gives to what is made in a directory: not yet known
        for job in self._jobs[first:end]:
            parent, name, _, uid, gid, mtime, target, xattrs, _, _ = job
            try:
                if parent != above:
                    if above_fd >= 0:
                        os.close(above_fd)
                    above_fd = open_in_root(self._root_fd, parent or ".", _DIRECTORY, follow=False)
                    above, owner = parent, (-1, -1)
                if target is None:
                    owner = self._make_file(above_fd, job, owner)
                    continue
                os.symlink(target, name, dir_fd=above_fd)
                os.chown(name, uid, gid, dir_fd=above_fd, follow_symlinks=False)
                set_xattrs(f"/proc/self/fd/{above_fd}/{name}", xattrs, follow=False)
                os.utime(name, (mtime, mtime), dir_fd=above_fd, follow_symlinks=False)
            except OSError as error:
                path = f"{parent}/{name}" if parent else name
                raise failure(error, f"{self._where}: {path}") from error
        if above_fd >= 0:
            os.close(above_fd)

    def _make_file(self, above_fd: int, job: Job, owner: tuple[int, int]) -> tuple[int, int]:
        """Make a file; returns whom new files in that directory belong to."""
        _, name, mode, uid, gid, mtime, _, xattrs, offset, left = job
        fd = os.open(name, _CREATE, mode & 0o777, dir_fd=above_fd)
        try:
            while left:
                # The kernel copies from one page cache to the other.
                copied = os.sendfile(fd, self._fd, offset, min(left, _CHUNK))
                if not copied:
                    raise ImageError(f"{self._where}: {name}: truncated")
                left -= copied
                offset += copied
            if owner[0] < 0:
                status = os.fstat(fd)
                owner = status.st_uid, status.st_gid
            if owner != (uid, gid):
                os.fchown(fd, uid, gid)
            # After chown, which clears file capabilities and set-uid bits.
            set_xattrs(fd, xattrs)
            if mode & 0o7000:
                os.fchmod(fd, mode)
            os.utime(fd, (mtime, mtime))
        finally:
            os.close(fd)
        return owner
