"""The digest of what a COPY source holds, and a cache that saves reading files again."""

from __future__ import annotations

import marshal
import os
import stat
import time
from itertools import islice

from buildkit.excluding import NOTHING_EXCLUDED, kept_parents
from buildkit.ignoring import ALL_VISIBLE
from runtime.image.xattrs import kept_xattr
from runtime.oci.digest import digest_of, small_sha256
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash as Hash

    from buildkit.excluding import Excluded
    from buildkit.ignoring import Visible
    from runtime.store.store import Store

    Found = tuple[str, str, os.stat_result]  # name, place, status
    Stamp = tuple[int, int, int]  # size in bytes, mtime and ctime in nanoseconds

# As git's "racy" entries: a file that changed this shortly before it was read could change again
# without its times showing it, so it is not remembered. Two seconds is the grain of FAT.
_GRAIN_NS = 2_000_000_000
_FORMAT = 1
_BATCH = 8192  # files that are held in memory at once
_MANY, _MUCH = 1000, 16 << 20  # files, or bytes in them, that several processes read
_CHUNK = 1 << 16  # most files of a context fit; a larger buffer costs more than it saves


class GoneError(OSError):
    """A file was there when its directory was listed, and not any more when it was read."""


class StatCache:
    """Digests of files whose status has not changed since they were read.

    It saves reading, it never decides: what it does not know is read.
    """

    def __init__(self, store: Store, context: str) -> None:
        """Load a context's cache from the store; a missing or unreadable one is empty."""
        self._path = f"{store.root}/cache/stat-{digest_of(os.fsencode(context)).hex}"
        self._known: dict[tuple[int, int], tuple[Stamp, bytes]] = {}
        self._seen: set[tuple[int, int]] = set()
        self._changed = False
        try:
            with open(self._path, "rb") as file:
                # From memory: marshal reads a file byte by byte, nine times as slowly.
                version, known = marshal.loads(file.read())
        except (OSError, ValueError, EOFError, TypeError):
            return
        if version == _FORMAT:
            self._known = known

    def look_up(self, status: os.stat_result) -> bytes | None:
        """The digest of a file, if it is known to be as it was."""
        file = (status.st_dev, status.st_ino)
        self._seen.add(file)
        stamp, digest = self._known.get(file, (None, None))
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

            # Files that were deleted long ago must not be kept for ever.
            if len(self._known) > 4 * len(self._seen):
                self._known = {f: self._known[f] for f in self._seen if f in self._known}
            write_atomically(self._path, marshal.dumps((_FORMAT, self._known)))


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def digest(
    root_fd: int,
    path: str,
    known: StatCache | None = None,
    visible: Visible = ALL_VISIBLE,
    excluded: Excluded = NOTHING_EXCLUDED,
) -> str:
    """Digest of a file or of a directory's visible content: names, types, modes, xattrs and
    bytes, and which names are hard links to one file.

    Times and owners are no part of it: COPY gives files from the context its own. Directories
    that `--parents` keeps above the path (`DIRECTORY/./PATH`) count as themselves.
    """
    sha = small_sha256()
    links: dict[tuple[int, int], str] = {}
    fd = open_in_root(root_fd, path)  # a source that is a symlink is followed
    real = os.readlink(f"/proc/self/fd/{fd}")  # a shorter way for each file
    try:
        for above in kept_parents(path):
            _add_directory(sha, root_fd, above)
        for (name, place, status), content in _read(_walk(real, path, visible, excluded), known):
            line = f"{name}\0{stat.S_IFMT(status.st_mode):o}\0{status.st_mode & 0o7777:o}\0"
            sha.update(os.fsencode(line))
            _add_xattrs(sha, place, status)
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name and not stat.S_ISDIR(status.st_mode):
                sha.update(os.fsencode(first) + b"\0")
            if stat.S_ISREG(status.st_mode):
                sha.update(content)
            elif stat.S_ISLNK(status.st_mode):
                sha.update(os.fsencode(os.readlink(place)) + b"\0")
            elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                sha.update(str(status.st_rdev).encode() + b"\0")
    except OSError as error:
        inside = os.fsdecode(error.filename or "").removeprefix(real).strip("/")
        named = os.path.join(path, inside) if inside else path
        if isinstance(error, FileNotFoundError) and inside:
            raise GoneError(error.errno, "is gone", named) from error
        raise OSError(error.errno, error.strerror, named) from error
    finally:
        os.close(fd)
    return sha.hexdigest()


def _walk(real: str, path: str, visible: Visible, excluded: Excluded) -> Iterator[Found]:
    """Name, place and status of what is visible below `real`, in a fixed order, itself first."""
    status = os.stat(real)
    yield ".", real, status
    stack = [(".", real)] if stat.S_ISDIR(status.st_mode) else []
    while stack:
        above, directory = stack.pop()
        inside = os.path.normpath(f"{path}/{above}")
        names = visible.names(directory, inside, os.listdir(directory))
        names = excluded.names(directory, path, above, names)
        for name in sorted(names, key=os.fsencode):
            place = f"{directory}/{name}"
            status = os.lstat(place)
            yield f"{above}/{name}", place, status
            if stat.S_ISDIR(status.st_mode):
                stack.append((f"{above}/{name}", place))


def _add_directory(sha: Hash, root_fd: int, path: str) -> None:
    fd = open_in_root(root_fd, path)
    place = f"/proc/self/fd/{fd}"
    try:
        status = os.stat(place)
        sha.update(os.fsencode(f"{path}\0{status.st_mode & 0o7777:o}\0"))
        _add_xattrs(sha, place, status)
    finally:
        os.close(fd)


def _read(found: Iterator[Found], known: StatCache | None) -> Iterator[tuple[Found, bytes]]:
    """With the digest of each file, which nothing else has."""
    while batch := list(islice(found, _BATCH)):
        digests = [b""] * len(batch)
        unknown = []
        for number, (_, _, status) in enumerate(batch):
            if stat.S_ISREG(status.st_mode):
                digest = None if known is None else known.look_up(status)
                if digest is None:
                    unknown.append(number)
                else:
                    digests[number] = digest
        for number, digest in zip(unknown, _read_all(batch, unknown), strict=True):
            digests[number] = digest
            if known is not None:
                known.add(batch[number][2], digest)
        yield from zip(batch, digests, strict=True)


def _read_all(batch: list[Found], numbers: list[int]) -> list[bytes]:
    files = [(batch[number][1], batch[number][2].st_size) for number in numbers]
    if len(files) > 1 and (len(files) >= _MANY or sum(size for _, size in files) >= _MUCH):
        from buildkit.reading import file_digests

        return file_digests(files)
    return [file_digest(path, size) for path, size in files]


def file_digest(path: str, size: int) -> bytes:
    """The sha256 of a file that is thought to have so many bytes. Raises OSError."""
    import hashlib  # OpenSSL: worth its loading where there is much to read

    sha = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = size
        while chunk := os.read(fd, _CHUNK):
            sha.update(chunk)
            left -= len(chunk)
            if left == 0:
                break  # most often saves a call
    finally:
        os.close(fd)
    return sha.digest()


def _add_xattrs(sha: Hash, place: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        return
    for key in sorted(os.listxattr(place)):
        if kept_xattr(key):
            sha.update(os.fsencode(key) + b"=" + os.getxattr(place, key) + b"\0")
