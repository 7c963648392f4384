"""Reading tar headers: ustar, PAX (POSIX.1-2001) and GNU long names, from a forward stream.

Names are `str` with surrogateescape, as everywhere in Python's `os`: file names need not be
UTF-8. Writing is `buildkit.tarwriter`. Extraction is not here, and tarfile's is not used: its
filters either let hard links escape or refuse normal systems.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Stream(Protocol):
        """Bytes that are read once, in order."""

        def read(self, size: int) -> bytes:
            """Return exactly `size` bytes, or fewer at the end."""

        def skip(self, size: int) -> None:
            """Pass over `size` bytes; ImageError if there are fewer."""


BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = "0123456"
_KINDS = frozenset("0123456")
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
    pax: dict[str, bytes] = {}
    long_name = long_link = None
    while True:
        header = stream.read(BLOCK)
        if len(header) < BLOCK:
            raise ImageError(f"{where}: the tar ends without its end marker: truncated")
        if not any(header):
            return
        kind, size = _check(header, where)
        if kind in "xgLK":
            extension = _extension(stream, size, where)
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
            entry = _entry(header, REGULAR, size, plain, long_name, long_link, where)
            yield read_map(entry, header, pax, stream, where)
        else:
            yield _entry(header, kind, size, pax, long_name, long_link, where)
        pax, long_name, long_link = {}, None, None


class FileStream:
    """A file as a `Stream`; `skip` seeks, and `position` says where a content begins."""

    def __init__(self, fd: int, where: str):
        self._fd, self._where = fd, where
        self._size = os.fstat(fd).st_size
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        content = os.pread(self._fd, size, self.position)
        self.position += len(content)
        return content

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; ImageError if there are fewer."""
        self.position += size
        if self.position > self._size:
            missing = self.position - self._size
            raise ImageError(f"{self._where}: truncated: at least {missing} bytes are missing")


def inside_root(name: str, where: str) -> str:
    """A member's path, without `.` and double slashes; ImageError if it leaves the root."""
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
    # The sum is over the header with its own field (8 bytes at 148) taken as blanks.
    expected = sum(header) - sum(header[148:156]) + 8 * 0x20
    if _number(header[148:156], where) != expected:
        raise ImageError(f"{where}: not a tar (a header has a wrong checksum)")
    kind = chr(header[156])
    return ("0" if kind in "\x007" else kind), _number(header[124:136], where)


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
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


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


def _entry(
    header: bytes,
    kind: str,
    size: int,
    pax: dict[str, bytes],
    long_name: str | None,
    long_link: str | None,
    where: str,
) -> Entry:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    name = _text(header[:100])
    name = long_name or (f"{prefix}/{name}" if prefix else name)
    link = long_link or _text(header[157:257])
    if pax:
        name = _text(pax["path"]) if "path" in pax else name
        link = _text(pax["linkpath"]) if "linkpath" in pax else link
        size = _decimal(pax, "size", size, where)
        if any(map(_is_sparse, pax)):
            raise ImageError(f"{where}: {name}: sparse members are not supported")
    if kind not in _KINDS:
        raise ImageError(f"{where}: {name}: member type {kind!r} is not supported")
    uid = _decimal(pax, "uid", _number(header[108:116], where), where)
    gid = _decimal(pax, "gid", _number(header[116:124], where), where)
    if len(name) > _MAX_PATH or len(link) > _MAX_PATH:
        raise ImageError(f"{where}: a path of {max(len(name), len(link))} characters")
    if not (0 <= uid < _MAX_ID and 0 <= gid < _MAX_ID):
        raise ImageError(f"{where}: {name}: owner {uid}:{gid} is out of range")
    if not 0 <= size < 1 << 62:
        raise ImageError(f"{where}: {name}: size {size} is out of range")
    device = (0, 0)
    if kind in (CHARACTER, BLOCKDEV):
        device = (_number(header[329:337], where), _number(header[337:345], where))
        if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):  # the kernel's dev_t
            raise ImageError(f"{where}: {name}: device {device[0]}:{device[1]} is out of range")
    mtime = _decimal(pax, "mtime", _number(header[136:148], where), where)
    return Entry(
        name=name,
        kind=kind,
        mode=_number(header[100:108], where) & 0o7777,
        uid=uid,
        gid=gid,
        size=size if kind == REGULAR else 0,
        mtime=max(-(1 << 31), min(mtime, 1 << 33)),
        link=link,
        device=device,
        xattrs=tuple(
            (key[len(_XATTR) :], value) for key, value in pax.items() if key.startswith(_XATTR)
        ),
    )


def _decimal(pax: dict[str, bytes], key: str, otherwise: int, where: str) -> int:
    if key not in pax:
        return otherwise
    text = pax[key].split(b".", 1)[0]
    if not text.removeprefix(b"-").isdigit() or len(text) > 20:
        raise ImageError(f"{where}: PAX {key} is {pax[key][:40]!r}")
    return int(text)
