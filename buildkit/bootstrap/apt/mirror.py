"""Repositories that have certain packages and nothing else: a Packages file beside the files.

(deb-override(5), sources.list(5): a flat repository needs no Release file if it is trusted.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from buildkit.errors import BuildError
from buildkit.packages.deb_file import DebFile, read_deb
from buildkit.packages.errors import PackageError
from runtime.record import Record

_OURS = ("filename", "size", "sha256", "md5sum", "sha1", "sha512")


class LocalDeb(Record):
    """A package file, and what it says of itself."""

    path: str
    sha256: str
    size: int  # bytes
    file: DebFile

    @property
    def id(self) -> str:
        """NAME_VERSION_ARCH."""
        fields = self.file.fields
        return f"{fields['package']}_{fields['version']}_{fields['architecture']}"


def read_local(path: str, sha256: str) -> LocalDeb:
    """Read a package file whose digest is known; raises BuildError."""
    try:
        with open(path, "rb") as file:
            found = read_deb(file)
            size = os.fstat(file.fileno()).st_size
    except PackageError as error:
        raise BuildError(f"{path}: {error}") from error
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from error
    for field in ("package", "version", "architecture"):
        if not found.fields.get(field):
            raise BuildError(f"{path}: Debian package: no field {field.capitalize()}")
    return LocalDeb(path=path, sha256=sha256, size=size, file=found)


def write_mirror(folder: str, packages: Iterable[LocalDeb]) -> None:
    """Make an existing directory a repository of these packages, which it links to.

    A file on another filesystem is linked to by its path, at which the programs see it too.
    """
    with open(f"{folder}/Packages", "w", encoding="utf-8") as index:
        for package in packages:
            # One version of each: no version, no epoch's colon in the name.
            fields = package.file.fields
            name = f"{fields['package']}_{fields['architecture']}.deb"
            try:
                os.link(os.path.realpath(package.path), f"{folder}/{name}")
            except FileExistsError:
                raise BuildError(f"package {fields['package']} is given twice") from None
            except OSError:  # another filesystem, or another's file
                os.symlink(os.path.realpath(package.path), f"{folder}/{name}")
            index.write(f"{_without_ours(package.file.text)}\n")
            index.write(f"Filename: ./{name}\nSize: {package.size}\nSHA256: {package.sha256}\n\n")


def _without_ours(text: str) -> str:
    """A control file without fields that we write."""
    kept, dropped = [], False
    for line in text.split("\n"):
        if not line.strip():
            continue
        if line[0] not in " \t":
            dropped = line.partition(":")[0].strip().lower() in _OURS
        if not dropped:
            kept.append(line)
    return "\n".join(kept)
