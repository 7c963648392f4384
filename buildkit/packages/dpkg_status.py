"""dpkg's database: var/lib/dpkg/status, or a file for each package in status.d (distroless).

(deb-control(5), dpkg-query(1) "Package states".)
"""

from __future__ import annotations

from buildkit.packages.errors import PackageError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = "var/lib/dpkg/status"
STATUS_FOLDER = "var/lib/dpkg/status.d"

# Whose files are there and whose scripts have run; a file of status.d most often has no state.
_INSTALLED = {"installed", "triggers-awaited", "triggers-pending"}


class DpkgPackage(Record):
    """An installed package, its fields as they are written."""

    name: str
    version: str
    arch: str
    source: str  # name of the source package
    source_version: str
    maintainer: str
    homepage: str
    summary: str


def read_status(content: bytes, where: str) -> Iterator[DpkgPackage]:
    """The packages that are installed, in the order of the file; raises PackageError."""
    text = content.decode("utf-8", "replace")
    for line, fields in stanzas(text, where):
        name = fields.get("package", "")
        state = fields.get("status", "install ok installed").split()
        if len(state) != 3:
            raise PackageError(f"{where}:{line}: status {fields['status']!r} of package {name!r}")
        if state[2] not in _INSTALLED:
            continue
        version = fields.get("version", "")
        if not name or not version:
            missing = "Version" if name else "Package"
            raise PackageError(f"{where}:{line}: a package without the field {missing}")
        source, _, rest = fields.get("source", name).partition(" ")
        yield DpkgPackage(
            name=name,
            version=version,
            arch=fields.get("architecture", ""),
            source=source,
            source_version=rest.strip(" ()") or version,
            maintainer=fields.get("maintainer", ""),
            homepage=fields.get("homepage", ""),
            summary=fields.get("description", "").partition("\n")[0],
        )


def stanzas(text: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The stanzas of a control file: number of the first line, and name in lower case -> value.

    Values keep their line breaks. Raises PackageError for a line that is no field.
    """
    fields: dict[str, str] = {}
    first, last = 1, ""
    # Not splitlines(), which would also break at what is no line break in such a file.
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        if not line:
            if fields:
                yield first, fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if not last:
                raise PackageError(f"{where}:{number}: a continuation line without a field")
            fields[last] += f"\n{line.strip()}"
        elif line[0] != "#":
            name, colon, value = line.partition(":")
            if not colon or not name or " " in name:
                raise PackageError(f"{where}:{number}: {line[:60]!r} is no field")
            if not fields:
                first = number
            last = name.lower()
            fields[last] = value.strip()
    if fields:
        yield first, fields
