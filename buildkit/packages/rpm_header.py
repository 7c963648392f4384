"""rpm's header: the tags of a package, as a .rpm file and rpm's database hold them.

    il dl entry*il data       all integers big-endian; an entry is tag, type, offset, count

(rpm docs/manual/format_header.md.) Nothing is decoded before it is asked for. A package may have a
hundred thousand files, so arrays are read in one go.
"""

from __future__ import annotations

import struct

from buildkit.packages.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Tags (rpm include/rpm/rpmtag.h).
HEADERI18NTABLE = 100
SIGMD5 = 261
RSAHEADER = 268
SHA1HEADER = 269
SHA256HEADER = 273
NAME = 1000
VERSION = 1001
RELEASE = 1002
EPOCH = 1003
SUMMARY = 1004
DESCRIPTION = 1005
BUILDTIME = 1006
BUILDHOST = 1007
INSTALLTIME = 1008
SIZE = 1009
DISTRIBUTION = 1010
VENDOR = 1011
LICENSE = 1014
PACKAGER = 1015
GROUP = 1016
URL = 1020
OS = 1021
ARCH = 1022
PREIN = 1023
OLDFILENAMES = 1027
FILESIZES = 1028
FILESTATES = 1029
FILEMODES = 1030
FILERDEVS = 1033
FILEMTIMES = 1034
FILEDIGESTS = 1035
FILELINKTOS = 1036
FILEFLAGS = 1037
FILEUSERNAME = 1039
FILEGROUPNAME = 1040
SOURCERPM = 1044
FILEVERIFYFLAGS = 1045
PROVIDENAME = 1047
REQUIREFLAGS = 1048
REQUIRENAME = 1049
REQUIREVERSION = 1050
CHANGELOGTIME = 1080
FILEINODES = 1096
FILELANGS = 1097
PROVIDEFLAGS = 1112
PROVIDEVERSION = 1113
DIRINDEXES = 1116
BASENAMES = 1117
DIRNAMES = 1118
INSTALLTID = 1128
FILECLASS = 1141
DISTTAG = 1155
LONGFILESIZES = 5008
LONGSIZE = 5009
FILECAPS = 5010
FILEDIGESTALGO = 5011
PAYLOADDIGEST = 5092
PAYLOADDIGESTALGO = 5093
MODULARITYLABEL = 5096
PAYLOADDIGESTALT = 5097

_INTEGERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}  # CHAR, INT8, INT16, INT32, INT64
_STRING, _BINARY, _STRING_ARRAY, _I18N_STRING = 6, 7, 8, 9
_TYPES = {**dict.fromkeys(_INTEGERS, "integers"), _BINARY: "binary data"} | dict.fromkeys(
    (_STRING, _STRING_ARRAY, _I18N_STRING), "text"
)

# rpm reads no more than this either (lib/header.c: HEADER_TAGS_MAX, HEADER_DATA_MAX).
MAX_ENTRIES = 0xFFFF
MAX_DATA = 0x0FFFFFFF
MAX_STRINGS = 1 << 22  # a string takes a byte there, and sixty here
_SIGNATURE_TAGS = range(256, 1000)  # lib/signature.c: those that are tags of a package as well

_START = struct.Struct(">II")
_ENTRY = struct.Struct(">IIII")
START_SIZE, ENTRY_SIZE = _START.size, _ENTRY.size


class Header:
    """The tags of one package; not changed once made.

    A tag that is not there is "", () or b"". What is there and cannot be what it says it is
    raises PackageError. Text is decoded as names of files are (PEP 383): rpm demands UTF-8 of new
    packages only.
    """

    __slots__ = ("_data", "_index")

    def __init__(self, index: Mapping[int, tuple[int, int, int]], data: bytes) -> None:
        """`index` is tag -> type, offset into `data`, count; `Header.parse` makes it."""
        self._index = index
        self._data = data

    @classmethod
    def parse(cls, blob: bytes) -> Header:
        """Read a header without magic, as the database holds it; raises PackageError."""
        if len(blob) < START_SIZE:
            raise PackageError(f"rpm header: is {len(blob)} bytes long")
        entries, size = read_start(blob)
        first = START_SIZE + entries * ENTRY_SIZE
        if len(blob) != first + size:
            raise PackageError(
                f"rpm header: is {len(blob)} bytes long, its {entries} entries and {size} bytes "
                f"of data take {first + size}"
            )
        # Of a tag that is there twice rpm takes the later one: what was added at installation
        # comes after what the package came with.
        index = {
            tag: (kind, offset, count)
            for tag, kind, offset, count in _ENTRY.iter_unpack(blob[START_SIZE:first])
        }
        return cls(index, blob[first:])

    def __contains__(self, tag: int) -> bool:
        return tag in self._index

    def string(self, tag: int) -> str:
        """A text; the first of several, which of a translated one is that of the C locale."""
        found = self._texts(tag, 1)
        return found[0] if found else ""

    def strings(self, tag: int) -> tuple[str, ...]:
        """All texts of a tag; of a translated one in the order of HEADERI18NTABLE."""
        return tuple(self._texts(tag, None))

    def integers(self, tag: int) -> tuple[int, ...]:
        """An array of integers of whatever size, none of them negative."""
        entry = self._index.get(tag)
        if entry is None:
            return ()
        kind, offset, count = entry
        code = _INTEGERS.get(kind)
        if code is None:
            raise _unlike(tag, kind, "integers")
        self._check(tag, offset, count * struct.calcsize(f">{code}"))
        return struct.unpack_from(f">{count}{code}", self._data, offset)

    def integer(self, tag: int) -> int | None:
        """The first integer of a tag, None if there is none."""
        found = self.integers(tag)
        return found[0] if found else None

    def binary(self, tag: int) -> bytes:
        """The bytes of a tag."""
        entry = self._index.get(tag)
        if entry is None:
            return b""
        kind, offset, count = entry
        if kind != _BINARY:
            raise _unlike(tag, kind, "binary data")
        self._check(tag, offset, count)
        return self._data[offset : offset + count]

    def signed_by(self, signature: Header) -> Header:
        """This header with what the signature header of its file says of it (SHA256HEADER, ...).

        The others of its tags have numbers that mean something else here.
        """
        shift = len(self._data)
        added = {
            tag: (kind, offset + shift, count)
            for tag, (kind, offset, count) in signature._index.items()
            if tag in _SIGNATURE_TAGS and tag not in self._index
        }
        return Header({**self._index, **added}, self._data + signature._data)

    def _texts(self, tag: int, limit: int | None) -> list[str]:
        entry = self._index.get(tag)
        if entry is None:
            return []
        kind, offset, count = entry
        if kind not in (_STRING, _STRING_ARRAY, _I18N_STRING):
            raise _unlike(tag, kind, "text")
        if kind == _STRING and count != 1:
            raise PackageError(f"rpm header: tag {tag}: is one text and says that it is {count}")
        self._check(tag, offset, count)
        if count > MAX_STRINGS:
            raise PackageError(f"rpm header: tag {tag}: {count} texts, too many to be read")
        wanted = count if limit is None else min(limit, count)
        found = self._data[offset : self._end(offset, wanted, tag)].split(b"\0")[:-1]
        return [text.decode("utf-8", "surrogateescape") for text in found]

    def _end(self, offset: int, count: int, tag: int) -> int:
        """Where `count` texts end, each with a NUL after it."""
        find = self._data.find
        end = offset
        for _ in range(count):
            end = find(b"\0", end) + 1
            if not end:
                raise PackageError(f"rpm header: tag {tag}: its text has no end")
        return end

    def _check(self, tag: int, offset: int, size: int) -> None:
        if offset + size > len(self._data):
            raise PackageError(
                f"rpm header: tag {tag}: bytes {offset} to {offset + size} of {len(self._data)}"
            )


def read_start(blob: bytes) -> tuple[int, int]:
    """How many entries and bytes of data follow; raises PackageError if rpm would refuse them."""
    entries, size = _START.unpack_from(blob)
    if not 0 < entries <= MAX_ENTRIES:
        raise PackageError(f"rpm header: {entries} entries, 1 to {MAX_ENTRIES} expected")
    if not 0 < size <= MAX_DATA:
        raise PackageError(f"rpm header: {size} bytes of data, 1 to {MAX_DATA} expected")
    return entries, size


def _unlike(tag: int, kind: int, expected: str) -> PackageError:
    found = _TYPES.get(kind, f"of the unknown type {kind}")
    return PackageError(f"rpm header: tag {tag}: is {found}, {expected} expected")
