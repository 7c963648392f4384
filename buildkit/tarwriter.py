"""Writing deterministic tars: ustar headers, PAX records only for what ustar cannot hold.

Numeric owners, whole-second times, no atime or ctime, no user names: the same entries give the
same bytes on any machine. `runtime.image.tar` reads what this writes.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from zlib import adler32

from runtime.image.hashing import Hasher
from runtime.image.tar import BLOCK, DIRECTORY, REGULAR, SYMLINK, Entry, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.counting import Count

_CHUNK = 1 << 20
_LARGE = 1 << 16  # bytes that are not worth copying to save a call
_ZEROS = bytes(BLOCK)
# The fields of POSIX ustar: name; mode, uid and gid; size; mtime; checksum; type flag; what a link
# leads to; magic and version, and the names of owners, which are left empty; device; prefix.
_HEADER = struct.Struct("100s24s12s12s8sc100s8s64x16s155s12x")
_NAME, _PREFIX, _LINK = 100, 155, 100  # bytes of the ustar fields
_OCTAL_8 = 1 << 21  # first value that seven octal digits cannot hold
_OCTAL_12 = 1 << 33


class EndedError(OSError):
    """A file is shorter than it was said to be."""


class TarWriter:
    """Writes entries to a descriptor, and computes the digest of all that it wrote."""

    def __init__(self, fd: int, count: Count | None = None) -> None:
        self._fd = fd
        self._count = count
        self._hash = Hasher()
        self._held: list[bytes] = []  # small pieces, to be written together
        self._held_size = 0
        self.size = 0
        self._entries = 0

    def add(self, entry: Entry, content: bytes = b"") -> None:
        """Write an entry whose content, if any, is in memory."""
        self._entries += 1
        self._write(header(entry) + content + _ZEROS[: padding(len(content))])

    def add_file(self, entry: Entry, fd: int) -> None:
        """Write a regular file from a descriptor; EndedError if it is shorter than its entry."""
        self._entries += 1
        left = entry.size
        if left <= _LARGE:
            content = os.read(fd, left)
            if len(content) == left:
                self._write(b"".join((header(entry), content, _ZEROS[: padding(left)])))
                return
            os.lseek(fd, -len(content), os.SEEK_CUR)
        self._write(header(entry))
        while left:
            chunk = os.read(fd, min(left, _CHUNK))
            if not chunk:
                raise EndedError(5, f"{entry.name}: became shorter while it was read")
            self._write(chunk)
            left -= len(chunk)
        self._write(_ZEROS[: padding(entry.size)])

    def finish(self) -> str:
        """Write the end marker; returns the digest of the whole tar."""
        self._write(bytes(2 * BLOCK))
        self._flush()
        return "sha256:" + self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        if len(data) >= _LARGE:
            self._flush()
            self._write_out(data)
            return
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_size = self._held, [], 0
        self._write_out(b"".join(held))

    def _write_out(self, data: bytes) -> None:
        self._hash.update(data)
        if self._count is not None:
            self._count.set(self.size, files=self._entries)
        while data:
            data = data[os.write(self._fd, data) :]


def header(entry: Entry) -> bytes:
    """The header blocks of one entry, PAX header included where it is needed."""
    records: dict[str, bytes] = {}
    name = os.fsencode(entry.name + ("/" if entry.kind == DIRECTORY else ""))
    link = os.fsencode(entry.link)
    split = _split(name)
    if split is None:
        records["path"] = name
        split = (b"", name[:_NAME])
    if len(link) > _LINK:
        records["linkpath"] = link
    # A reader must not guess the encoding of a name: what is not ASCII is said to be UTF-8.
    if not name.isascii():
        records["path"] = name
    if not link.isascii():
        records["linkpath"] = link
    mode = 0o777 if entry.kind == SYMLINK else entry.mode
    uid, gid, size, mtime = entry.uid, entry.gid, entry.size, entry.mtime
    if not (0 <= uid | gid < _OCTAL_8 and 0 <= size | mtime < _OCTAL_12):
        for key, value, limit in (
            ("uid", uid, _OCTAL_8),
            ("gid", gid, _OCTAL_8),
            ("size", size, _OCTAL_12),
            ("mtime", mtime, _OCTAL_12),
        ):
            if not 0 <= value < limit:
                records[key] = str(value).encode()
    for key, content in entry.xattrs:
        records[f"SCHILY.xattr.{key}"] = content
    main = _block(split, entry, link[:_LINK], mode)
    if not records:
        return main
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    return _extension(entry.name.rsplit("/", 1)[-1][:64], body) + main


def comment(size: int) -> bytes:
    """A PAX header that says nothing, in so many bytes: two blocks or more."""
    body = size - BLOCK
    fixed = len(f"{body} comment=\n")
    return _extension("comment", f"{body} comment={' ' * (body - fixed)}\n".encode())


def _extension(name: str, body: bytes) -> bytes:
    """A PAX header of records, for the entry that follows."""
    entry = Entry(
        name=f"PaxHeaders/{name}", kind="x", mode=0o644, uid=0, gid=0, size=len(body), mtime=0
    )
    block = _block((b"", os.fsencode(entry.name)[:_NAME]), entry, b"", 0o644)
    return block + body + bytes(padding(len(body)))


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Divide a name between ustar's prefix and name fields, if it can be."""
    if len(name) <= _NAME:
        return b"", name
    slash = name.rfind(b"/", 0, _PREFIX + 1)
    if slash > 0 and 0 < len(name) - slash - 1 <= _NAME:
        return name[:slash], name[slash + 1 :]
    return None


def _record(key: str, value: bytes) -> bytes:
    """One PAX record; its length counts itself."""
    rest = b" " + os.fsencode(key) + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _block(split: tuple[bytes, bytes], entry: Entry, link: bytes, mode: int) -> bytes:
    prefix, name = split
    major, minor = entry.device
    block = _HEADER.pack(
        name,
        _owned(mode, entry.uid, entry.gid),
        _octal(entry.size if entry.kind in (REGULAR, "x") else 0, 12, _OCTAL_12),
        _octal(entry.mtime, 12, _OCTAL_12),
        b" " * 8,
        entry.kind.encode(),
        link,
        b"ustar\00000",
        _device(major, minor),
        prefix,
    )
    # The lower half of Adler-32 is one more than a sum of bytes, modulo 65521 (RFC 1950), which
    # half a block cannot reach.
    checksum = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    return b"%b%06o\0 %b" % (block[:148], checksum, block[156:])


@functools.lru_cache(256)  # most files of a layer are alike
def _owned(mode: int, uid: int, gid: int) -> bytes:
    return b"".join(_octal(value, 8, _OCTAL_8) for value in (mode, uid, gid))


@functools.lru_cache(16)
def _device(major: int, minor: int) -> bytes:
    return _octal(major, 8, _OCTAL_8) + _octal(minor, 8, _OCTAL_8)


@functools.lru_cache(4096)
def _octal(value: int, width: int, limit: int) -> bytes:
    if not 0 <= value < limit:
        value = 0  # the PAX record says it
    return f"{value:0{width - 1}o}\0".encode()


def write_file(path: str, write: Callable[[int], None]) -> None:
    """Create a file, let `write` fill it, and make it durable."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write(fd)
        os.fsync(fd)
    finally:
        os.close(fd)
