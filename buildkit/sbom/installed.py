"""What the package databases of an image say is installed.

An image may have several: of rpm in each place where a distribution keeps it, of dpkg as one file
or as one for each package. All that are there count.
"""

from __future__ import annotations

import os
import tempfile

from buildkit.errors import BuildError, DiskError
from buildkit.packages.dpkg_copyright import read_licences
from buildkit.packages.dpkg_status import STATUS, STATUS_FOLDER, read_status
from buildkit.packages.errors import PackageError
from buildkit.packages.os_release import PLACES, OsRelease, read_os_release
from buildkit.packages.rpm_database import SQLITE, UNSUPPORTED, read_headers, unsupported
from buildkit.sbom.image_files import ImageFiles
from buildkit.sbom.package import PUBLIC_KEY, Package, of_dpkg, of_rpm
from runtime.errors import ImageError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runtime.image.blob import StoredLayer

# Of Fedora, of others, of ostree, of rpm on a Debian host (see bootstrap.cleaning).
_RPM_FOLDERS = (
    *("usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"),
    *("root/.rpmdb", ".rpmdb"),
)
_MAX_TEXT = 64 << 20  # bytes of a file that is read into memory
_DOCUMENTS = "usr/share/doc"


class Installed(Record):
    """What is installed in an image."""

    release: OsRelease
    packages: tuple[Package, ...]  # sorted, each once
    databases: tuple[str, ...]  # paths in the image; none: nothing keeps record there


def read_installed(layers: Sequence[StoredLayer], *, verify: bool) -> Installed:
    """Read the databases of an image's layers, lowest first.

    `verify`: compare the layers with their digests. Raises BuildError with the image, the layer
    and the path; ImageError, DiskError.
    """
    try:
        files = ImageFiles(layers, verify=verify)
        with tempfile.TemporaryDirectory(prefix="pybuild-sbom-") as directory:
            return _Reading(files, directory).installed()
    except OSError as error:
        raise DiskError(f"{error.filename or 'the layers'}: {error.strerror}") from error


class _Reading:
    def __init__(self, files: ImageFiles, directory: str) -> None:
        self._files = files
        self._directory = directory
        self._places: dict[str, str] = {}  # path in the image -> copy here
        self._rpm = self._rpm_databases()
        self._dpkg = self._dpkg_databases()

    def installed(self) -> Installed:
        release_path = next((path for path in PLACES if self._files.file(path)), "")
        self._fetch(release_path)
        release = read_os_release(self._text(release_path)) if release_path else OsRelease()
        found: dict[str, Package] = {}
        try:
            for package in (*self._of_rpm(release), *self._of_dpkg(release)):
                found.setdefault(package.purl, package)
        except PackageError as error:
            raise BuildError(str(error)) from error
        return Installed(
            release=release,
            packages=tuple(sorted(found.values(), key=lambda package: package.order)),
            databases=(*self._rpm, *self._dpkg),
        )

    def _rpm_databases(self) -> tuple[str, ...]:
        """Paths of databases, each once: some of these directories are links to others."""
        found: dict[int, str] = {}
        for folder in _RPM_FOLDERS:
            path = f"{folder}/{SQLITE}"
            node = self._files.file(path)
            if node is None:
                other = (name for name in UNSUPPORTED if self._files.file(f"{folder}/{name}"))
                if name := next(other, ""):
                    where = self._files.where(f"{folder}/{name}")
                    raise BuildError(str(unsupported(name, where)))
                continue
            found.setdefault(id(node), path)
        return tuple(found.values())

    def _dpkg_databases(self) -> tuple[str, ...]:
        names = self._files.names(STATUS_FOLDER)
        # Beside a package's file is one with the digests of what it installed.
        listed = [f"{STATUS_FOLDER}/{name}" for name in names if not name.endswith(".md5sums")]
        return tuple(path for path in (STATUS, *listed) if self._files.file(path))

    def _of_rpm(self, release: OsRelease) -> Iterator[Package]:
        for path in self._rpm:
            log = f"{path}-wal"
            self._fetch(path, *([log] if self._files.file(log) else []))
            where = self._files.where(path)
            for header in read_headers(self._places[path], where=where):
                try:
                    package = of_rpm(header, release, path)
                except PackageError as error:
                    raise PackageError(f"{where}: {error}") from error
                if package.name != PUBLIC_KEY:
                    yield package

    def _of_dpkg(self, release: OsRelease) -> Iterator[Package]:
        self._fetch(*self._dpkg)
        found = [
            (path, package)
            for path in self._dpkg
            for package in read_status(self._text(path), self._files.where(path))
        ]
        copyrights = {p.name: f"{_DOCUMENTS}/{p.name}/copyright" for _, p in found}
        there = {name: path for name, path in copyrights.items() if self._files.file(path)}
        self._fetch(*there.values())
        for path, package in found:
            text = self._text(there[package.name]) if package.name in there else b""
            yield of_dpkg(package, release, path, read_licences(text))

    def _fetch(self, *paths: str) -> None:
        """Copy files out of the image, together; those of one directory are beside each other."""
        wanted = []
        for path in filter(None, paths):
            folder, _, name = path.rpartition("/")
            place = f"{self._directory}/{folder.replace('/', '+')}"
            os.makedirs(place, exist_ok=True)
            self._places[path] = f"{place}/{name}"
            wanted.append((path, f"{place}/{name}"))
        self._files.copy(wanted)

    def _text(self, path: str) -> bytes:
        if os.path.getsize(self._places[path]) > _MAX_TEXT:
            where = self._files.where(path)
            raise ImageError(f"{where}: more than {_MAX_TEXT} bytes, too large to be read")
        with open(self._places[path], "rb") as file:
            return file.read()
