"""COPY onto a root filesystem (Dockerfile reference, "COPY"; BuildKit where it is silent).

Runs in a child that has the root mounted. Destinations are opened inside the root, so a symlink
of the image leads nowhere else.
"""

from __future__ import annotations

import os
import stat

from buildkit.errors import BuildError
from buildkit.excluding import kept_parents, kept_path, read_exclusions
from buildkit.ignoring import ALL_VISIBLE, Visible
from buildkit.steps import CopyStep
from grammar.values import Mode, OctalMode
from runtime.errors import ContainerError
from runtime.image.xattrs import kept_xattr
from runtime.record import Record
from runtime.sandbox.rootpath import make_directories, open_in_root
from runtime.sandbox.users import look_up

_CHUNK = 1 << 30
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


class Copied(Record):
    """What is asked of every file that is copied; None keeps the source's."""

    owner: tuple[int, int] | None
    mode: Mode | None
    mtime: int | None


class Copier:
    """Carries out one COPY step."""

    def __init__(
        self, step: CopyStep, root: str, *, epoch: int, visible: Visible = ALL_VISIBLE
    ) -> None:
        """`root` is where the destination filesystem is mounted."""
        self._step = step
        self._visible = visible
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._epoch = epoch
        owner = _owner(self._root_fd, step) if step.chown else None
        if step.origin is None:  # a context's owners and times mean nothing in the image
            self._as = Copied(owner=owner or (0, 0), mode=step.chmod, mtime=epoch)
        else:
            self._as = Copied(owner=owner, mode=step.chmod, mtime=None)
        # A symbolic mode speaks of files that are there: what is made on the way is usual.
        self._made_mode = step.chmod.bits if isinstance(step.chmod, OctalMode) else 0o755
        self._made_owner = owner or (0, 0)
        self._excluded = read_exclusions(step.exclude)
        self._source = ""  # the directory that is being copied, below its origin
        self._top = -1  # and its destination
        self._parents: dict[str, os.stat_result] = {}  # what --parents has made, and of what
        self._links: dict[tuple[int, int], str] = {}  # a file's first path below it

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
            fd = open_in_root(source_fd, path)
            place = f"/proc/self/fd/{fd}"
            if stat.S_ISDIR(os.stat(place).st_mode):
                self._copy_directory(place, path)
            else:
                self._copy_file(place, os.path.basename(path))
            os.close(fd)
        os.close(source_fd)
        self._restore_times()

    def write_inline(self) -> None:
        """Make the files whose content stands in the Containerfile."""
        for inline in self._step.inline:
            self._write_inline(inline.name, inline.content.encode("utf-8", "surrogateescape"))

    def _copy_directory(self, place: str, path: str) -> None:
        """Copy what is in a directory; the destination itself does not take its attributes."""
        self._source = path
        self._top = self._make(self._step.destination)
        self._merge(place, self._top, "")
        os.close(self._top)

    def _copy_below(self, source_fd: int, path: str) -> None:
        """Copy one source of `--parents`: the directories above it are made like theirs."""
        top, kept = path.partition("/./")[0], kept_path(path)
        self._source = f"{top}/./."
        self._top = target = self._make(self._step.destination)
        opened = [target]
        for above in kept_parents(path):
            target = self._keep_parent(source_fd, above, target)
            opened.append(target)
        folder, name = os.path.split(kept)
        opened.append(open_in_root(source_fd, f"{top}/{folder}", _DIRECTORY))
        place = f"/proc/self/fd/{opened[-1]}"
        if kept == ".":
            self._merge(place, target, "")
        else:
            self._copy_entry(f"{place}/{name}", target, name, kept)
        for fd in opened:
            os.close(fd)

    def _keep_parent(self, source_fd: int, path: str, parent: int) -> int:
        name, kept = os.path.basename(path), kept_path(path)
        source = open_in_root(source_fd, path, _DIRECTORY)
        place = f"/proc/self/fd/{source}"
        status = os.stat(place)
        inner, made = self._enter(parent, name)
        if made:
            self._set_attributes(f"/proc/self/fd/{inner}", status, place)
            self._parents[kept] = status
        elif kept not in self._parents:
            os.chmod(f"/proc/self/fd/{inner}", self._mode(status.st_mode))
        os.close(source)
        return inner

    def _restore_times(self) -> None:
        """Set the times of the directories made by `--parents`: writing into them changed it."""
        for kept, status in self._parents.items():
            fd = open_in_root(self._root_fd, f"{self._step.destination}/{kept}", _DIRECTORY)
            self._set_time(f"/proc/self/fd/{fd}", status)
            os.close(fd)

    def _copy_file(self, place: str, name: str) -> None:
        parent, name = self._place_for(name)
        # Only a path that the instruction names is followed; what lies in a directory is replaced.
        if not self._into_directory() and self._is_symlink(parent, name):
            self._write_through(place, self._step.destination)
        else:
            self._put(place, parent, name)
        os.close(parent)

    def _write_inline(self, name: str, content: bytes) -> None:
        parent, name = self._place_for(name)
        self._remove_file(parent, name)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
        while content:
            content = content[os.write(fd, content) :]
        os.fchown(fd, *self._made_owner)
        os.fchmod(fd, self._mode(0o644))
        os.utime(fd, (self._epoch, self._epoch))
        os.close(fd)
        os.close(parent)

    def _place_for(self, name: str) -> tuple[int, str]:
        """The directory (made if missing) and the name that a single file goes to."""
        destination = self._step.destination
        if self._into_directory():
            return self._make(destination), name
        parent, _, last = destination.rpartition("/")
        return self._make(parent or "/"), last

    def _into_directory(self) -> bool:
        destination = self._step.destination
        return destination.endswith("/") or self._is_directory(destination)

    def _make(self, path: str) -> int:
        try:
            return make_directories(self._root_fd, path, self._made_mode, self._made_owner)
        except (NotADirectoryError, FileNotFoundError) as error:
            reason = os.strerror(error.errno or 0)
            raise BuildError(f"destination {path}: {reason}") from error

    def _is_directory(self, path: str) -> bool:
        try:
            os.close(open_in_root(self._root_fd, path, _DIRECTORY))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _is_symlink(self, parent: int, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISLNK(status.st_mode)

    def _write_through(self, place: str, destination: str) -> None:
        """Write to what a symlink at the destination points to, inside the root."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        fd = open_in_root(self._root_fd, destination, flags, mode=0o600)
        with open(place, "rb", buffering=0) as source:
            _send(source.fileno(), fd)
        self._set_attributes(f"/proc/self/fd/{fd}", os.stat(place), place)
        os.close(fd)

    def _merge(self, source: str, target: int, below: str) -> None:
        """Copy the entries of the directory `source` into `target`, which is `below` the top."""
        inside = os.path.normpath(f"{self._source}/{below}")
        names = self._visible.names(source, inside, os.listdir(source))
        names = self._excluded.names(source, self._source, below or ".", names)
        for name in sorted(names, key=os.fsencode):
            self._copy_entry(f"{source}/{name}", target, name, f"{below}{name}")

    def _copy_entry(self, place: str, target: int, name: str, inside: str) -> None:
        """Copy one entry of a directory; `inside` is its path below the top."""
        status = os.lstat(place)
        if not stat.S_ISDIR(status.st_mode):
            self._put(place, target, name, inside)
            return
        inner, _ = self._enter(target, name)
        self._merge(place, inner, f"{inside}/")
        self._set_attributes(f"/proc/self/fd/{inner}", status, place)
        os.close(inner)

    def _enter(self, parent: int, name: str) -> tuple[int, bool]:
        """A directory inside another, and whether it had to be made; no link is followed."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            made = True
        except FileExistsError:
            self._refuse_unless_directory(parent, name)
            made = False
        flags = _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=parent), made

    def _refuse_unless_directory(self, parent: int, name: str) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            kind = "a symlink" if stat.S_ISLNK(status.st_mode) else "a file"
            raise BuildError(f"cannot copy the directory {name} over {kind}")

    def _remove_file(self, parent: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise BuildError(f"cannot copy the file {name} over a directory") from None

    def _put(self, place: str, parent: int, name: str, inside: str | None = None) -> None:
        """Make a copy of one entry that is not a directory, replacing what is there.

        `inside` is its path below the top; a file that the instruction names has none.
        """
        status = os.stat(place) if inside is None else os.lstat(place)
        self._remove_file(parent, name)
        first = self._links.get((status.st_dev, status.st_ino))
        if first is not None:
            os.link(first, name, src_dir_fd=self._top, dst_dir_fd=parent, follow_symlinks=False)
            return
        made = f"/proc/self/fd/{parent}/{name}"
        match stat.S_IFMT(status.st_mode):
            case stat.S_IFREG:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
                with open(place, "rb", buffering=0) as source:
                    _send(source.fileno(), fd)
                os.close(fd)
                if inside is not None and status.st_nlink > 1:
                    self._links[status.st_dev, status.st_ino] = inside
            case stat.S_IFLNK:
                os.symlink(os.readlink(place), name, dir_fd=parent)
            case stat.S_IFIFO | stat.S_IFCHR | stat.S_IFBLK:
                os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=parent)
            case _:  # a socket becomes an empty file, as in BuildKit
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=parent))
        self._set_attributes(made, status, place)

    def _mode(self, mode: int) -> int:
        if self._as.mode is None:
            return mode & 0o7777
        return self._as.mode.apply(mode & 0o7777, is_directory=stat.S_ISDIR(mode))

    def _set_attributes(self, made: str, status: os.stat_result, place: str) -> None:
        link = stat.S_ISLNK(status.st_mode)
        owner = self._as.owner or (status.st_uid, status.st_gid)
        os.chown(made, *owner, follow_symlinks=not link)
        if not link:
            for key in os.listxattr(place):
                if kept_xattr(key):
                    os.setxattr(made, key, os.getxattr(place, key))
            os.chmod(made, self._mode(status.st_mode))
        self._set_time(made, status)

    def _set_time(self, made: str, status: os.stat_result) -> None:
        mtime = int(status.st_mtime) if self._as.mtime is None else self._as.mtime
        os.utime(made, (mtime, mtime), follow_symlinks=not stat.S_ISLNK(status.st_mode))


def _owner(root_fd: int, step: CopyStep) -> tuple[int, int]:
    """`--chown=user[:group]` by the image's own files; a number alone is the group as well."""
    chown = step.chown.removesuffix(":")
    try:
        user = look_up(root_fd, chown).user
    except ContainerError as error:
        if not step.link:
            raise
        hint = "--link copies onto nothing, so only numbers are known there: --chown=1000:1000"
        raise BuildError(f"--chown={step.chown}: {error.message}", hint=hint) from error
    if chown.isdigit():
        return user.uid, user.uid
    return user.uid, user.gid


def _send(source: int, target: int) -> None:
    offset = 0
    while count := os.sendfile(target, source, offset, _CHUNK):
        offset += count
