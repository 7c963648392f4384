"""An installed package, as every kind of SBOM needs it."""

from __future__ import annotations

from buildkit.packages import rpm_header as tags
from buildkit.packages.errors import PackageError
from buildkit.sbom.purl import package_url
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.packages.dpkg_status import DpkgPackage
    from buildkit.packages.os_release import OsRelease
    from buildkit.packages.rpm_header import Header

RPM, DEB = "rpm", "deb"
PUBLIC_KEY = "gpg-pubkey"  # what rpm's database calls a key that was imported: no software
_LAST_SECOND = 253402300799  # of the year 9999
_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}


class Source(Record):
    """The source package that a package was built from."""

    label: str  # as the package manager writes it
    name: str = ""  # these are empty if it is not written as it should be
    version: str = ""
    purl: str = ""


class Package(Record):
    """What a package database says of a package."""

    kind: str  # RPM or DEB
    name: str
    version: str  # with its epoch, as the package manager writes it
    arch: str
    purl: str
    database: str  # path in the image
    licences: tuple[str, ...]  # expressions that all apply, as the package has them; may be empty
    supplier: str  # "NAME" or "NAME <ADDRESS>", empty if nobody is named
    packager: str
    url: str
    summary: str
    source: Source | None
    built: int | None = None  # seconds since 1970
    digests: tuple[tuple[str, str, str], ...] = ()  # of what, algorithm, in hex

    @property
    def order(self) -> tuple[str, ...]:
        """What packages are sorted by."""
        return self.name, self.version, self.arch, self.purl


def of_rpm(header: Header, release: OsRelease, database: str) -> Package:
    """A package of rpm's database; raises PackageError."""
    name, arch = _text(header, tags.NAME), _text(header, tags.ARCH)
    version, version_release = _text(header, tags.VERSION), _text(header, tags.RELEASE)
    if not (name and version and version_release):
        raise PackageError(f"package {name!r}: has no name, version or release")
    bare = f"{version}-{version_release}"
    built = header.integer(tags.BUILDTIME)
    if built is not None and built > _LAST_SECOND:
        raise PackageError(f"package {name!r}: built at {built} seconds, after the year 9999")
    epoch = header.integer(tags.EPOCH) or 0
    source = _text(header, tags.SOURCERPM)
    qualifiers = {
        "arch": arch,
        "distro": release.distro,
        "epoch": str(epoch or ""),
        "upstream": source,
    }
    return Package(
        kind=RPM,
        name=name,
        version=f"{epoch}:{bare}" if epoch else bare,
        arch=arch,
        purl=package_url(RPM, release.id, name, bare, qualifiers),
        database=database,
        licences=tuple(filter(None, (_text(header, tags.LICENSE).strip(),))),
        supplier=_text(header, tags.VENDOR),
        packager=_text(header, tags.PACKAGER),
        url=_text(header, tags.URL),
        summary=_text(header, tags.SUMMARY),
        source=_rpm_source(source, release),
        built=built,
        digests=_digests(header),
    )


def of_dpkg(
    found: DpkgPackage, release: OsRelease, database: str, licences: tuple[str, ...]
) -> Package:
    """A package of dpkg's database."""
    is_same = (found.source, found.source_version) == (found.name, found.version)
    upstream = found.source
    if found.source_version != found.version:
        upstream += f"@{found.source_version}"
    qualifiers = {
        "arch": found.arch,
        "distro": release.distro,
        "upstream": "" if is_same else upstream,
    }
    source_qualifiers = {"arch": "source", "distro": release.distro}
    return Package(
        kind=DEB,
        name=found.name,
        version=found.version,
        arch=found.arch,
        purl=package_url(DEB, release.id, found.name.lower(), found.version, qualifiers),
        database=database,
        licences=licences,
        supplier=found.maintainer,
        packager="",
        url=found.homepage,
        summary=found.summary,
        source=Source(
            label=f"{found.source} {found.source_version}",
            name=found.source,
            version=found.source_version,
            purl=package_url(
                DEB, release.id, found.source.lower(), found.source_version, source_qualifiers
            ),
        ),
    )


def _rpm_source(label: str, release: OsRelease) -> Source | None:
    """Of NAME-VERSION-RELEASE.src.rpm."""
    if not label:
        return None
    parts = label.removesuffix(".rpm").rpartition(".")[0].rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        return Source(label=label)
    name, version = parts[0], f"{parts[1]}-{parts[2]}"
    qualifiers = {"arch": "src", "distro": release.distro}
    purl = package_url(RPM, release.id, name, version, qualifiers)
    return Source(label=label, name=name, version=version, purl=purl)


def _digests(header: Header) -> tuple[tuple[str, str, str], ...]:
    found = [("header", "sha256", _text(header, tags.SHA256HEADER))]
    algorithm = _ALGORITHMS.get(header.integer(tags.PAYLOADDIGESTALGO) or 0, "")
    found.append(("payload", algorithm, _text(header, tags.PAYLOADDIGEST)))
    return tuple(digest for digest in found if all(digest))


def _text(header: Header, tag: int) -> str:
    """Text that JSON can hold."""
    return header.string(tag).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
