"""A store in memory, for a start for which there is none on disk: an image unpacked to a tmpfs.

The tmpfs is in a mount namespace of this process's own: it goes with the last process in there.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import StoreError
from runtime.image.source import open_image
from runtime.sandbox import syscalls
from runtime.sandbox.rootfs import make_private
from runtime.sandbox.userns import refuse_plain_container
from runtime.store.known import KnownImage, known_image
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = 128 << 20  # bytes: what is unpacked to memory where nobody asked for that
# Usually empty: then nobody misses one while the tmpfs is mounted there.
_PLACES = ("/mnt", "/media", "/srv", "/opt", "/boot", "/home", "/var/opt", "/var/local")
_UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOENT, errno.ENOTDIR),
)


def unpack_instead(
    error: StoreError, root: str, name: str, platform: str, volumes: Sequence[str]
) -> tuple[Store, KnownImage]:
    """Unpack a small image to memory, because the store at `root` cannot be written.

    Raises the error itself if that is not what it says, or the image is not small.
    """
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno not in _UNWRITABLE:
        raise error
    try:
        return unpack_to_memory(root, name, platform, volumes, most=SMALL)
    except StoreError as second:
        message = f"{error.message}; and in memory: {second.message}"
        raise StoreError(message, hint=error.hint) from error


def unpack_to_memory(
    root: str, name: str, platform: str, volumes: Sequence[str], *, most: int = 0
) -> tuple[Store, KnownImage]:
    """Unpack an image, which may have its name in the store at `root`, to a tmpfs.

    At most `most` bytes, if that is not 0; else half of the machine's memory. Raises StoreError
    where there is no room, or no place to mount it; ImageError.
    """
    refuse_plain_container()
    try:
        store = Store(root) if os.path.exists(f"{root}/version") else None
    except StoreError:
        store = None
    memory = _mounted(_place(volumes), most)
    image = open_image(store or memory, name, platform)
    size = sum(layer.descriptor.size for layer in image.layers)
    if most and size > most:
        raise StoreError(f"{name}: {size >> 20} MiB, at most {most >> 20} are unpacked to memory")
    return memory, known_image(image, memory.layers_of(image))


def _place(volumes: Sequence[str]) -> str:
    """An empty directory that no volume shows."""
    sources = [os.path.realpath(volume.partition(":")[0]) for volume in volumes]
    for place in _PLACES:
        try:
            empty = os.path.realpath(place) == place and not os.listdir(place)
        except OSError:
            continue
        if empty and not any(f"{place}/".startswith(f"{s.rstrip('/')}/") for s in sources):
            return place
    raise StoreError(f"no place for a tmpfs: none of {', '.join(_PLACES)} is empty")


def _mounted(place: str, most: int) -> Store:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        options = f"mode=0700,size={most}" if most else "mode=0700"
        syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_NODEV, options)
    except OSError as error:
        raise StoreError(f"{place}: {error.strerror}") from error
    store = Store(place)
    store.has_room = False
    return store
