"""Reading tar headers: ustar, PAX (POSIX.1-2001) and GNU long names, from a forward stream.

Names are `str` with surrogateescape, as everywhere in Python's `os`: file names need not be
UTF-8. Writing is `buildkit.tarwriter`. Extraction is not here, and tarfile's is not used: its
filters either let hard links escape or refuse normal systems.
"""

from __future__ import annotations

import os
import zlib

from runtime.errors import ImageError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    # An Entry's fields, in their order.
    Values = tuple[
        str, str, int, int, int, int, int, str, tuple[int, int], tuple[tuple[str, bytes], ...],
        "Sparse | None",
    ]  # fmt: skip

    class Stream(Protocol):
        """Bytes that are read once, in order."""

        def read(self, size: int) -> bytes:
            """Return exactly `size` bytes, or fewer at the end."""

        def skip(self, size: int) -> None:
            """Pass over `size` bytes; ImageError if there are fewer."""

    class Positioned(Stream, Protocol):
        """A stream that knows where it is."""

        position: int


BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = "0123456"
_END = bytes(BLOCK)
_OCTAL = b"01234567 \0"  # what a field of digits is made of
_KINDS = frozenset("0123456")
_PLAIN_KINDS = {ord(kind): kind for kind in (REGULAR, HARDLINK, SYMLINK, DIRECTORY)}
_RIGHTS: dict[bytes, tuple[int, int, int]] = {}  # mode, uid and gid of header fields
_TIMES: dict[bytes, int] = {}
_MOST_KNOWN = 4096
_MAX_EXTENSION = 1 << 20  # bytes of one PAX header or GNU long name
_MAX_PATH = 4096  # PATH_MAX
_MAX_ID = (1 << 32) - 1
_XATTR = "SCHILY.xattr."
_SPARSE = "GNU.sparse."


class Sparse(Record):
    """Where the content of a sparse file belongs: the rest of its `size` bytes is zeros."""

    size: int
    extents: tuple[tuple[int, int], ...]  # offset and length, ascending


class Entry(Record):
    """One member of a tar; its `size` bytes of content follow in the stream."""

    name: str
    kind: str  # one of the type flags above
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int  # whole seconds; fractions are dropped
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    sparse: Sparse | None = None


def entries(stream: Stream, where: str, *, sparse: bool = False) -> Iterator[Entry]:
    """Yield the members in order; content that the caller has not read is skipped by the caller.

    The caller must consume `entry.size` bytes and `padding(entry.size)` before the next one.
    Sparse files are refused unless the caller says that it can make them, by `sparse`. Raises
    ImageError naming `where` and the member for anything malformed.
    """
    for values in members(stream, where, sparse=sparse):
        yield Entry.restore(values)


def members(stream: Stream, where: str, *, sparse: bool = False) -> Iterator[Values]:
    """The same as bare tuples, for who reads tens of thousands and keeps few of their fields."""
    pax: dict[str, bytes] = {}
    long_name = long_link = None
    while True:
        header = stream.read(BLOCK)
        if len(header) < BLOCK:
            raise ImageError(f"{where}: the tar ends without its end marker: truncated")
        if not (pax or long_name or long_link):
            values = _plain(header)
            if values is not None:
                yield values
                continue
        if header == _END:
            return
        numbers = _numbers(header, where)
        kind = numbers[0]
        if kind in "xgLK":
            extension = _extension(stream, numbers[4], where)
            if kind == "x":
                pax = _pax_records(extension, where)
            elif kind == "L":
                long_name = _text(extension)
            elif kind == "K":
                long_link = _text(extension)
            continue  # a global header ("g") carries nothing that a layer needs
        if sparse and kind in "0S" and (kind == "S" or any(map(_is_sparse, pax))):
            from runtime.image.sparse import read_map  # rare

            plain = {key: value for key, value in pax.items() if not _is_sparse(key)}
            if _SPARSE + "name" in pax:
                plain["path"] = pax[_SPARSE + "name"]
            numbers = (REGULAR, *numbers[1:])
            entry = Entry.restore(_values(header, numbers, plain, long_name, long_link, where))
            yield read_map(entry, header, pax, stream, where).values()
        else:
            yield _values(header, numbers, pax, long_name, long_link, where)
        if pax or long_name or long_link:
            pax, long_name, long_link = {}, None, None


class FileStream:
    """A file as a `Stream`; `skip` seeks, and `position` says where a content begins."""

    def __init__(self, fd: int, where: str, *, start: int = 0, size: int | None = None):
        """Of `size` bytes from `start` on, or of all."""
        self.fd, self._where = fd, where
        self._end = os.fstat(fd).st_size if size is None else start + size
        self.position = start

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        position = self.position
        if size > self._end - position:
            size = self._end - position
        content = os.pread(self.fd, size, position)
        self.position = position + len(content)
        return content

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; ImageError if there are fewer."""
        self.position += size
        if self.position > self._end:
            missing = self.position - self._end
            raise ImageError(f"{self._where}: truncated: at least {missing} bytes are missing")


def inside_root(name: str, where: str) -> str:
    """A member's path, without `.` and double slashes; ImageError if it leaves the root."""
    if "//" not in name and "/." not in name and name[:1] not in "./" and name[-1] != "/":
        return name  # nearly all are written like this
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageError(f"{where}: {name}: leaves the image root")
    return "/".join(parts)


def is_header(block: bytes) -> bool:
    """Whether bytes are the header of a member: its checksum says so."""
    try:
        return len(block) == BLOCK and any(block) and bool(_check(block, ""))
    except ImageError:
        return False


def _is_sparse(key: str) -> bool:
    return key.startswith(_SPARSE)


def padding(size: int) -> int:
    """Bytes between the end of a content of `size` bytes and the next header."""
    return -size % BLOCK


def _check(header: bytes, where: str) -> tuple[str, int]:
    """Verify a header's checksum; return its type flag and size."""
    kind, _, _, _, size, _ = _numbers(header, where)
    return kind, size


def _plain(header: bytes) -> Values | None:
    """A member of which the header says everything, in octal digits, but for devices.

    Nearly all are such, and have their owners, modes and times in common.
    """
    kind = _PLAIN_KINDS.get(header[156])
    size, checksum = header[124:135], header[148:154]
    if kind is None or header[345] or not size.isdigit() or not checksum.isdigit():
        return None
    owned, times = header[100:124], header[136:148]
    rights, mtime = _RIGHTS.get(owned), _TIMES.get(times)
    if rights is None or mtime is None:
        if len(_RIGHTS) + len(_TIMES) > _MOST_KNOWN:
            _RIGHTS.clear()
            _TIMES.clear()
        if owned.translate(None, _OCTAL) or times.translate(None, _OCTAL):
            return None
        try:
            mode, uid, gid = (int(owned[at : at + 7], 8) for at in (0, 8, 16))
            rights, mtime = (mode & 0o7777, uid, gid), int(times[:11], 8)
        except ValueError:
            return None
        if (owned[7] | owned[15] | owned[23] | times[11]) not in (0, 32):
            return None
        _RIGHTS[owned], _TIMES[times] = rights, mtime
    # The sum is over the header with its own field (8 bytes) taken as blanks. The lower half of
    # Adler-32 is one more than a sum of bytes, modulo 65521 (RFC 1950).
    found = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[148:156]) + 8 * 0x20
    try:
        if found != int(checksum, 8) or header[135] not in (0, 32):
            return None
        length = int(size, 8) if kind == REGULAR else 0
    except ValueError:
        return None
    mode, uid, gid = rights
    name = header[: header.find(0, 0, 100) % 101].decode("utf-8", "surrogateescape")
    link = _text(header[157:257]) if header[157] else ""
    return name, kind, mode, uid, gid, length, mtime, link, (0, 0), (), None


def _numbers(header: bytes, where: str) -> tuple[str, int, int, int, int, int]:
    """The type flag of a header whose checksum is right, then mode, uid, gid, size and mtime."""
    kind = chr(header[156])
    if kind in "\x007":
        kind = "0"
    expected = sum(header) - sum(header[148:156]) + 8 * 0x20
    if _number(header[148:156], where) != expected:
        raise ImageError(f"{where}: not a tar (a header has a wrong checksum)")
    return (
        kind,
        _number(header[100:108], where),
        _number(header[108:116], where),
        _number(header[116:124], where),
        _number(header[124:136], where),
        _number(header[136:148], where),
    )


def _number(field: bytes, where: str) -> int:
    if field[0] & 0x80:  # base-256, GNU's extension for what octal can't hold
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] == 0xFF:
            value -= 1 << (8 * len(field) - 1)
        return value
    digits = field.strip(b" \0")
    # int() alone would take signs and underscores, which other readers do not.
    if not digits.strip(b"01234567"):
        return int(digits, 8) if digits else 0
    raise ImageError(f"{where}: malformed number {field!r} in a tar header")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _extension(stream: Stream, size: int, where: str) -> bytes:
    if not 0 <= size <= _MAX_EXTENSION:
        raise ImageError(f"{where}: an extended header of {size} bytes")
    content = stream.read(size)
    if len(content) < size:
        raise ImageError(f"{where}: truncated in an extended header")
    stream.skip(padding(size))
    return content


def _pax_records(content: bytes, where: str) -> dict[str, bytes]:
    """Parse "LENGTH KEY=VALUE\\n" records (pax(1), "pax Extended Header")."""
    records: dict[str, bytes] = {}
    numbers: list[bytes] = []
    start = 0
    while start < len(content):
        blank = content.find(b" ", start, start + 8)
        try:
            end = start + int(content[start:blank])
        except ValueError:
            end = -1
        equals = content.find(b"=", blank, end)
        if blank < 0 or equals < 0 or not start < end <= len(content) or content[end - 1] != 10:
            raise ImageError(f"{where}: malformed PAX record")
        key = content[blank + 1 : equals].decode("utf-8", "surrogateescape")
        if "\0" in key:
            raise ImageError(f"{where}: malformed PAX record {key!r}")
        value = content[equals + 1 : end - 1]
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            numbers.append(value)
        records[key] = value
        start = end
    if numbers:  # format 0.0 repeats the two: together they are the map of format 0.1
        records["GNU.sparse.map"] = b",".join(numbers)
    return records


def _values(
    header: bytes,
    numbers: tuple[str, int, int, int, int, int],
    pax: dict[str, bytes],
    long_name: str | None,
    long_link: str | None,
    where: str,
) -> Values:
    kind, mode, uid, gid, size, mtime = numbers
    name = _text(header[:100])
    if header[345] and header[257:263] == b"ustar\0":
        name = f"{_text(header[345:500])}/{name}"
    name = long_name or name
    link = long_link or (_text(header[157:257]) if header[157] else "")
    if pax:
        name = _text(pax["path"]) if "path" in pax else name
        link = _text(pax["linkpath"]) if "linkpath" in pax else link
        size = _decimal(pax, "size", size, where)
        uid = _decimal(pax, "uid", uid, where)
        gid = _decimal(pax, "gid", gid, where)
        mtime = _decimal(pax, "mtime", mtime, where)
        if any(map(_is_sparse, pax)):
            raise ImageError(f"{where}: {name}: sparse members are not supported")
    if kind not in _KINDS:
        raise ImageError(f"{where}: {name}: member type {kind!r} is not supported")
    if len(name) > _MAX_PATH or len(link) > _MAX_PATH:
        raise ImageError(f"{where}: a path of {max(len(name), len(link))} characters")
    if not (0 <= uid < _MAX_ID and 0 <= gid < _MAX_ID):
        raise ImageError(f"{where}: {name}: owner {uid}:{gid} is out of range")
    if not 0 <= size < 1 << 62:
        raise ImageError(f"{where}: {name}: size {size} is out of range")
    device = (0, 0)
    if kind in "34":
        device = (_number(header[329:337], where), _number(header[337:345], where))
        if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):  # the kernel's dev_t
            raise ImageError(f"{where}: {name}: device {device[0]}:{device[1]} is out of range")
    return (
        name,
        kind,
        mode & 0o7777,
        uid,
        gid,
        size if kind == "0" else 0,
        max(-(1 << 31), min(mtime, 1 << 33)),
        link,
        device,
        _xattrs(pax) if pax else (),
        None,
    )


def _xattrs(pax: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (key[len(_XATTR) :], value) for key, value in pax.items() if key.startswith(_XATTR)
    )


def _decimal(pax: dict[str, bytes], key: str, otherwise: int, where: str) -> int:
    if key not in pax:
        return otherwise
    text = pax[key].split(b".", 1)[0]
    if not text.removeprefix(b"-").isdigit() or len(text) > 20:
        raise ImageError(f"{where}: PAX {key} is {pax[key][:40]!r}")
    return int(text)
