"""Trees of files by descriptors: walked, merged into others, written as tar and read from it.

Both sides may be a stranger's and change meanwhile: no link is followed below where a tree begins.
"""

from __future__ import annotations

import errno
import os
import tarfile

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox import syscalls
from runtime.sandbox.rootpath import MAX_LINKS, make_directories
from runtime.sandbox.tree_copy import open_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_KIND, _DIRECTORY, _FILE, _LINK = 0o170000, 0o040000, 0o100000, 0o120000
_PIPE = 0o010000
_NODES = {0o020000: tarfile.CHRTYPE, 0o060000: tarfile.BLKTYPE, _PIPE: tarfile.FIFOTYPE}
_FOREIGN_XATTRS = ("trusted.", "security.selinux", "system.", "user.overlay.")


class Attributes(Record):
    """Whose a file is, and what else is told of it beside its content."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int


class Found(Record):
    """One file of a tree."""

    path: str  # from the top, "./a/b"; "." is the top itself
    folder: int  # descriptor of its directory, open until the next is asked for
    name: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.status.st_mode & _KIND == _DIRECTORY

    @property
    def attributes(self) -> Attributes:
        """What a copy of it gets."""
        status = self.status
        return Attributes(
            mode=status.st_mode & 0o7777,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
        )


def walk(top: int, *, one_filesystem: bool = False) -> Iterator[Found]:
    """All that is below a directory, each directory before what is in it.

    With `one_filesystem` what is mounted in it is left out, but for the directories.
    """
    device = os.stat(top).st_dev
    waiting = ["."]
    while waiting:
        folder = waiting.pop()
        try:
            fd = open_below(top, folder)
        except FileNotFoundError:  # removed since it was listed
            continue
        try:
            for name in sorted(os.listdir(fd)):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found = Found(path=f"{folder}/{name}", folder=fd, name=name, status=status)
                if found.is_directory and (not one_filesystem or status.st_dev == device):
                    waiting.append(found.path)
                elif one_filesystem and not found.is_directory and _is_mounted(fd, name):
                    continue  # such as a secret
                yield found
        finally:
            os.close(fd)


def _is_mounted(folder: int, name: str) -> bool:
    """Whether something is mounted on a file. (In an overlay its device tells nothing.)"""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = syscalls.openat2(folder, name, flags, resolve=syscalls.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOENT):
            raise
        return True  # or gone since it was listed, which is no file to take either
    os.close(fd)
    return False


class Target:
    """A directory that gets files; what is there already is replaced, directories are merged."""

    def __init__(self, top: int, owner: tuple[int, int] | None) -> None:
        """`owner`: of all that is made; None keeps what each has."""
        self._top = top
        self._owner = owner
        self._later: list[tuple[str, Attributes]] = []

    def take(self, found: Found, path: str) -> None:
        """Copy one file, a directory without what is in it, to a path below the top."""
        folder, _, name = path.rpartition("/")
        into = open_below(self._top, folder or ".")
        try:
            kind = found.status.st_mode & _KIND
            if kind == _DIRECTORY:
                self.make_directory(into, name, path)
                self._later.append((path, found.attributes))
                return
            self.clear(into, name, path)
            if kind == _FILE:
                source = os.open(
                    found.name,
                    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                    dir_fd=found.folder,
                )
                with open(source, "rb") as content:
                    self.write_file(into, name, content, found.attributes)
                return
            if kind == _LINK:
                os.symlink(os.readlink(found.name, dir_fd=found.folder), name, dir_fd=into)
            elif kind == _PIPE:
                os.mkfifo(name, found.status.st_mode & 0o777, dir_fd=into)
            elif kind in _NODES:
                raise ContainerError(f"{path}: is a device, which is not copied")
            else:
                return  # a socket: a copy of one is of no use
            self.own(into, name, found.attributes)
        finally:
            os.close(into)

    def make_directory(self, into: int, name: str, path: str) -> None:
        """Make a directory that may be there already; raises ContainerError."""
        try:
            os.mkdir(name, 0o700, dir_fd=into)
        except FileExistsError:
            mode = os.stat(name, dir_fd=into, follow_symlinks=False).st_mode
            if mode & _KIND != _DIRECTORY:
                raise ContainerError(f"{path}: is there, and is no directory") from None

    def write_file(self, into: int, name: str, content: IO[bytes], attributes: Attributes) -> None:
        """Make a regular file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=into), "wb") as made:
            while chunk := content.read(1 << 20):
                made.write(chunk)
            made.flush()
            self.finish_file(made.fileno(), attributes)

    def finish(self) -> None:
        """Give the directories what could only be set when they were full."""
        for path, attributes in reversed(self._later):
            fd = open_below(self._top, path)
            self.finish_file(fd, attributes)
            os.close(fd)

    def finish_file(self, fd: int, attributes: Attributes) -> None:
        """Give a file or directory its owner, mode and time."""
        os.fchown(fd, *(self._owner or (attributes.uid, attributes.gid)))
        os.fchmod(fd, attributes.mode & (0o7777 if self._owner is None else 0o1777))
        os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))

    def own(self, into: int, name: str, attributes: Attributes) -> None:
        """Give what has no mode of its own its owner and time."""
        uid, gid = self._owner or (attributes.uid, attributes.gid)
        os.chown(name, uid, gid, dir_fd=into, follow_symlinks=False)
        times = (attributes.mtime_ns, attributes.mtime_ns)
        os.utime(name, ns=times, dir_fd=into, follow_symlinks=False)

    def clear(self, into: int, name: str, path: str) -> None:
        """Make way for a file; raises ContainerError for a directory."""
        try:
            os.unlink(name, dir_fd=into)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise ContainerError(f"{path}: is there, and is a directory") from None


class TarWriter:
    """A tar of files, with owners, links and extended attributes; PAX where that is needed."""

    def __init__(self, output: IO[bytes]) -> None:
        self._tar = tarfile.open(  # noqa: SIM115  # `close` ends it
            fileobj=output, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        )
        self._links: dict[tuple[int, int], str] = {}

    def add(self, found: Found, name: str) -> None:
        """Add one file, a directory without what is in it."""
        status = found.status
        kind = status.st_mode & _KIND
        member = tarfile.TarInfo(name)
        member.mode, member.mtime = status.st_mode & 0o7777, int(status.st_mtime)
        member.uid, member.gid = status.st_uid, status.st_gid
        identity = (status.st_dev, status.st_ino)
        if kind == _DIRECTORY:
            member.type = tarfile.DIRTYPE
        elif status.st_nlink > 1 and identity in self._links:
            member.type, member.linkname = tarfile.LNKTYPE, self._links[identity]
        elif kind == _FILE:
            self._links[identity] = name
            self._add_file(found, member)
            return
        elif kind == _LINK:
            member.type = tarfile.SYMTYPE
            member.linkname = os.readlink(found.name, dir_fd=found.folder)
        elif kind in _NODES:
            member.type = _NODES[kind]
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        else:
            return
        self._tar.addfile(member)

    def _add_file(self, found: Found, member: tarfile.TarInfo) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(found.name, flags, dir_fd=found.folder), "rb") as content:
            status = os.fstat(content.fileno())
            if status.st_mode & _KIND != _FILE:
                raise ContainerError(f"{member.name}: changed while it was read")
            member.size = status.st_size
            member.pax_headers = {
                f"SCHILY.xattr.{key}": os.getxattr(content.fileno(), key).decode(
                    "utf-8", "surrogateescape"
                )
                for key in os.listxattr(content.fileno())
                if not key.startswith(_FOREIGN_XATTRS)
            }
            try:
                self._tar.addfile(member, content)
            except OSError as error:
                raise ContainerError(f"{member.name}: shrank while it was read") from error

    def add_empty(self, name: str) -> None:
        """Add an empty file that is in no tree."""
        self._tar.addfile(tarfile.TarInfo(name))

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


def extract(source: IO[bytes], top: int, owner: tuple[int, int] | None) -> None:
    """Put the files of a tar below a directory, which is the root of all its paths and links.

    Raises ContainerError for what is no tar.
    """
    try:
        with tarfile.open(fileobj=source, mode="r|*", errors="surrogateescape") as archive:
            for member in archive:
                _extract(archive, member, top, owner)
    except (tarfile.TarError, EOFError) as error:
        raise ContainerError(f"standard input: no tar: {error}") from error


def _extract(
    archive: tarfile.TarFile, member: tarfile.TarInfo, top: int, owner: tuple[int, int] | None
) -> None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ContainerError(f"{member.name!r}: leads outside")
    if not parts:
        return
    into = make_directories(top, "/".join(parts[:-1]) or ".", links=MAX_LINKS)
    target, name = Target(into, owner), parts[-1]
    attributes = _attributes(member)
    try:
        if member.isdir():
            target.make_directory(into, name, member.name)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=into)
            target.finish_file(made, attributes)
            os.close(made)
            return
        target.clear(into, name, member.name)
        if member.isfile():
            content = archive.extractfile(member)
            assert content is not None
            target.write_file(into, name, content, attributes)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=into)
            target.own(into, name, attributes)
        elif member.islnk():
            _hard_link(member, top, into, name)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o777, dir_fd=into)
            target.own(into, name, attributes)
        else:
            raise ContainerError(f"{member.name}: is a device, which is not copied")
    finally:
        os.close(into)


def _hard_link(member: tarfile.TarInfo, top: int, into: int, name: str) -> None:
    folder, _, first = os.path.normpath(f"/{member.linkname}").rpartition("/")
    source = make_directories(top, folder or ".", links=MAX_LINKS)
    try:
        os.link(first, name, src_dir_fd=source, dst_dir_fd=into, follow_symlinks=False)
    except FileNotFoundError:
        raise ContainerError(f"{member.name}: a link to nothing, {member.linkname}") from None
    finally:
        os.close(source)


def _attributes(member: tarfile.TarInfo) -> Attributes:
    return Attributes(
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime_ns=int(member.mtime * 10**9),
    )
