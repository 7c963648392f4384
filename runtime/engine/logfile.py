"""A container's log: lines with their times and streams, in files that are bounded.

    2026-11-29T10:00:00.000000000Z stdout F text

The format is podman's `k8s-file` and Kubernetes' (CRI): F ends a line, P is a piece of one. When a
file is full it becomes log.1, and log.1 becomes log.2.
"""

from __future__ import annotations

import os
from time import gmtime, time_ns

LOG = "log"
STREAMS = (b"stdout", b"stderr")
_LONGEST = 16 << 10  # bytes of a line before it is written in pieces


class LogWriter:
    """Writes what comes from the two streams."""

    def __init__(self, directory: str, size: int, files: int) -> None:
        """Go on with the log of a directory: `files` files of `size` bytes each."""
        self._directory = directory
        self._most = size
        self._files = files
        self._rest = [b"", b""]  # of each stream: what has no end yet
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(f"{self._directory}/{LOG}", flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: int, content: bytes) -> None:
        """Take in what a stream (0 is stdout, 1 stderr) has said."""
        content = self._rest[stream] + content
        lines = content.split(b"\n")
        rest = lines.pop()
        entries = [entry for line in lines for entry in self._entries(stream, line)]
        while len(rest) >= _LONGEST:
            entries.append(_line(stream, b"P", rest[:_LONGEST]))
            rest = rest[_LONGEST:]
        self._rest[stream] = rest
        self._append_all(entries)

    def _entries(self, stream: int, line: bytes) -> list[bytes]:
        pieces = []
        while len(line) > _LONGEST:
            pieces.append(_line(stream, b"P", line[:_LONGEST]))
            line = line[_LONGEST:]
        return [*pieces, _line(stream, b"F", line)]

    def close(self) -> None:
        """Write what has no end."""
        for stream, rest in enumerate(self._rest):
            if rest:
                self._append(_line(stream, b"P", rest))
        os.close(self._fd)

    def _append_all(self, entries: list[bytes]) -> None:
        """Write entries, as many with one call as a file has room for."""
        together: list[bytes] = []
        size = self._size
        for entry in entries:
            if together and size + len(entry) > self._most:
                self._append(b"".join(together))
                together, size = [], self._size
            together.append(entry)
            size += len(entry)
        if together:
            self._append(b"".join(together))

    def _append(self, content: bytes) -> None:
        if self._size and self._size + len(content) > self._most:
            self._rotate()
        self._size += len(content)
        while content:
            content = content[os.write(self._fd, content) :]

    def _rotate(self) -> None:
        os.close(self._fd)
        for number in range(self._files - 1, 0, -1):
            older = f"{self._directory}/{LOG}.{number}"
            newer = f"{self._directory}/{LOG}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.rename(newer, older)
        if self._files == 1:
            os.unlink(self._path)
        self._open()

    @property
    def _path(self) -> str:
        return f"{self._directory}/{LOG}"


def _line(stream: int, tag: bytes, text: bytes) -> bytes:
    return b"%s %s %s %s\n" % (timestamp(time_ns()).encode(), STREAMS[stream], tag, text)


def timestamp(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as RFC 3339, all nine digits."""
    year, month, day, hour, minute, second = gmtime(nanoseconds // 10**9)[:6]
    date = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    return f"{date}.{nanoseconds % 10**9:09}Z"
