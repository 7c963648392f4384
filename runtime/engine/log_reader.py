"""Reading a log: over its files, from the end, and as it grows."""

from __future__ import annotations

import os

from runtime.engine.logfile import LOG
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 16


class Entry(Record):
    """A line of a log, or a piece of one."""

    time: str  # RFC 3339, nine digits, Z: as text, times are in order
    stream: int  # 0 is stdout, 1 stderr
    text: bytes
    ends: bool  # a line ends here


def parse_entry(line: bytes) -> Entry | None:
    """An entry of a line of the file; None for what a full disk left half."""
    fields = line.removesuffix(b"\n").split(b" ", 3)
    if len(fields) != 4 or fields[2] not in (b"F", b"P"):
        return None
    return Entry(
        time=fields[0].decode("ascii", "replace"),
        stream=int(fields[1] == b"stderr"),
        text=fields[3],
        ends=fields[2] == b"F",
    )


class LogReader:
    """Reads a log from its oldest entry, then what has come since."""

    def __init__(self, directory: str, files: int) -> None:
        """The log of a container's directory, in so many files."""
        self._lines = RotatedLines(f"{directory}/{LOG}", files)

    def entries(self) -> Iterator[Entry]:
        """What has been written and was not read yet; more may come later."""
        for line in self._lines.new():
            if (entry := parse_entry(line)) is not None:
                yield entry


class RotatedLines:
    """Reads the lines of a file that becomes `.1` when it is full, and that `.2`."""

    def __init__(self, path: str, files: int) -> None:
        """A file and the older ones beside it, `files` in all."""
        self._newest = path
        self._files = files
        self._file = -1  # what is being read
        self._rest = b""

    def new(self) -> Iterator[bytes]:
        """What was not read yet, from the oldest on."""
        if self._file < 0 and not self._open(self._oldest()):
            return
        while True:
            yield from self._read()
            newer = self._newer()
            if newer is None:
                return
            yield from self._read()  # what came between the last look and the rotation
            self._rest = b""
            os.close(self._file)
            self._file = newer

    def _path(self, number: int) -> str:
        return f"{self._newest}.{number}" if number else self._newest

    def _oldest(self) -> int:
        for number in range(self._files - 1, 0, -1):
            if os.path.exists(self._path(number)):
                return number
        return 0

    def _open(self, number: int) -> bool:
        try:
            self._file = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def _read(self) -> Iterator[bytes]:
        while block := os.read(self._file, _BLOCK):
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            yield from lines

    def _newer(self) -> int | None:
        """A descriptor of the file after ours; None if ours is the newest."""
        ours = os.fstat(self._file)
        for _ in range(self._files + 1):
            found = [self._status(number) for number in range(self._files)]
            at = [n for n, s in enumerate(found) if s and os.path.samestat(s, ours)]
            if at == [0]:
                return None
            # Ours was removed: the oldest that there is comes next.
            number = at[0] - 1 if at else max((n for n, s in enumerate(found) if s), default=-1)
            wanted = found[number] if number >= 0 else None
            if wanted is None:
                return None  # between two renames: the next look sees more
            try:
                fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if os.path.samestat(os.fstat(fd), wanted):
                return fd
            os.close(fd)  # rotated meanwhile
        return None

    def _status(self, number: int) -> os.stat_result | None:
        try:
            return os.stat(self._path(number))
        except FileNotFoundError:
            return None
