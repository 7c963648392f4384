"""Digests of many files: for each processor a process that reads its share of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from buildkit.contents import file_digest
from buildkit.processes import fork_to, signals_held

_DIGEST = 32  # bytes
_OPENING = 50_000  # bytes that are read in the time that it takes to open a file
_CHUNK = 1 << 16


def file_digests(files: Sequence[tuple[str, int]]) -> list[bytes]:
    """The sha256 of each file, by its path and the size that it is thought to have.

    Raises OSError for the first that cannot be read.
    """
    first, *others = _shares(files, len(os.sched_getaffinity(0)))
    helpers: list[_Helper] = []
    try:
        helpers.extend(map(_Helper, others))
        found = [file_digest(path, size) for path, size in first]
        for helper in helpers:
            found += helper.digests()
    finally:
        for helper in helpers:
            helper.end()
    return found


def _shares(files: Sequence[tuple[str, int]], count: int) -> list[Sequence[tuple[str, int]]]:
    """The files in at most so many parts, in their order, each about the same work."""
    works = [size + _OPENING for _, size in files]
    fair = sum(works) / count
    shares: list[Sequence[tuple[str, int]]] = []
    start = done = 0
    for end, work in enumerate(works, 1):
        done += work
        if done >= fair * (len(shares) + 1):
            shares.append(files[start:end])
            start = end
    if start < len(files):  # a sum of fractions may fall short
        shares.append(files[start:])
    return shares


class _Helper:
    """Another process that reads files."""

    def __init__(self, files: Sequence[tuple[str, int]]) -> None:
        self._files = files
        self._report, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            with signals_held():
                self._pid = fork_to(lambda: _read(files, write_end))
        finally:
            os.close(write_end)

    def digests(self) -> list[bytes]:
        """What it found; what it did not is read here, which says why it could not."""
        said = b""
        while chunk := os.read(self._report, _CHUNK):
            said += chunk
        found = [said[at : at + _DIGEST] for at in range(0, len(said), _DIGEST)]
        return found + [file_digest(path, size) for path, size in self._files[len(found) :]]

    def end(self) -> None:
        """Wait for its end, whatever it has done by now."""
        os.close(self._report)
        os.kill(self._pid, signal.SIGKILL)  # it has nothing more to do
        os.waitpid(self._pid, 0)


def _read(files: Sequence[tuple[str, int]], report: int) -> NoReturn:
    found: list[bytes] = []
    with suppress(OSError):  # who asked reads it again
        found.extend(file_digest(path, size) for path, size in files)
    with open(report, "wb") as pipe:
        pipe.write(b"".join(found))
    os._exit(0)
