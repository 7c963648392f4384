"""What a .deb file says of itself: its control file and its time; its content is not looked at.

(deb(5): an ar archive of debian-binary, control.tar and data.tar.)
"""

from __future__ import annotations

import tarfile
from io import BytesIO

from buildkit.packages.dpkg_status import stanzas
from buildkit.packages.errors import PackageError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes of a member's header: name 16, time 12, owner 6, group 6, mode 8, size 10, 2
_MAX_CONTROL = 1 << 26  # bytes; the largest of Debian have some megabytes of md5sums


class DebFile(Record):
    """The control file of a package, and when it was built."""

    text: str  # as it is written, without empty lines at its end
    fields: dict[str, str]  # by name in lower case
    built: int  # seconds: dpkg-deb takes SOURCE_DATE_EPOCH, which is the time of its changelog


def read_deb(file: BinaryIO) -> DebFile:
    """Read a package from its first byte on, as far as its control file; raises PackageError."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise PackageError("not a Debian package")
    while header := file.read(_HEADER):
        if len(header) < _HEADER or header[58:] != b"`\n":
            raise PackageError("Debian package: damaged: no ar member where one must be")
        try:
            name = header[:16].decode("ascii").rstrip(" ").rstrip("/")
            built, size = int(header[16:28] or b"0"), int(header[48:58])
        except ValueError:
            raise PackageError("Debian package: damaged: an ar member's header") from None
        if name.startswith("control.tar"):
            if size > _MAX_CONTROL:
                raise PackageError(f"Debian package: {name} of {size} bytes")
            text = _control(name, file.read(size))
            found = [fields for _, fields in stanzas(text, "control")]
            if len(found) != 1:
                raise PackageError("Debian package: control is not one stanza")
            return DebFile(text=text.strip("\n"), fields=found[0], built=max(built, 0))
        file.seek(size + size % 2, 1)
    raise PackageError("Debian package: no control.tar in it")


def _control(name: str, content: bytes) -> str:
    """The control file of a control.tar."""
    try:
        with tarfile.open(fileobj=BytesIO(_decompressed(name, content))) as archive:
            for member in archive:
                if member.name.removeprefix("./") == "control" and member.isfile():
                    found = archive.extractfile(member)
                    assert found is not None
                    return found.read().decode("utf-8", "replace")
    except tarfile.TarError as error:
        raise PackageError(f"Debian package: {name}: {error}") from error
    raise PackageError(f"Debian package: no control file in {name}")


def _decompressed(name: str, content: bytes) -> bytes:
    kind = name.removeprefix("control.tar")
    if kind == ".xz":
        import lzma

        try:
            return lzma.decompress(content)
        except lzma.LZMAError as error:
            raise _damaged(name, error) from error
    if kind == ".gz":
        import gzip
        import zlib

        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(name, error) from error
    if kind == ".zst":
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(content) as reader:
                return reader.read()
        except zstandard.ZstdError as error:
            raise _damaged(name, error) from error
    if kind:
        raise PackageError(f"Debian package: {name} is compressed in an unknown way")
    return content


def _damaged(name: str, error: Exception) -> PackageError:
    return PackageError(f"Debian package: {name} is damaged: {error}")
