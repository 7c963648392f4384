"""Owners of symlinks, pipes and devices in the layers below, where the files do not show them.

Overlayfs copies such a file up without its owner, where all are root's and it bears no note: when
it is renamed, say. What says it then is the blob of the layer that it is from.
"""

from __future__ import annotations

import os
import stat

from buildkit.applying import stored_layer
from buildkit.errors import BuildError
from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.whiteouts import find_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.cache import Layer
    from buildkit.owners import Owner
    from runtime.store.store import Store


class OwnersBelow:
    """Owners in some layers, which are read when one is first needed."""

    def __init__(self, store: Store, layers: tuple[Layer, ...], lowers: tuple[str, ...]) -> None:
        """`layers` lowest first, `lowers` their directories, highest first."""
        self._store = store
        self._layers = layers
        self._lowers = lowers
        self._found: dict[str, Owner] | None = None

    def has(self, name: str) -> bool:
        """Whether the layers have something at a path."""
        return find_below(self._lowers, name) is not None

    def owner(self, path: str, name: str, status: os.stat_result) -> Owner | None:
        """Whose the file `path` was if it is the one that the layers have at `name`."""
        below = find_below(self._lowers, name)
        if below is None or not _is_same(path, status, below):
            return None
        if self._found is None:
            self._found = {}
            for layer in self._layers:
                self._read(layer, self._found)
        return self._found.get(name)

    def _read(self, layer: Layer, found: dict[str, Owner]) -> None:
        stored = stored_layer(self._store, layer)
        try:
            with stored.reader() as reader:
                for values in tar.members(reader, stored.where):
                    name, kind, _, uid, gid, size, *_ = values
                    reader.skip(size + tar.padding(size))
                    if kind not in (tar.REGULAR, tar.DIRECTORY):
                        found[tar.inside_root(name, stored.where)] = (uid, gid)
        except ImageError as error:
            raise BuildError(error.message, hint=error.hint) from error


def _is_same(path: str, status: os.stat_result, below: str) -> bool:
    before = os.lstat(below)
    kinds = [(stat.S_IFMT(s.st_mode), s.st_rdev) for s in (before, status)]
    if kinds[0] != kinds[1]:
        return False
    return not stat.S_ISLNK(status.st_mode) or os.readlink(path) == os.readlink(below)
