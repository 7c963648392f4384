"""Which files a COPY source names, and the digest of what they are.

Paths are resolved inside a root (the context, or another stage's filesystem) that they cannot
leave: `/x` and `../x` mean `x`, symlinks resolve inside.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator

from runtime.image.layer import kept_xattr
from runtime.sandbox.rootpath import open_in_root

_SPECIAL = frozenset("*?[\\")


def select(root_fd: int, pattern: str) -> tuple[str, ...]:
    """Paths below the root that a source names, sorted; a pattern may name none.

    Components match as Go's filepath.Match does. Raises FileNotFoundError for a literal path
    that is not there.
    """
    parts = [part for part in os.path.normpath("/" + pattern).split("/") if part]
    if not _SPECIAL.intersection(pattern):
        path = "/".join(parts) or "."
        os.close(open_in_root(root_fd, path))
        return (path,)
    found = [""]
    for part in parts:
        found = [path for above in found for path in _matches(root_fd, above, part)]
    return tuple(sorted(found, key=os.fsencode))


def _matches(root_fd: int, above: str, part: str) -> Iterator[str]:
    try:
        fd = open_in_root(root_fd, above or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    expression = re.compile(translate(part), re.DOTALL)
    for name in names:
        if expression.fullmatch(name):
            yield f"{above}/{name}" if above else name


def translate(part: str) -> str:
    """A regular expression for one component of a pattern (Go's filepath.Match)."""
    out, at = [], 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := part.find("]", at + 1)) > 0:
            body = part[at:end]
            negated, body = body[:1] == "^", body.removeprefix("^")
            out.append(f"[{'^' * negated}{re.escape(body).replace(chr(92) + '-', '-')}]")
            at = end + 1
        elif char == "\\" and at < len(part):
            out.append(re.escape(part[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def digest(root_fd: int, path: str) -> str:
    """Digest of a file or of a directory's whole content: names, types, modes, xattrs and bytes.

    Times and owners are no part of it: COPY gives files from the context its own.
    """
    sha = hashlib.sha256()
    fd = open_in_root(root_fd, path)  # a source that is a symlink is followed
    real = f"/proc/self/fd/{fd}"
    try:
        for name, place, status in _walk(real):
            line = f"{name}\0{stat.S_IFMT(status.st_mode):o}\0{status.st_mode & 0o7777:o}\0"
            sha.update(os.fsencode(line))
            _add_xattrs(sha, place, status)
            if stat.S_ISREG(status.st_mode):
                sha.update(_file_digest(place))
            elif stat.S_ISLNK(status.st_mode):
                sha.update(os.fsencode(os.readlink(place)) + b"\0")
            elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                sha.update(str(status.st_rdev).encode() + b"\0")
    finally:
        os.close(fd)
    return sha.hexdigest()


def _walk(real: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name, place and status of everything below `real`, in a fixed order, itself first."""
    status = os.stat(real)
    yield ".", real, status
    stack = [(".", real)] if stat.S_ISDIR(status.st_mode) else []
    while stack:
        above, directory = stack.pop()
        for name in sorted(os.listdir(directory), key=os.fsencode):
            place = f"{directory}/{name}"
            status = os.lstat(place)
            yield f"{above}/{name}", place, status
            if stat.S_ISDIR(status.st_mode):
                stack.append((f"{above}/{name}", place))


def _file_digest(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()


def _add_xattrs(sha: hashlib._Hash, place: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        return
    for key in sorted(os.listxattr(place)):
        if kept_xattr(key):
            sha.update(os.fsencode(key) + b"=" + os.getxattr(place, key) + b"\0")
