"""What is to be installed, to the last byte: what a resolver makes and a lock file keeps."""

from __future__ import annotations

import re
from typing import Any

from buildkit.errors import BuildError
from runtime.record import Record

_HEX = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[^\s/\x00-\x1f]+")


class RpmPackage(Record):
    """One package, as the metadata of its repository describes it."""

    nevra: str  # name-epoch:version-release.arch
    repo: str  # id of its repository; empty for a file of the context
    path: str  # below a base URL of the repository; the file's place otherwise
    size: int  # bytes
    sha256: str  # of the file, hexadecimal
    buildtime: int  # seconds
    reason: str  # user, group, dependency or weak-dependency
    source: str  # file name of the source package

    @property
    def name(self) -> str:
        """Its name alone."""
        return self.nevra.rsplit("-", 2)[0]

    @property
    def label(self) -> str:
        """As rpm writes it: without an epoch."""
        name, version, rest = self.nevra.rsplit("-", 2)
        return f"{name}-{version.partition(':')[2] or version}-{rest}"


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

    packages: tuple[RpmPackage, ...]  # sorted
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
            [f"{package.nevra} {package.sha256}" for package in self.packages],
            list(self.removed),
            [f"{module.name}:{module.stream}" for module in self.modules],
        ]

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
            packages=tuple(sorted(packages, key=lambda package: package.nevra)),
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


def read_package(item: Any) -> RpmPackage:
    """One entry of `packages`; raises BuildError for a field that cannot be."""
    known: dict[str, Any] = {field: item.get(field, "") for field in RpmPackage._fields}
    nevra, path = known["nevra"], known["path"]
    problem = ""
    if not (isinstance(nevra, str) and _WORD.fullmatch(nevra) and _is_nevra(nevra)):
        problem = "nevra"
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
        raise BuildError(f"package {nevra!r}: {problem} is not what it must be")
    return RpmPackage(**known)


def _is_nevra(text: str) -> bool:
    return text.count("-") >= 2 and not text.startswith((".", "-"))


def _fields(package: RpmPackage) -> dict[str, Any]:
    return {field: getattr(package, field) for field in RpmPackage._fields}
