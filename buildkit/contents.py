"""The digest of what a COPY source holds, and a cache that saves reading files again."""

from __future__ import annotations

import marshal
import os
import stat
import time

from runtime.image.xattrs import kept_xattr
from runtime.oci.digest import small_sha256
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash as Hash

    Stamp = tuple[int, int, int]  # size in bytes, mtime and ctime in nanoseconds

# As git's "racy" entries: a file that changed this shortly before it was read could change again
# without its times showing it, so it is not remembered. Two seconds is the grain of FAT.
_GRAIN_NS = 2_000_000_000
_FORMAT = 1


class StatCache:
    """Digests of files whose status has not changed since they were read.

    It saves reading, it never decides: what it does not know is read.
    """

    def __init__(self, path: str) -> None:
        """Load the cache at `path`, in the store; a missing or unreadable one is empty."""
        self._path = path
        self._known: dict[tuple[int, int], tuple[Stamp, bytes]] = {}
        self._changed = False
        try:
            with open(path, "rb") as file:
                version, known = marshal.load(file)
        except (OSError, ValueError, EOFError, TypeError):
            return
        if version == _FORMAT:
            self._known = known

    def look_up(self, status: os.stat_result) -> bytes | None:
        """The digest of a file, if it is known to be as it was."""
        stamp, digest = self._known.get((status.st_dev, status.st_ino), (None, None))
        return digest if stamp == _stamp(status) else None

    def add(self, status: os.stat_result, digest: bytes) -> None:
        """Remember a file that was read after `status` was taken."""
        newest = max(status.st_mtime_ns, status.st_ctime_ns)
        if newest + _GRAIN_NS < time.time_ns():
            self._known[status.st_dev, status.st_ino] = (_stamp(status), digest)
            self._changed = True

    def save(self) -> None:
        """Write the cache, if it learned something."""
        if self._changed:
            from runtime.store.store import write_atomically

            write_atomically(self._path, marshal.dumps((_FORMAT, self._known)))


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def digest(root_fd: int, path: str, known: StatCache | None = None) -> str:
    """Digest of a file or of a directory's whole content: names, types, modes, xattrs and bytes,
    and which names are hard links to one file.

    Times and owners are no part of it: COPY gives files from the context its own.
    """
    sha = small_sha256()
    links: dict[tuple[int, int], str] = {}
    fd = open_in_root(root_fd, path)  # a source that is a symlink is followed
    real = f"/proc/self/fd/{fd}"
    try:
        for name, place, status in _walk(real):
            line = f"{name}\0{stat.S_IFMT(status.st_mode):o}\0{status.st_mode & 0o7777:o}\0"
            sha.update(os.fsencode(line))
            _add_xattrs(sha, place, status)
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name and not stat.S_ISDIR(status.st_mode):
                sha.update(os.fsencode(first) + b"\0")
            if stat.S_ISREG(status.st_mode):
                sha.update(_file_digest(place, status, known))
            elif stat.S_ISLNK(status.st_mode):
                sha.update(os.fsencode(os.readlink(place)) + b"\0")
            elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                sha.update(str(status.st_rdev).encode() + b"\0")
    except OSError as error:
        inside = os.fsdecode(error.filename or "").removeprefix(real).strip("/")
        named = os.path.join(path, inside) if inside else path
        raise OSError(error.errno, error.strerror, named) from error
    finally:
        os.close(fd)
    return sha.hexdigest()


def _walk(real: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name, place and status of everything below `real`, in a fixed order, itself first."""
    status = os.stat(real)
    yield ".", real, status
    stack = [(".", real)] if stat.S_ISDIR(status.st_mode) else []
    while stack:
        above, directory = stack.pop()
        for name in sorted(os.listdir(directory), key=os.fsencode):
            place = f"{directory}/{name}"
            status = os.lstat(place)
            yield f"{above}/{name}", place, status
            if stat.S_ISDIR(status.st_mode):
                stack.append((f"{above}/{name}", place))


def _file_digest(path: str, status: os.stat_result, known: StatCache | None) -> bytes:
    found = None if known is None else known.look_up(status)
    if found is None:
        import hashlib  # OpenSSL: worth its loading where there is much to read

        with open(path, "rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").digest()
        if known is not None:
            known.add(status, found)
    return found


def _add_xattrs(sha: Hash, place: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        return
    for key in sorted(os.listxattr(place)):
        if kept_xattr(key):
            sha.update(os.fsencode(key) + b"=" + os.getxattr(place, key) + b"\0")
