"""A tar in a file, as a stream that passes over contents without reading them."""

from __future__ import annotations

import os


class FileStream:
    """A file as a `tar.Stream`; `skip` seeks, and `position` says where a content begins."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        content = os.pread(self._fd, size, self.position)
        self.position += len(content)
        return content

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        self.position += size
