"""What a BOOTSTRAP asks for, with all that its words name: lists, files, keys, repositories."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildkit.bootstrap.fetching import Reader, file_sha256
from buildkit.bootstrap.repositories import Repositories, read_repositories
from buildkit.bootstrap.secrets import Secrets
from buildkit.errors import BuildError, LocatedError
from buildkit.mount_sources import find_secret
from buildkit.steps import BootstrapStep, Package, PackageFile
from grammar import Span
from grammar.values.mounts import SecretMount
from runtime.record import Record

if TYPE_CHECKING:
    from buildkit.inputs import Input
    from buildkit.state import Settings
    from runtime.store.store import Store

_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")


class PackageHere(Record):
    """A package that is a file: of the context, or fetched from a URL."""

    word: str
    name: str  # its URL, or its place in the context
    path: str  # real
    sha256: str
    span: Span


class Asked(Record):
    """Everything that decides what will be installed."""

    packages: tuple[Package, ...]  # names, groups, patterns
    files: tuple[PackageHere, ...]
    excludes: tuple[str, ...]
    repositories: Repositories
    inputs: tuple[Input, ...]

    @property
    def parts(self) -> dict[str, object]:
        """For a cache key: what is asked for, not what the repositories answer."""
        return {
            "packages": [package.text for package in self.packages],
            "files": [file.sha256 for file in self.files],
            "excludes": self.excludes,
            "repositories": self.repositories.parts,
            "keys": [
                [section.id, sorted(f for key in section.keys for f in key.fingerprints)]
                for section in self.repositories.sections
            ],
        }


def ask(step: BootstrapStep, settings: Settings, store: Store, *, metadata: bool) -> Asked:
    """Read everything; raises LocatedError, or BuildError about the whole instruction.

    Without `metadata`, repositories are not asked what they hold.
    """
    secrets = _secrets(step, settings)
    reader = Reader(settings.context, secrets, locked=not metadata)
    packages, excludes = list(step.packages), list(step.excludes)
    for listed in step.lists:
        for text in _listed(listed, reader):
            if text.startswith("-"):
                excludes.append(text[1:])
            else:
                packages.append(Package(text=text, span=listed.span))
    files = [
        file
        for package in packages
        for file in _files(package, step.manager, settings.context, store, reader)
    ]
    named = tuple(package for package in packages if not is_file(package.text))
    if step.manager == "apt":
        from buildkit.bootstrap.apt.sources import read_sources

        repositories = read_sources(step, reader, secrets, metadata=metadata)
    else:
        repositories = read_repositories(step, reader, secrets, store, metadata=metadata)
    return Asked(
        packages=named,
        files=tuple(files),
        excludes=tuple(excludes),
        repositories=repositories,
        inputs=tuple(reader.inputs),
    )


def is_file(word: str) -> bool:
    """Whether a word is a package file: `./PATH` of the context, or a URL."""
    return word.startswith(("./", "../", "http://", "https://"))


def _secrets(step: BootstrapStep, settings: Settings) -> Secrets:
    files: dict[str, bytes] = {}
    variables: dict[str, str] = {}
    for mounted in step.secrets:
        mount = mounted.mount
        assert isinstance(mount, SecretMount)
        content = find_secret(mounted, mount, settings)
        if content is None:
            continue
        if mount.env is not None:
            variables[mount.env] = content.decode("utf-8", "replace").rstrip("\n")
        if mount.target is not None:
            files[mount.target] = content
    return Secrets(files=files, variables=variables)


def _listed(listed: PackageFile, reader: Reader) -> Iterator[str]:
    """The words of a file: `#` comments, and exclusions with a leading `-`."""
    try:
        content = reader.read(listed.path, "list of packages").decode("utf-8")
    except UnicodeDecodeError as error:
        problem = BuildError(f"list of packages {listed.path!r}: {error}")
        raise LocatedError(problem, listed.span) from error
    except BuildError as error:
        raise LocatedError(error, listed.span) from error
    found = [w for line in content.splitlines() for w in _COMMENT.sub("", line).split()]
    if not any(not word.startswith("-") for word in found):
        empty = BuildError(f"list of packages {listed.path!r}: no package in it")
        raise LocatedError(empty, listed.span)
    yield from found


def _files(
    package: Package, manager: str, context: str, store: Store, reader: Reader
) -> Iterator[PackageHere]:
    word = package.text
    if not is_file(word):
        return
    try:
        remote = word.startswith(("http://", "https://"))
        if remote:
            from buildkit.download import download

            fetched = download(word, store)
            reader.inputs.append(("download", word, 0, fetched.digest, fetched.mtime(0)))
            paths = [fetched.place(store)]
        else:
            paths = _matching(word, context, reader)
        for path in paths:
            sha256 = file_sha256(path)
            reader.inputs.append(("package", path, sha256))
            if manager != "apt":  # which looks into its files itself
                _check_rpm(word, path)
            name = word if remote else os.path.relpath(path, os.path.realpath(context))
            yield PackageHere(word=word, name=name, path=path, sha256=sha256, span=package.span)
    except BuildError as error:
        raise LocatedError(error, package.span) from error


def _check_rpm(word: str, path: str) -> None:
    from buildkit.packages.errors import PackageError
    from buildkit.packages.rpm_file import read_header

    try:
        with open(path, "rb") as file:
            read_header(file)
    except PackageError as error:
        raise BuildError(f"{word}: {error}") from error


def _matching(word: str, context: str, reader: Reader) -> list[str]:
    """The files of the context that a path or pattern names; raises BuildError for none."""
    names = [word]
    if glob.has_magic(word):
        names = sorted(glob.glob(word, root_dir=context))
        if not names:
            raise BuildError(f"package {word!r}: no such file in the context {context}")
    paths = [reader.place(name, "package") for name in names]
    for path in paths:
        if not os.path.isfile(path):
            raise BuildError(f"package {word!r}: not a file")
    return paths
