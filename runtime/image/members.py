"""The files of an image archive or a layout by their names, read where they lie.

Members are found once. Only regular files count; what a link of the archive leads to is looked
for among its members (docker before 25 wrote a layer that two images share as a link), never in a
filesystem.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.blob import BlobRange
from runtime.image.compression import MAGIC, compression_of, plain_file
from runtime.oci.digest import Digest, digest_of
from runtime.oci.reader import MAX_DOCUMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.image import Descriptor

MAX_MEMBERS = 1 << 16
_BLOBS = "blobs/sha256/"
_MOST_LINKS = 8  # that lead to each other


class Members:
    """What an archive holds."""

    def __init__(self, name: str, files: dict[str, BlobRange], links: dict[str, str]) -> None:
        self.name = name  # how errors call the archive
        self._files = files
        self._links = links

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def find(self, name: object) -> BlobRange:
        """Where a file's bytes are; raises ImageError."""
        blob = self._found(name) if isinstance(name, str) else None
        if blob is None:
            raise ImageError(f"{self.name}: {name}: no such file in the archive")
        return blob

    def document(self, name: object) -> bytes:
        """The content of a file that is read as a whole; raises ImageError."""
        blob = self.find(name)
        if blob.size > MAX_DOCUMENT:
            raise ImageError(f"{self.name}: {name}: {blob.size} bytes, too large for a document")
        return self.piece(blob, blob.size)

    def piece(self, blob: BlobRange, size: int) -> bytes:
        """The first bytes of a blob; raises ImageError."""
        try:
            with open(blob.path, "rb") as file:
                return os.pread(file.fileno(), min(size, blob.size), blob.offset)
        except OSError as error:
            raise ImageError(f"{self.name}: {error.strerror}") from error

    def has(self, digest: Digest) -> bool:
        """Whether there is a blob of that name."""
        return self._found(_BLOBS + digest.hex) is not None

    def place(self, descriptor: Descriptor) -> BlobRange:
        """Where the bytes of a blob are, of the size that was promised; raises ImageError."""
        blob = self.find(_BLOBS + descriptor.digest.hex)
        if blob.size != descriptor.size:
            raise ImageError(
                f"{self.name}: blob {descriptor.digest}: size is {blob.size} bytes, "
                f"descriptor says {descriptor.size}"
            )
        return blob

    def read(self, descriptor: Descriptor) -> bytes:
        """Read a document blob, verified; raises ImageError."""
        self.place(descriptor)
        document = self.document(_BLOBS + descriptor.digest.hex)
        found = digest_of(document)
        if found != Digest(descriptor.digest):
            raise ImageError(f"{self.name}: blob {descriptor.digest}: its digest is {found}")
        return document

    def _found(self, name: str) -> BlobRange | None:
        for _ in range(_MOST_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None


def open_members(path: str, *, room: str = "") -> Members:
    """The members of an archive, compressed as a whole or not, or of the directory of a layout.

    One that is compressed goes to a file without a name in the directory `room` first (empty:
    where temporary files are), which is there as long as this process. Raises ImageError naming
    the path, and StoreError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    try:
        kind = os.fstat(fd).st_mode & 0o170000
        if kind == 0o040000:
            return Members(path, _layout_files(path), {})
        if kind != 0o100000:
            raise ImageError(f"{path}: not a regular file, so not an image archive")
        try:
            start = os.pread(fd, MAGIC, 0)
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}") from error
        if compression_of(start):
            return read_stream(fd, path, room=room)
        return _archive(path, path, fd)
    finally:
        os.close(fd)


def read_stream(fd: int, name: str, *, room: str = "") -> Members:
    """The same of all that can be read from a descriptor, which errors call `name`."""
    plain = plain_file(fd, name, room)
    # Not closed: blobs are found by this path.
    return _archive(name, f"/proc/self/fd/{plain}", plain)


def _archive(name: str, path: str, fd: int) -> Members:
    files: dict[str, BlobRange] = {}
    links: dict[str, str] = {}
    stream = tar.FileStream(fd, name)
    if os.fstat(fd).st_size == 0:
        raise ImageError(f"{name}: the file is empty")
    for entry in tar.entries(stream, name):
        member = entry.name.removeprefix("./")
        if entry.kind in (tar.REGULAR, tar.SYMLINK, tar.HARDLINK) and (
            member in files or member in links
        ):
            # Some readers take the first, others the last.
            raise ImageError(f"{name}: {member}: it is there twice")
        if entry.kind == tar.REGULAR:
            files[member] = BlobRange(path=path, offset=stream.position, size=entry.size)
        elif entry.kind in (tar.SYMLINK, tar.HARDLINK):
            links[member] = _target(member, entry.link, symbolic=entry.kind == tar.SYMLINK)
        if len(files) + len(links) > MAX_MEMBERS:
            raise ImageError(f"{name}: more than {MAX_MEMBERS} members")
        stream.skip(entry.size + tar.padding(entry.size))
    return Members(name, files, links)


def _target(member: str, link: str, *, symbolic: bool) -> str:
    """The member that a link leads to: a hard link by its name, a symlink from where it is."""
    if not symbolic:
        return link.removeprefix("./")
    return os.path.normpath(os.path.join(os.path.dirname(member), link))


def _layout_files(path: str) -> dict[str, BlobRange]:
    """The files of a layout; only what is at its place by the specification is looked at."""
    files: dict[str, BlobRange] = {}
    for folder in ("", _BLOBS):
        try:
            with os.scandir(f"{path}/{folder}") as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        name = f"{folder}{entry.name}"
                        files[name] = BlobRange(path=f"{path}/{name}", offset=0, size=size)
        except OSError as error:
            where = f"{path}: a directory, but no OCI layout"
            raise ImageError(f"{where}: {folder or '.'}: {error.strerror}") from error
    return files
