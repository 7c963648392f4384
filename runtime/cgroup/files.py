"""Reading and writing the files of a control group, with errors that say which and what."""

from __future__ import annotations

import os
from errno import EACCES, EPERM, EROFS

from runtime.errors import ContainerError


class FileError(ContainerError):
    """A file or directory of a group could not be used: `path: value: strerror`."""

    def __init__(self, path: str, error: OSError, value: str = "") -> None:
        shown = f"{value.rstrip()}: " if value else ""
        super().__init__(f"{path}: {shown}{error.strerror}", hint=_hint(error.errno))
        self.errno = error.errno


def _hint(errno: int | None) -> str | None:
    if errno in (EACCES, EPERM):
        return (
            "limits need root, or a group that is this user's: systemd delegates one by "
            "Delegate=yes in a unit, and those below user@UID.service"
        )
    if errno == EROFS:
        return "control groups are mounted read-only here, as in a container"
    return None


def write_file(path: str, value: str) -> None:
    """Write a value in one call of write(2), as the files of a group want it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise FileError(path, error, value) from error


def read_file(path: str) -> str:
    """Return what a file holds, without the newline at its end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = b""
            while chunk := os.read(fd, 1 << 16):
                content += chunk
        finally:
            os.close(fd)
    except OSError as error:
        raise FileError(path, error) from error
    return content.decode("utf-8", "surrogateescape").rstrip("\n")


def enter(entries: tuple[int, ...]) -> None:
    """Put the calling process, which must have one thread, into groups by their open files.

    Imports nothing. Raises OSError.
    """
    for fd in entries:
        os.write(fd, b"0")
        os.close(fd)


def read_table(path: str) -> dict[str, int]:
    """Return a file of lines `name number` (a "flat keyed" file, cgroup-v2.rst)."""
    table = {}
    for line in read_file(path).splitlines():
        name, _, number = line.partition(" ")
        if number.isdecimal():
            table[name] = int(number)
    return table
