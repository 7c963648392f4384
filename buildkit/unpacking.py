"""Unpacking an archive into a root filesystem (Dockerfile reference, "ADD").

Runs in a child that has the root mounted. Names of members are taken below the destination, and
every path is opened inside the root: symlinks, of the image or of the archive itself, lead to
what a process of the image would find there, and nowhere else.
"""

from __future__ import annotations

import os
import stat

from buildkit.archives import open_archive
from buildkit.errors import BuildError
from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.whiteouts import WHITEOUT
from runtime.image.xattrs import kept_xattr
from runtime.sandbox.rootpath import MAX_LINKS, make_directories, open_in_root
from runtime.sandbox.userns import mapped_ids
from runtime.store.workspace import remove_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.blob import PieceReader

_CHUNK = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def unpack(
    place: str, where: str, root_fd: int, destination: str, owner: tuple[int, int] | None
) -> int:
    """Unpack the archive at `place` into a directory; returns the newest time in it, in seconds.

    `where` is how errors call it; `owner`, if there is one, owns all that is made. The umask
    should be 0. Raises BuildError naming the archive and the member; what came before stays.
    """
    unpacking = _Unpacking(where, root_fd, destination, owner)
    with open_archive(place, where) as reader:
        unpacking.run(reader)
    return unpacking.newest


class _Unpacking:
    def __init__(
        self, where: str, root_fd: int, destination: str, owner: tuple[int, int] | None
    ) -> None:
        self.newest = 0
        self._where = where
        self._root_fd = root_fd
        self._destination = destination.rstrip("/")
        self._owner = owner
        self._uids = mapped_ids("uid")
        self._gids = mapped_ids("gid")
        self._directory_times: dict[str, int] = {}
        self._parent = ""
        try:
            self._parent_fd = self._make_directories("")
        except OSError as error:
            raise BuildError(f"destination {destination}: {error.strerror}") from error
        self._stream: PieceReader

    def run(self, stream: PieceReader) -> None:
        self._stream = stream
        last = ""
        try:
            for entry in tar.entries(stream, self._where, sparse=True):
                last = entry.name
                self._unpack(entry)
            last = ""
            stream.drain()
        except ImageError as error:
            named = error.message.startswith(f"{self._where}: {last}: ")
            behind = f" (in or after {last})" if last and not named else ""
            raise BuildError(f"{error.message}{behind}") from error
        except OSError as error:
            raise self._error(last, error.strerror or str(error)) from error
        finally:
            os.close(self._parent_fd)
        # Last, and deepest first: making an entry changes its directory's time.
        for path, mtime in sorted(self._directory_times.items(), reverse=True):
            try:
                fd = open_in_root(self._root_fd, self._below(path), _DIRECTORY)
            except OSError:  # a later member took its place
                continue
            os.utime(f"/proc/self/fd/{fd}", (mtime, mtime))
            os.close(fd)

    def _error(self, name: str, what: str) -> BuildError:
        return BuildError(f"{self._where}: {name}: {what}" if name else f"{self._where}: {what}")

    def _unpack(self, entry: tar.Entry) -> None:
        path = self._normalise(entry.name, entry)
        kind = entry.kind
        if kind == tar.REGULAR and entry.name.endswith("/"):
            kind = tar.DIRECTORY  # as tars from before 1988 say it
        if not path:  # the destination keeps its own attributes, as in BuildKit
            self._skip_content(entry)
            return
        self.newest = max(self.newest, entry.mtime)
        parent, _, name = path.rpartition("/")
        parent_fd = self._open_parent(parent)
        if kind == tar.DIRECTORY:
            self._make_directory(parent_fd, name, path, entry)
            self._skip_content(entry)
        elif kind == tar.HARDLINK:
            self._make_hard_link(parent_fd, name, entry)
        else:
            self._clear(parent_fd, name)
            self._make(parent_fd, name, entry, kind)

    def _normalise(self, name: str, entry: tar.Entry) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._error(entry.name, "leads out of the destination")
        if any(part.startswith(WHITEOUT) for part in parts):
            # The layer would say by it that a file below is gone (image-spec layer.md).
            raise self._error(
                entry.name, f"a name that begins with {WHITEOUT} would hide a file of the image"
            )
        return "/".join(parts)

    def _skip_content(self, entry: tar.Entry) -> None:
        self._stream.skip(entry.size + tar.padding(entry.size))

    def _below(self, path: str) -> str:
        return f"{self._destination}/{path}"

    def _make_directories(self, path: str) -> int:
        """Open a directory below the destination, made if it is missing."""
        place = self._below(path)
        owner = self._owner or (0, 0)
        return make_directories(self._root_fd, place, 0o755, owner, links=MAX_LINKS)

    def _open_parent(self, parent: str) -> int:
        # Members of one directory follow each other: one remembered descriptor serves nearly all.
        if parent != self._parent:
            fd = self._make_directories(parent)
            os.close(self._parent_fd)
            self._parent, self._parent_fd = parent, fd
        return self._parent_fd

    def _clear(self, parent_fd: int, name: str) -> None:
        """Remove what is in the place of something that is no directory."""
        try:
            os.unlink(name, dir_fd=parent_fd)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            remove_directory(parent_fd, name)

    def _make_directory(self, parent_fd: int, name: str, path: str, entry: tar.Entry) -> None:
        fd = self._open_directory(parent_fd, name, path)
        try:
            self._set_attributes(f"/proc/self/fd/{fd}", entry)
        finally:
            os.close(fd)
        self._directory_times[path] = max(0, entry.mtime)

    def _open_directory(self, parent_fd: int, name: str, path: str) -> int:
        flags = _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                # /lib -> usr/lib: an archive's lib/ is merged with what the image's lib is.
                try:
                    return self._make_directories(path)
                except NotADirectoryError:
                    pass
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=parent_fd)
                os.mkdir(name, 0o700, dir_fd=parent_fd)
        return os.open(name, flags, dir_fd=parent_fd)

    def _make(self, parent_fd: int, name: str, entry: tar.Entry, kind: str) -> None:
        made = f"/proc/self/fd/{parent_fd}/{name}"
        if kind == tar.REGULAR:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=parent_fd)
            try:
                self._write_content(fd, entry)
            finally:
                os.close(fd)
        elif kind == tar.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent_fd)
        elif kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent_fd)
        else:
            self._make_device(parent_fd, name, entry)
        self._set_attributes(made, entry)
        mtime = max(0, entry.mtime)
        os.utime(made, (mtime, mtime), follow_symlinks=False)

    def _write_content(self, fd: int, entry: tar.Entry) -> None:
        extents = entry.sparse.extents if entry.sparse else ((0, entry.size),)
        for offset, left in extents:
            os.lseek(fd, offset, os.SEEK_SET)
            while left:
                chunk = self._stream.read(min(left, _CHUNK))
                if not chunk:
                    raise ImageError(f"{self._where}: {entry.name}: truncated")
                left -= len(chunk)
                while chunk:
                    chunk = chunk[os.write(fd, chunk) :]
        if entry.sparse:
            os.ftruncate(fd, entry.sparse.size)
        self._stream.skip(tar.padding(entry.size))

    def _make_device(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
        if entry.device == (0, 0) and kind == stat.S_IFCHR:
            raise self._error(entry.name, "device 0/0 would hide a file of the image")
        try:
            os.mknod(name, kind | 0o600, os.makedev(*entry.device), dir_fd=parent_fd)
        except PermissionError:
            what = "a device node, which only the machine's root can make"
            raise self._error(entry.name, what) from None

    def _make_hard_link(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        above, _, target = self._normalise(entry.link, entry).rpartition("/")
        try:
            above_fd = open_in_root(self._root_fd, self._below(above), _DIRECTORY)
            try:
                self._link(above_fd, target, parent_fd, name)
            finally:
                os.close(above_fd)
        except (FileNotFoundError, NotADirectoryError):
            what = f"hard link to {entry.link}, which is not there"
            raise self._error(entry.name, what) from None

    def _link(self, above_fd: int, target: str, parent_fd: int, name: str) -> None:
        first = os.stat(target, dir_fd=above_fd, follow_symlinks=False)
        try:
            there = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        # GNU tar writes a link to itself for a file that it is given twice.
        if there is None or not os.path.samestat(first, there):
            self._clear(parent_fd, name)
            os.link(target, name, src_dir_fd=above_fd, dst_dir_fd=parent_fd, follow_symlinks=False)

    def _set_attributes(self, made: str, entry: tar.Entry) -> None:
        link = entry.kind == tar.SYMLINK
        os.chown(made, *self._owner_of(entry), follow_symlinks=not link)
        if link:  # it has no mode of its own, and can have none of these attributes
            return
        # After chown, which clears file capabilities and set-uid bits.
        for key, value in entry.xattrs:
            if kept_xattr(key):
                os.setxattr(made, key, value)
        os.chmod(made, entry.mode)

    def _owner_of(self, entry: tar.Entry) -> tuple[int, int]:
        if self._owner is not None:
            return self._owner
        uid, gid = entry.uid, entry.gid
        if any(uid in ids for ids in self._uids) and any(gid in ids for ids in self._gids):
            return uid, gid
        what = f"owner {uid}:{gid} is not among the ids of who builds; --chown gives another one"
        raise self._error(entry.name, what)
