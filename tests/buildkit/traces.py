"""Whether a secret is left anywhere: in files, in what they hold compressed, in what was said."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import zstandard

from tests.support import Result

_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def needles(secret: bytes) -> dict[bytes, str]:
    """Forms that a secret may have, and what they are."""
    found = {
        secret: "itself",
        secret.hex().encode(): "in hexadecimal",
        hashlib.sha256(secret).hexdigest().encode(): "its digest",
    }
    # Within base64 of something longer, as in `user:password`; its ends depend on the rest.
    for before in range(3):
        text = base64.b64encode(b"\0" * before + secret)
        found[text[-(-before * 8 // 6) : len(text) - 4]] = "in base64"
    return found


def contents(content: bytes, depth: int = 4) -> Iterator[bytes]:
    """Bytes, and all that is packed up in them."""
    yield content
    if not depth:
        return
    if content[:2] == b"\x1f\x8b":
        try:
            yield from contents(gzip.decompress(content), depth - 1)
        except (OSError, EOFError, zlib.error):
            return
    elif content[:4] == zstandard.FRAME_HEADER:
        try:
            plain = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        except zstandard.ZstdError:
            return
        yield from contents(plain, depth - 1)
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield from contents(file.read(), depth - 1)


def traces(secret: str, *places: Path, spare: Path | None = None) -> list[str]:
    """Where a secret is found below places; `spare` is where the test itself keeps it."""
    wanted = needles(secret.encode())
    found = []
    for path in _paths(places, spare):
        with suppress(FileNotFoundError):  # somebody else's, and gone
            parts = list(_parts(path))
            found += [
                f"{path}: {what}"
                for text, what in wanted.items()
                if any(text in part for part in parts)
            ]
    return found


def _paths(places: tuple[Path, ...], spare: Path | None) -> Iterator[str]:
    for place in places:
        yield str(place)
        for folder, folders, files in os.walk(place):
            folders[:] = [name for name in folders if Path(folder, name) != spare]
            yield from (os.path.join(folder, name) for name in (*folders, *files))


def _parts(path: str) -> Iterator[bytes]:
    """The name of a file, its attributes, and its content."""
    yield os.path.basename(os.fsencode(path))
    for name in os.listxattr(path, follow_symlinks=False):
        yield os.getxattr(path, name, follow_symlinks=False)
    if os.path.islink(path):
        yield os.fsencode(os.readlink(path))
    elif os.path.isfile(path):
        yield from contents(Path(path).read_bytes())


class Watch:
    """What is new in the directories of temporary files since it was made."""

    def __init__(self) -> None:
        self._before = self._listed()

    def new(self) -> list[Path]:
        """Files and directories that came, but those of other tests."""
        new = self._listed() - self._before
        return [
            path
            for path in new
            if not path.name.startswith("pybuild-test-") and os.access(path, os.R_OK)
        ]

    def _listed(self) -> set[Path]:
        return {Path(folder, name) for folder in _TEMPORARY for name in os.listdir(folder)}


def said(secret: str, *ended: Result) -> list[str]:
    """In which of the commands' words a secret is."""
    wanted = needles(secret.encode())
    words = [text.encode() for one in ended for text in (one.stdout, one.stderr)]
    return [
        f"{what}: {text.decode(errors='replace')}"
        for text in words
        for needle, what in wanted.items()
        if needle in text
    ]
