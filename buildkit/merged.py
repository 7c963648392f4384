"""Layers as overlayfs shows them, looked at without a mount (overlayfs.rst)."""

from __future__ import annotations

import errno
import os
import stat

from buildkit.errors import BuildError
from runtime.image.whiteouts import is_opaque, is_whiteout
from runtime.record import Record
from runtime.sandbox.rootpath import MAX_LINKS


class Place(Record):
    """What is at a path, all links resolved; `layers` is empty if nothing is there."""

    path: str  # absolute
    layers: tuple[str, ...]  # a file's in its layer, a directory's in all, highest first

    @property
    def is_directory(self) -> bool:
        """Whether there is a directory."""
        return bool(self.layers) and stat.S_ISDIR(os.lstat(self.layers[0]).st_mode)


class Merged:
    """Directories of layers, highest first."""

    def __init__(self, lowers: tuple[str, ...]) -> None:
        self.root = Place(path="/", layers=lowers)

    def find(self, path: str) -> Place:
        """Follow a path inside the root, also where nothing is there any more.

        Raises BuildError for links without end, and for what is below a file.
        """
        above = [self.root]
        waiting = _parts(path)
        links = 0
        while waiting:
            name = waiting.pop()
            here = above[-1]
            if name == "..":
                above = above[:-1] or [self.root]
                continue
            if here.layers and not here.is_directory:
                raise BuildError(f"{path}: {here.path} is no directory in the image")
            found = self.entry(here, name)
            target = _link(found)
            if target is None:
                above.append(found)
                continue
            links += 1
            if links > MAX_LINKS:
                raise BuildError(f"{path}: {os.strerror(errno.ELOOP)}")
            if target.startswith("/"):
                above = [self.root]
            waiting += _parts(target)
        return above[-1]

    def entry(self, folder: Place, name: str) -> Place:
        """What is in a directory under a name."""
        layers: list[str] = []
        for layer in folder.layers:
            path = f"{layer}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if is_whiteout(status) or (layers and not stat.S_ISDIR(status.st_mode)):
                break
            layers.append(path)
            if not stat.S_ISDIR(status.st_mode) or is_opaque(path):
                break
        return Place(path=f"{folder.path.rstrip('/')}/{name}", layers=tuple(layers))


def _parts(path: str) -> list[str]:
    """The names of a path, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _link(place: Place) -> str | None:
    try:
        return os.readlink(place.layers[0]) if place.layers else None
    except OSError:  # EINVAL: none
        return None
