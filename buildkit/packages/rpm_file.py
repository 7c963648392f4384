"""The header of a .rpm file: lead, signature header, main header; the payload is not looked at.

(rpm docs/manual/format_v4.md.)
"""

from __future__ import annotations

from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_header import ENTRY_SIZE, START_SIZE, Header, read_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_LEAD_MAGIC = b"\xed\xab\xee\xdb"
_LEAD_SIZE = 96
_HEADER_MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"


def read_header(file: BinaryIO) -> Header:
    """Read a package from its first byte on, as far as its payload; raises PackageError.

    What the signature header says of the package (SHA256HEADER, SIGMD5, ...) is in the result, as
    it is in rpm's database. Nothing is verified.
    """
    if not _read(file, _LEAD_SIZE, "lead").startswith(_LEAD_MAGIC):
        raise PackageError("not an rpm package")
    signature, size = _read_one(file, "signature header")
    _read(file, -size % 8, "padding")
    header, _ = _read_one(file, "header")
    return header.signed_by(signature)


def _read_one(file: BinaryIO, what: str) -> tuple[Header, int]:
    if _read(file, len(_HEADER_MAGIC), what) != _HEADER_MAGIC:
        raise PackageError(f"rpm package: its {what} does not begin as one")
    start = _read(file, START_SIZE, what)
    entries, size = read_start(start)
    rest = _read(file, entries * ENTRY_SIZE + size, what)
    return Header.parse(start + rest), len(start) + len(rest)


def _read(file: BinaryIO, size: int, what: str) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise PackageError(f"rpm package: ends in its {what}")
    return found
