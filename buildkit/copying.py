"""COPY into a root filesystem (Dockerfile reference, "COPY"; BuildKit where it is silent).

What goes where, and as whose, is decided here; a target makes it so: a directory that is mounted
(`copy_to_directory`), or a layer that is written without a mount (`copy_to_layer`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from buildkit.errors import BuildError
from buildkit.excluding import kept_parents, kept_path, read_exclusions
from buildkit.ignoring import ALL_VISIBLE, Visible
from buildkit.owners import Seen
from buildkit.steps import CopyStep
from grammar.values import Mode, OctalMode
from runtime.errors import ContainerError
from runtime.image.xattrs import kept_xattr
from runtime.record import Record
from runtime.sandbox.rootpath import open_in_root
from runtime.sandbox.users import Account

_DIRECTORY = os.O_PATH | os.O_DIRECTORY

Folder = TypeVar("Folder")


class Attributes(NamedTuple):
    """What a file or directory has beside its content."""

    owner: tuple[int, int]
    mode: int  # the permission bits
    mtime: int  # seconds
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Target(Protocol[Folder]):
    """Where files are copied to; a folder is one of its directories, to be closed after use.

    Symlinks in a path are followed, inside the target; none is where a name is given.
    """

    def look_up(self, user: str) -> Account:
        """Who `user[:group]` is there."""

    def open(self, path: str) -> Folder:
        """The directory at a path; FileNotFoundError or NotADirectoryError where there is none."""

    def make(self, path: str, mode: int, owner: tuple[int, int]) -> Folder:
        """The same, what is missing being made."""

    def close(self, folder: Folder) -> None:
        """The folder is not used any more."""

    def enter(self, folder: Folder, name: str) -> tuple[Folder, bool]:
        """A directory inside another, and whether it had to be made; BuildError over a file."""

    def is_symlink(self, folder: Folder, name: str) -> bool:
        """Whether there is a symlink in a directory."""

    def put(
        self,
        folder: Folder,
        name: str,
        place: str,
        status: os.stat_result,
        attributes: Attributes,
    ) -> None:
        """Copy what is no directory from a place; it replaces what is there.

        Raises BuildError over a directory.
        """

    def write(self, folder: Folder, name: str, content: bytes, attributes: Attributes) -> None:
        """The same for a file whose content is in memory."""

    def write_through(self, path: str, place: str, attributes: Attributes) -> None:
        """Write to the file that a symlink points to."""

    def link(self, top: Folder, first: str, folder: Folder, name: str) -> None:
        """Make a hard link to a file that was put at a path below a folder."""

    def set_attributes(self, folder: Folder, attributes: Attributes) -> None:
        """Give a directory attributes; xattrs that it has beside them stay."""

    def set_mode(self, folder: Folder, mode: int) -> None:
        """Give a directory a mode alone."""


class Copied(Record):
    """What is asked of every file that is copied; None keeps the source's."""

    owner: tuple[int, int] | None
    mode: Mode | None
    mtime: int | None


class _Level(Generic[Folder]):
    """A directory that is being copied."""

    def __init__(
        self,
        source: str,
        target: Folder,
        *,
        below: str,
        names: Iterator[str],
        status: os.stat_result | None,
    ) -> None:
        self.source = source
        self.target = target
        self.below = below  # its path below the top, with a slash unless it is empty
        self.names = names  # that are still to come
        self.status = status  # None: the target does not take its attributes


class Copier(Generic[Folder]):
    """Carries out one COPY step."""

    def __init__(
        self,
        step: CopyStep,
        target: Target[Folder],
        *,
        epoch: int,
        visible: Visible = ALL_VISIBLE,
    ) -> None:
        self._step = step
        self._seen = Seen()
        self._target = target
        self._visible = visible
        self._epoch = epoch
        owner = self._owner() if step.chown else None
        if step.origin is None:  # a context's owners and times mean nothing in the image
            self._as = Copied(owner=owner or (0, 0), mode=step.chmod, mtime=epoch)
        else:
            self._as = Copied(owner=owner, mode=step.chmod, mtime=None)
        # A symbolic mode speaks of files that are there: what is made on the way is usual.
        self._made_mode = step.chmod.bits if isinstance(step.chmod, OctalMode) else 0o755
        self._made_owner = owner or (0, 0)
        self._excluded = read_exclusions(step.exclude)
        self.newest_change = 0  # of all that was seen of the sources: a ctime in nanoseconds
        self._source = ""  # the directory that is being copied, below its origin
        self._parents: dict[str, Attributes] = {}  # what --parents has made
        self._links: dict[tuple[int, int], str] = {}  # a file's first path below the top

    def copy(self, source_root: str, paths: tuple[str, ...]) -> None:
        """Copy the selected paths of the origin, then the inline files."""
        self.copy_paths(source_root, paths)
        self.write_inline()

    def copy_paths(self, source_root: str, paths: tuple[str, ...]) -> None:
        """Copy paths below a directory, which they cannot leave."""
        source_fd = os.open(source_root, _DIRECTORY | os.O_CLOEXEC)
        for path in paths:
            self._links.clear()
            if self._step.parents:
                self._copy_below(source_fd, path)
                continue
            place, status = self._find(source_fd, path)
            if stat.S_ISDIR(status.st_mode):
                self._copy_directory(place, path)
            else:
                self._copy_file(place, os.path.basename(path))
        os.close(source_fd)
        self._restore_times()

    def write_inline(self) -> None:
        """Make the files whose content stands in the Containerfile."""
        for inline in self._step.inline:
            folder, name = self._place_for(inline.name)
            mode = self._mode(stat.S_IFREG | 0o644)
            attributes = Attributes(owner=self._made_owner, mode=mode, mtime=self._epoch)
            content = inline.content.encode("utf-8", "surrogateescape")
            self._target.write(folder, name, content, attributes)
            self._target.close(folder)

    def _copy_directory(self, place: str, path: str) -> None:
        """Copy what is in a directory; the destination itself does not take its attributes."""
        self._source = path
        top = self._make(self._step.destination)
        self._merge(place, top, top)
        self._target.close(top)

    def _copy_below(self, source_fd: int, path: str) -> None:
        """Copy one source of `--parents`: the directories above it are made like theirs."""
        top, kept = path.partition("/./")[0], kept_path(path)
        self._source = f"{top}/./."
        opened = [self._make(self._step.destination)]
        for above in kept_parents(path):
            opened.append(self._keep_parent(source_fd, above, opened[-1]))
        folder, name = os.path.split(kept)
        place, _ = self._find(source_fd, f"{top}/{folder}")
        if kept == ".":
            self._merge(place, opened[-1], opened[0])
        else:
            self._copy_entry(f"{place}/{name}", opened[-1], name, kept, opened[0])
        for made in opened:
            self._target.close(made)

    def _keep_parent(self, source_fd: int, path: str, parent: Folder) -> Folder:
        kept = kept_path(path)
        place, status = self._find(source_fd, path)
        inner, made = self._target.enter(parent, os.path.basename(path))
        if made:
            self._parents[kept] = self._attributes(status, place)
            self._target.set_attributes(inner, self._parents[kept])
        elif kept not in self._parents:
            self._target.set_mode(inner, self._mode(status.st_mode))
        return inner

    def _restore_times(self) -> None:
        """Set the times of the directories made by `--parents`: writing into them changed it."""
        for kept, attributes in self._parents.items():
            folder = self._target.open(f"{self._step.destination}/{kept}")
            self._target.set_attributes(folder, attributes)
            self._target.close(folder)

    def _copy_file(self, place: str, name: str) -> None:
        folder, name = self._place_for(name)
        status = self._look(place)
        attributes = self._attributes(status, place)
        # Only a path that the instruction names is followed; what lies in a directory is replaced.
        if not self._into_directory() and self._target.is_symlink(folder, name):
            self._target.write_through(self._step.destination, place, attributes)
        else:
            self._target.put(folder, name, place, status, attributes)
        self._target.close(folder)

    def _place_for(self, name: str) -> tuple[Folder, str]:
        """The directory (made if missing) and the name that a single file goes to."""
        destination = self._step.destination
        if self._into_directory():
            return self._make(destination), name
        parent, _, last = destination.rpartition("/")
        return self._make(parent or "/"), last

    def _into_directory(self) -> bool:
        destination = self._step.destination
        if destination.endswith("/"):
            return True
        try:
            self._target.close(self._target.open(destination))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _make(self, path: str) -> Folder:
        try:
            return self._target.make(path, self._made_mode, self._made_owner)
        except (NotADirectoryError, FileNotFoundError) as error:
            reason = os.strerror(error.errno or 0)
            raise BuildError(f"destination {path}: {reason}") from error

    def _merge(self, source: str, target: Folder, top: Folder, below: str = "") -> None:
        """Copy the entries of the directory `source` into `target`, which is `below` the top."""
        stack = [self._level(source, target, below, None)]
        while stack:
            level = stack[-1]
            for name in level.names:
                place = f"{level.source}/{name}"
                inside = f"{level.below}{name}"
                status = self._look(place)
                if stat.S_ISDIR(status.st_mode):
                    inner, _ = self._target.enter(level.target, name)
                    stack.append(self._level(place, inner, f"{inside}/", status))
                    break
                self._put(place, status, level.target, name, inside, top)
            else:
                stack.pop()
                if level.status is not None:
                    attributes = self._attributes(level.status, level.source)
                    self._target.set_attributes(level.target, attributes)
                    self._target.close(level.target)

    def _level(
        self, source: str, target: Folder, below: str, status: os.stat_result | None
    ) -> _Level[Folder]:
        inside = os.path.normpath(f"{self._source}/{below}")
        names = self._visible.names(source, inside, os.listdir(source))
        names = self._excluded.names(source, self._source, below or ".", names)
        names.sort(key=os.fsencode)
        return _Level(source, target, below=below, names=iter(names), status=status)

    def _copy_entry(self, place: str, folder: Folder, name: str, inside: str, top: Folder) -> None:
        """Copy one entry of a directory; `inside` is its path below the top."""
        status = self._look(place)
        if not stat.S_ISDIR(status.st_mode):
            self._put(place, status, folder, name, inside, top)
            return
        inner, _ = self._target.enter(folder, name)
        self._merge(place, inner, top, f"{inside}/")
        self._target.set_attributes(inner, self._attributes(status, place))
        self._target.close(inner)

    def _put(
        self,
        place: str,
        status: os.stat_result,
        folder: Folder,
        name: str,
        inside: str,
        top: Folder,
    ) -> None:
        """Copy what is no directory; hard links within a source stay links."""
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            first = self._links.setdefault((status.st_dev, status.st_ino), inside)
            if first != inside:
                self._target.link(top, first, folder, name)
                return
        attributes = self._attributes(status, place)
        self._target.put(folder, name, place, status, attributes)

    def _look(self, place: str) -> os.stat_result:
        status = os.lstat(place)
        if status.st_ctime_ns > self.newest_change:
            self.newest_change = status.st_ctime_ns
        return status

    def _find(self, root_fd: int, path: str) -> tuple[str, os.stat_result]:
        """Where a path that cannot leave a root leads to, links followed, and what is there."""
        fd = open_in_root(root_fd, path)
        place = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return place, self._look(place)

    def _mode(self, mode: int) -> int:
        if self._as.mode is None:
            return mode & 0o7777
        return self._as.mode.apply(mode & 0o7777, is_directory=stat.S_ISDIR(mode))

    def _attributes(self, status: os.stat_result, place: str) -> Attributes:
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if not stat.S_ISLNK(status.st_mode):
            names = os.listxattr(place)
            xattrs = tuple((key, os.getxattr(place, key)) for key in names if kept_xattr(key))
        return Attributes(
            owner=self._as.owner or self._seen.of(place, status),
            mode=self._mode(status.st_mode),
            mtime=int(status.st_mtime) if self._as.mtime is None else self._as.mtime,
            xattrs=xattrs,
        )

    def _owner(self) -> tuple[int, int]:
        """`--chown=user[:group]` by the image's own files; a number alone is the group as well."""
        chown = self._step.chown.removesuffix(":")
        try:
            user = self._target.look_up(chown).user
        except ContainerError as error:
            if not self._step.link:
                raise
            hint = "--link copies onto nothing, so only numbers are known there: --chown=1000:1000"
            raise BuildError(f"--chown={self._step.chown}: {error.message}", hint=hint) from error
        if chown.isdigit():
            return user.uid, user.uid
        return user.uid, user.gid


def over_directory(name: str) -> BuildError:
    """The error for a file that is to replace a directory."""
    return BuildError(f"cannot copy the file {name} over a directory")


def over_file(name: str, *, symlink: bool) -> BuildError:
    """The error for a directory that is to replace something else."""
    kind = "a symlink" if symlink else "a file"
    return BuildError(f"cannot copy the directory {name} over {kind}")


def strange_owner(name: str, owner: tuple[int, int]) -> BuildError:
    """The error for an owner that means nothing in the user namespace of the build."""
    uid, gid = owner
    return BuildError(
        f"{name}: {uid}:{gid} cannot own it: no such id in the user namespace",
        hint="without subordinate ids (subuid(5)) there is one user alone: root",
    )
