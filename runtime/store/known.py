"""What a start needs of an image that was started before, so that it need not be read again.

    known/<device>-<inode>    what was found in an archive, or behind a name of the store

The file is told by its identity (device, inode, size, times of content and of status): nobody can
change its bytes and keep them all. A file that was changed just now is not remembered, since its
next change might bear the same time (git calls that racy). Records are the store's own, and what
cannot be read counts as not known.
"""

from __future__ import annotations

import marshal
import os
from time import time_ns

from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.store.store import Store

_FORMAT = 1
_FRESH_NS = 50_000_000  # the kernel's file times move on every 10 ms at the slowest


class KnownImage(Record):
    """An image's part in a start: its layers, applied, and what its configuration says."""

    lowers: tuple[str, ...]  # directories of the layers, highest first
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    env: tuple[str, ...]
    user: str
    working_dir: str


def know(store: Store, name: str, platform: str = "") -> KnownImage:
    """Find an image by its archive's path or its name; its missing layers are applied.

    What is asked for by `platform` is read anew each time. Raises ImageError or StoreError as
    `image.source.open_image` and `Store.layers_of` do.
    """
    path = name if os.path.exists(name) else store.image_name(name)
    found = None if platform else _recall(store, path)
    if found is not None:
        return found
    from runtime.image.source import open_image

    before = _identity(path)
    image = open_image(store, name, platform)
    found = _of(image, store.layers_of(image))
    if not platform and before is not None and before == _identity(path):
        _remember(store, path, before, found)
    return found


def _of(image: Image, lowers: tuple[str, ...]) -> KnownImage:
    parameters = image.config.config
    return KnownImage(
        lowers=lowers,
        entrypoint=parameters.entrypoint,
        cmd=parameters.cmd,
        env=parameters.env,
        user=parameters.user,
        working_dir=parameters.working_dir,
    )


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_mode & 0o170000 != 0o100000:
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    if time_ns() - max(times) < _FRESH_NS:
        return None
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _place(store: Store, identity: tuple[int, ...]) -> str:
    return f"{store.root}/known/{identity[0]:x}-{identity[1]:x}"


def _recall(store: Store, path: str) -> KnownImage | None:
    identity = _identity(path)
    if identity is None:
        return None
    try:
        with open(_place(store, identity), "rb") as file:
            version, known, values = marshal.loads(file.read())
    except (OSError, ValueError, TypeError, EOFError):
        return None
    if (version, known) != (_FORMAT, identity):
        return None
    found = KnownImage(**dict(zip(KnownImage._fields, values, strict=True)))
    # Layers may have been removed from the store since.
    return found if all(map(os.path.isdir, found.lowers)) else None


def _remember(store: Store, path: str, identity: tuple[int, ...], image: KnownImage) -> None:
    from runtime.store.store import write_atomically

    values = tuple(getattr(image, field) for field in KnownImage._fields)
    try:
        os.makedirs(f"{store.root}/known", exist_ok=True)
        write_atomically(_place(store, identity), marshal.dumps((_FORMAT, identity, values)))
    except OSError:
        pass  # a full or read-only store: the image is read again next time
