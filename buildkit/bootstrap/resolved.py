"""What is to be installed, to the last byte: what a resolver makes and a lock file keeps."""

from __future__ import annotations

import re
from typing import Any

from buildkit.errors import BuildError
from runtime.record import Record

_HEX = re.compile(r"[0-9a-f]{64}")
# deb-control(5): Package, Version, Architecture
_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]+_[0-9][A-Za-z0-9.+~:-]*_[a-z0-9-]+")
_WORD = re.compile(r"[^\s/\x00-\x1f]+")


class AnyPackage(Record):
    """One package, as the metadata of its repository describes it."""

    repo: str  # id of its repository; empty for a file of the context
    path: str  # below a base URL of the repository; the file's place otherwise
    size: int  # bytes
    sha256: str  # of the file, hexadecimal
    buildtime: int  # seconds
    reason: str  # user, group, dependency or weak-dependency
    source: str  # rpm: file name of the source package; deb: its name and version

    @property
    def id(self) -> str:
        """Name, version and architecture, as nobody else has them in one set."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Its name alone."""
        raise NotImplementedError

    @property
    def slot(self) -> str:
        """NAME.ARCH: what has one version."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """As its users write it."""
        raise NotImplementedError

    @property
    def suffix(self) -> str:
        """What the name of its file ends with."""
        raise NotImplementedError


class RpmPackage(AnyPackage):
    """A package of rpm's."""

    nevra: str  # name-epoch:version-release.arch

    @property
    def id(self) -> str:
        return self.nevra

    @property
    def name(self) -> str:
        return self.nevra.rsplit("-", 2)[0]

    @property
    def slot(self) -> str:
        return f"{self.name}.{self.nevra.rpartition('.')[2]}"

    @property
    def label(self) -> str:
        """Without an epoch."""
        name, version, rest = self.nevra.rsplit("-", 2)
        return f"{name}-{version.partition(':')[2] or version}-{rest}"

    @property
    def suffix(self) -> str:
        return ".rpm"


class DebPackage(AnyPackage):
    """A package of dpkg's."""

    deb: str  # name_epoch:version-revision_arch; most have no epoch, some no revision

    @property
    def id(self) -> str:
        return self.deb

    @property
    def name(self) -> str:
        return self.deb.split("_")[0]

    @property
    def version(self) -> str:
        """Its version alone."""
        return self.deb.split("_")[1]

    @property
    def arch(self) -> str:
        """Its architecture: `all`, or a machine's."""
        return self.deb.split("_")[2]

    @property
    def slot(self) -> str:
        return f"{self.name}.{self.arch}"

    @property
    def label(self) -> str:
        return self.deb

    @property
    def suffix(self) -> str:
        return ".deb"


class ResolvedRepository(Record):
    """Where packages come from."""

    id: str
    baseurls: tuple[str, ...]  # in the order in which they are tried
    repomd: str  # digest of its repomd.xml, or of what led to it
    keys: tuple[str, ...]  # fingerprints of those that sign its packages; empty: not checked


class Module(Record):
    """An enabled stream of a module, as dnf writes it down in the system."""

    name: str
    stream: str


class Resolved(Record):
    """A whole transaction."""

    packages: tuple[AnyPackage, ...]  # sorted
    removed: tuple[str, ...]  # what is replaced by them, sorted
    repositories: tuple[ResolvedRepository, ...]
    modules: tuple[Module, ...] = ()

    @property
    def newest(self) -> int:
        """The newest build time, in seconds; 0 for nothing."""
        return max((package.buildtime for package in self.packages), default=0)

    @property
    def size(self) -> int:
        """Bytes of all packages."""
        return sum(package.size for package in self.packages)

    @property
    def identity(self) -> list[list[str]]:
        """What makes it this one, for a cache key: where it comes from does not."""
        return [
            [f"{package.id} {package.sha256}" for package in self.packages],
            list(self.removed),
            [f"{module.name}:{module.stream}" for module in self.modules],
        ]

    @property
    def files(self) -> tuple[tuple[str, str, str], ...]:
        """Kind, identity and sha256 of each package: what a system is made from."""
        return tuple((p.suffix[1:], p.id, p.sha256) for p in self.packages)

    def to_json(self) -> dict[str, Any]:
        """A document with sorted lists."""
        return {
            "packages": [_fields(package) for package in self.packages],
            "removed": list(self.removed),
            "repos": {
                repo.id: {
                    "baseurl": list(repo.baseurls),
                    "repomd": repo.repomd,
                    "keys": list(repo.keys),
                }
                for repo in self.repositories
            },
            "modules": [f"{module.name}:{module.stream}" for module in self.modules],
        }


class Resolution(Record):
    """A transaction and the install time that it gets, in seconds."""

    resolved: Resolved
    epoch: int


def read_resolved(document: Any) -> Resolved:
    """The value of such a document; raises BuildError for what it cannot be."""
    try:
        packages = tuple(read_package(item) for item in document["packages"])
        return Resolved(
            packages=tuple(sorted(packages, key=lambda package: package.id)),
            removed=tuple(sorted(map(str, document.get("removed", ())))),
            repositories=tuple(
                ResolvedRepository(
                    id=str(name),
                    baseurls=tuple(map(str, repo["baseurl"])),
                    repomd=str(repo["repomd"]),
                    keys=tuple(map(str, repo["keys"])),
                )
                for name, repo in sorted(document["repos"].items())
            ),
            modules=tuple(
                Module(name=name, stream=stream)
                for name, _, stream in (str(m).partition(":") for m in document.get("modules", ()))
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"not a set of packages: {error!r}") from None


def read_package(item: Any) -> AnyPackage:
    """One entry of `packages`; raises BuildError for a field that cannot be."""
    kind: type[RpmPackage | DebPackage] = DebPackage if "deb" in item else RpmPackage
    own, is_id = ("deb", _is_deb) if "deb" in item else ("nevra", _is_nevra)
    known: dict[str, Any] = {field: item.get(field, "") for field in kind._fields}
    id, path = known[own], known["path"]
    problem = ""
    if not (isinstance(id, str) and _WORD.fullmatch(id) and is_id(id)):
        problem = own
    elif not (isinstance(known["sha256"], str) and _HEX.fullmatch(known["sha256"])):
        problem = "sha256"
    elif not isinstance(path, str) or ".." in path.split("/"):
        problem = "path"
    elif not all(isinstance(known[name], str) for name in ("repo", "reason", "source")):
        problem = "repo, reason or source"
    else:
        for field in ("size", "buildtime"):
            value = known[field]
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                problem = field
    if problem:
        raise BuildError(f"package {id!r}: {problem} is not what it must be")
    return kind(**known)


def _is_nevra(text: str) -> bool:
    return text.count("-") >= 2 and not text.startswith((".", "-"))


def _is_deb(text: str) -> bool:
    return _DEB.fullmatch(text) is not None


def _fields(package: AnyPackage) -> dict[str, Any]:
    return {field: getattr(package, field) for field in type(package)._fields}
