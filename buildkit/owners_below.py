"""Owners of symlinks, pipes and devices in the layers below, where the files do not show them.

Overlayfs copies such a file up without its owner, where all are root's and it bears no note: when
its times are set, say. In a tree without overlayfs none was ever noted. The blob of the layer that
it is from says whose it is.
"""

from __future__ import annotations

import os
import stat

from buildkit.applying import stored_layer
from buildkit.errors import BuildError
from runtime.errors import ImageError
from runtime.image import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.cache import Layer
    from buildkit.owners import Owner
    from runtime.store.store import Store

    _Kind = tuple[str, str, int]  # type flag of tar, target, device number

_KINDS = {
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFIFO: tar.FIFO,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCKDEV,
}


class OwnersBelow:
    """Owners in some layers, which are read when one is first needed."""

    def __init__(
        self, store: Store, layers: tuple[Layer, ...], has: Callable[[str], bool]
    ) -> None:
        """`layers` lowest first; `has` says whether they have something at a path."""
        self._store = store
        self._layers = layers
        self.has = has
        self._found: dict[str, tuple[_Kind, Owner]] | None = None

    def owner(self, path: str, name: str, status: os.stat_result) -> Owner | None:
        """Whose the file `path` was if it is as the one that the layers have at `name`."""
        if not self.has(name):
            return None
        if self._found is None:
            self._found = {}
            for layer in self._layers:
                self._read(layer, self._found)
        kind, owner = self._found.get(name, (None, None))
        return owner if kind == _kind_here(path, status) else None

    def _read(self, layer: Layer, found: dict[str, tuple[_Kind, Owner]]) -> None:
        stored = stored_layer(self._store, layer)
        try:
            with stored.reader() as reader:
                for values in tar.members(reader, stored.where):
                    entry = tar.Entry.restore(values)
                    reader.skip(entry.size + tar.padding(entry.size))
                    name = tar.inside_root(entry.name, stored.where)
                    if entry.kind == tar.HARDLINK:
                        same = found.get(tar.inside_root(entry.link, stored.where))
                    elif entry.kind in (tar.REGULAR, tar.DIRECTORY):
                        same = None
                    else:
                        same = (_kind(entry), (entry.uid, entry.gid))
                    if same is None:
                        found.pop(name, None)  # it replaced what a lower layer has
                    else:
                        found[name] = same
        except ImageError as error:
            raise BuildError(error.message, hint=error.hint) from error


def _kind(entry: tar.Entry) -> _Kind:
    """What a symlink, pipe or device of a layer is."""
    link = entry.link if entry.kind == tar.SYMLINK else ""
    is_device = entry.kind in (tar.CHARACTER, tar.BLOCKDEV)
    return entry.kind, link, os.makedev(*entry.device) if is_device else 0


def _kind_here(path: str, status: os.stat_result) -> _Kind:
    """The same of a file here."""
    link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
    return _KINDS.get(stat.S_IFMT(status.st_mode), ""), link, status.st_rdev
