"""Unpacking layers into the store: what is large by all processors at once (`image.distribution`).

For that a layer must be plain, and in a file that nobody writes to between its verification and
the end: a copy in the workspace if it is compressed, else the file that it is in, while a lease
says so (fcntl(2), F_SETLEASE). Where there is none to be had, one process does it in order.
"""

from __future__ import annotations

import errno
import fcntl
import os

from runtime.errors import ImageError, StoreError
from runtime.image.blob import BlobRange
from runtime.image.distribution import apply_distributed
from runtime.image.layer import apply_layer
from runtime.image.tar import FileStream
from runtime.image.workers import processors, share_out
from runtime.sandbox.userns import refuse_plain_container
from runtime.store.checking import Checking
from runtime.store.inflating import inflate
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from runtime.image.blob import StoredLayer
    from runtime.oci.digest import ChainID
    from runtime.store.store import Store

    Links = Sequence[tuple[StoredLayer, ChainID]]  # of a chain, lowest first
else:
    import _signal as signal

_LARGE = 1 << 20  # bytes of a blob from which on more processes than one are worth it


def unpack(store: Store, layers: Links, lowers: tuple[str, ...]) -> None:
    """Make the directories of layers that have none; the first, or lowest, lies over `lowers`.

    Raises ImageError for a layer that is not what was promised, StoreError where there is no room.
    """
    # Who cannot mount may not write overlayfs's form of a layer either.
    refuse_plain_container()
    try:
        _unpack(store, layers, lowers, processors())
    except OSError as error:
        raise StoreError(f"{store.root}: {error.strerror}") from error


def _unpack(store: Store, layers: Links, lowers: tuple[str, ...], processes: int) -> None:
    with Workspace(store) as work:
        for first in range(0, len(layers), processes):
            some = layers[first : first + processes]
            missing = [link for link in some if not os.path.isdir(store.layer(link[1]))]
            copies = _copies(work, missing, processes) if processes > 1 and store.has_room else {}
            for layer, chain_id in some:
                if not os.path.isdir(store.layer(chain_id)):
                    made = work.directory(chain_id.hex)
                    os.mkdir(f"{made}/fs", 0o755)
                    try:
                        if copy := copies.get(chain_id):
                            _apply_copy(copy, layer, f"{made}/fs", lowers, processes)
                        else:
                            _apply(layer, f"{made}/fs", lowers, processes)
                    except OSError as error:
                        raise StoreError(f"{layer.where}: {error.strerror}") from error
                    store.commit_layer(made, chain_id)
                lowers = (store.layer(chain_id), *lowers)
            for copy in copies.values():
                os.unlink(copy)


def _copies(work: Workspace, links: Links, processes: int) -> dict[ChainID, str]:
    """Plain and verified copies of compressed layers, made at the same time."""
    compressed = [
        (layer, chain_id, f"{work.path}/plain-{chain_id.hex}")
        for layer, chain_id in links
        if layer.descriptor.size >= _LARGE and not layer.descriptor.is_plain_layer
    ]
    if not compressed:
        return {}
    try:
        share_out(
            lambda n: inflate(compressed[n][0], compressed[n][2]), len(compressed), processes
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{compressed[0][0].where}: {error.strerror}") from error
        for _, _, path in compressed:  # there may be room for the files alone
            if os.path.exists(path):
                os.unlink(path)
        return {}
    return {chain_id: path for _, chain_id, path in compressed}


def _apply_copy(
    path: str, layer: StoredLayer, root: str, lowers: tuple[str, ...], processes: int
) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = BlobRange(path=path, offset=0, size=os.fstat(fd).st_size)
        _apply_unchanging(fd, whole, layer.where, root, lowers, processes)
    finally:
        os.close(fd)


def _apply(layer: StoredLayer, root: str, lowers: tuple[str, ...], processes: int) -> None:
    if processes > 1 and layer.descriptor.size >= _LARGE and layer.descriptor.is_plain_layer:
        fd = _leased(layer)
        if fd >= 0:
            try:
                _apply_leased(fd, layer, root, lowers, processes)
            finally:
                os.close(fd)  # the lease goes with it
            return
    with layer.reader() as reader:
        apply_layer(reader, root, lowers, layer.where, notes=True)
        reader.finish()


def _leased(layer: StoredLayer) -> int:
    """A descriptor of the file that a layer is in, with a lease; -1 if there is none to be had."""
    try:
        fd = os.open(layer.blob.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1  # opening it again says why
    try:
        # SIGIO, which would be sent when somebody opens it for writing, ends who ignores it.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _apply_leased(
    fd: int, layer: StoredLayer, root: str, lowers: tuple[str, ...], processes: int
) -> None:
    # Not by its name: that may be another file's by now.
    checking = Checking((layer.replace(blob=layer.blob.replace(path=f"/proc/self/fd/{fd}")),))
    try:
        _apply_unchanging(fd, layer.blob, layer.where, root, lowers, processes)
    except BaseException:
        checking.stop()
        raise
    checking.finish()
    if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
        raise ImageError(f"{layer.where}: {layer.blob.path}: somebody writes into it")


def _apply_unchanging(
    fd: int, blob: BlobRange, where: str, root: str, lowers: tuple[str, ...], processes: int
) -> None:
    """Extract a plain layer out of a file that stays as it is."""
    streams = [FileStream(fd, where, start=blob.offset, size=blob.size) for _ in range(2)]
    if not apply_distributed(streams[0], root, lowers, where, processes):
        apply_layer(streams[1], root, lowers, where, notes=True)
