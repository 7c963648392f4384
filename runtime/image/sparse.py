"""Sparse members of a tar: GNU's old header, and its PAX formats 0.0, 0.1 and 1.0.

Each says in its own way which parts of a file are in the archive (GNU tar manual, "Storing Sparse
Files"); the rest are holes.
"""

from __future__ import annotations

from runtime.errors import ImageError
from runtime.image.tar import BLOCK, Sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.image.tar import Entry, Stream

_MAX_EXTENTS = 1 << 16  # the map is held in memory
_MAX_SIZE = 1 << 62
_STRUCT = 24  # bytes of an offset and a length in an old header


def read_map(
    entry: Entry, header: bytes, pax: dict[str, bytes], stream: Stream, where: str
) -> Entry:
    """The member with its map; `size` is what follows in the stream behind the map.

    Raises ImageError for a map that does not fit the member.
    """
    try:
        if header[156:157] == b"S":
            size = _octal(header[483:495])
            numbers = _old_numbers(header, stream)
            used = 0
        elif pax.get("GNU.sparse.major") == b"1":
            size = _decimal(pax["GNU.sparse.realsize"])
            numbers, used = _leading_numbers(entry, stream)
        else:
            written = pax.get("GNU.sparse.size", pax.get("GNU.sparse.realsize", b""))
            size, used = _decimal(written), 0
            numbers = [_decimal(n) for n in pax["GNU.sparse.map"].split(b",") if n]
    except (KeyError, ValueError):
        raise ImageError(f"{where}: {entry.name}: malformed map of a sparse file") from None
    extents = tuple(
        (offset, length)
        for offset, length in zip(numbers[::2], numbers[1::2], strict=False)
        if length
    )
    end = 0
    for offset, length in extents:
        if offset < end:
            raise ImageError(f"{where}: {entry.name}: the parts of a sparse file overlap")
        end = offset + length
    stored = entry.size - used
    if (
        len(numbers) % 2
        or not end <= size < _MAX_SIZE
        or sum(length for _, length in extents) != stored
    ):
        raise ImageError(f"{where}: {entry.name}: the map of a sparse file does not fit its size")
    return entry.replace(size=stored, sparse=Sparse(size=size, extents=extents))


def _old_numbers(header: bytes, stream: Stream) -> list[int]:
    """The pairs in an old header, and in the blocks that continue it."""
    numbers = list(_structs(header[386:482]))
    more = header[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK or len(numbers) > 2 * _MAX_EXTENTS:
            raise ValueError
        numbers += _structs(block[:504])
        more = block[504]
    return numbers


def _structs(fields: bytes) -> Iterator[int]:
    for start in range(0, len(fields), _STRUCT):
        if not fields[start]:  # the rest is unused
            return
        yield _octal(fields[start : start + 12])
        yield _octal(fields[start + 12 : start + _STRUCT])


def _leading_numbers(entry: Entry, stream: Stream) -> tuple[list[int], int]:
    """The pairs that stand as lines before the content, and the bytes of the blocks they fill."""
    lines: list[bytes] = []
    rest = b""
    used = 0
    count = -1
    while count < 0 or len(lines) < 1 + 2 * count:
        block = stream.read(BLOCK)
        used += BLOCK
        if len(block) < BLOCK or used > entry.size:
            raise ValueError
        *complete, rest = (rest + block).split(b"\n")
        lines += complete
        if count < 0 and lines:
            count = _decimal(lines[0])
            if count > _MAX_EXTENTS:
                raise ValueError
        elif not lines:  # a number of more than 500 digits
            raise ValueError
    return [_decimal(line) for line in lines[1 : 1 + 2 * count]], used


def _octal(field: bytes) -> int:
    if field[0] & 0x80:  # base-256, as in the header's other fields
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError
    return int(digits or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise ValueError
    return int(text)
