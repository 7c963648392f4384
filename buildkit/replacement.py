"""Writing a file beside its place, and moving it there once it is complete."""

from __future__ import annotations

import os
from contextlib import suppress

from buildkit.errors import DiskError
from buildkit.outputs import is_stream


class Replacement:
    """A file that takes another's place when it is complete, and else was never there.

    Until then it has no name where the filesystem allows that (O_TMPFILE): nothing is left behind
    even by kill -9. What is no file (`is_stream`) is written into instead.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory = os.path.dirname(path) or "."
        self._aside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        self._named = False
        self._stays = is_stream(path)
        self._fd = -1

    def __enter__(self) -> int:
        if self._stays:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            return self._fd
        try:
            self._fd = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except OSError:  # not every filesystem has it
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._aside, flags, 0o644)
            self._named = True
        return self._fd

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._stays:
                # A power cut may take a new file, whose size then says so to the next build; it
                # must not take what was there before.
                if os.path.lexists(self._path):
                    os.fsync(self._fd)
                if not self._named:
                    # linkat(2): how a file without a name gets one; it cannot replace another.
                    # Given a descriptor (which an absolute path ignores) os.link follows links.
                    self._named = True
                    os.link(f"/proc/self/fd/{self._fd}", self._aside, src_dir_fd=self._fd)
                os.rename(self._aside, self._path)
                self._named = False
        finally:
            os.close(self._fd)
            if self._named:
                with suppress(FileNotFoundError):  # a signal may come between any two lines
                    os.unlink(self._aside)


def write_document(path: str, document: bytes) -> None:
    """Write a file, in the place of what was there; raises DiskError."""
    try:
        with Replacement(path) as fd:
            left = memoryview(document)
            while left:
                left = left[os.write(fd, left) :]
    except OSError as error:
        raise DiskError(f"{path}: {error.strerror}") from error
