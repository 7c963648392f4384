"""What a start needs of an image that was started before, so that it need not be read again.

    known/<device>-<inode>         what was found in an archive, or behind a name of the store
    known/<device>-<inode>-made    that an archive or a blob was written, or verified, here

The file is told by its identity (device, inode, size, times of content and of status): nobody can
change its bytes and keep them all. A file that was changed just now is not remembered, since its
next change might bear the same time (git calls that racy). Records are the store's own, and what
cannot be read counts as not known.
"""

from __future__ import annotations

import marshal
import os
from time import time_ns

from runtime.errors import ImageError
from runtime.record import Record
from runtime.store.identity import identity_of, identity_of_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.erofs.lower import Index, Place
    from runtime.image.archive import Image
    from runtime.store.store import Store

AUTO, INPLACE, UNPACK, TMPFS = "auto", "inplace", "unpack", "tmpfs"  # whence a root filesystem
ALWAYS, NEVER = "always", "never"  # when digests are checked, beside auto
MADE = "-made"
_FORMAT = 2
_FRESH_NS = 50_000_000  # the kernel's file times move on every 10 ms at the slowest


class KnownImage(Record):
    """An image's part in a start: its layers, and what its configuration says."""

    lowers: tuple[str | Index, ...]  # their directories, highest first, or one index of them
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    env: tuple[str, ...]
    user: str
    working_dir: str


def know(
    store: Store, name: str, platform: str = "", *, rootfs: str = AUTO, verify: str = AUTO
) -> KnownImage:
    """Find an image by its archive's path or its name; what is missing of it is made.

    What is asked for by `platform` is read anew each time. Raises ImageError or StoreError as
    `image.source.open_image` and `Store.layers_of` do.
    """
    path = name if os.path.exists(name) else store.image_name(name)
    found = None
    if not platform and verify != ALWAYS:
        found = recall(store, path)
    if found is not None and (rootfs == AUTO or (rootfs == INPLACE) == _is_in_place(found)):
        return found
    from runtime.image.source import open_image
    from runtime.store.preparation import prepare

    before = _identity(path)
    try:
        image = open_image(store, name, platform)
        found = known_image(image, prepare(store, image, rootfs=rootfs, verify=verify))
    except ImageError as error:
        if error.hint is None and path != name:
            from runtime.store.wholeness import remedy

            error.hint = remedy(store, name)
        raise
    # What nobody has verified must not be taken for verified the next time.
    if not platform and verify != NEVER and before is not None and before == _identity(path):
        _remember(store, path, before, found)
    return found


def _is_in_place(image: KnownImage) -> bool:
    return any(not isinstance(lower, str) for lower in image.lowers)


def known_image(image: Image, lowers: tuple[str | Index, ...]) -> KnownImage:
    """What a start needs of an image, with its layers as they were made."""
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
    if time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _FRESH_NS:
        return None
    return identity_of_status(status)


def trust(store: Store, path: str) -> None:
    """Remember that what is in an archive or a blob is what its digest says: it was made here."""
    identity = identity_of(path)
    _write(store, f"{place_of(store, identity)}{MADE}", (_FORMAT, identity))


def is_trusted(store: Store, path: str) -> bool:
    """Whether `trust` was told of a file, and nothing has changed since."""
    try:
        identity = identity_of(path)
        with open(f"{place_of(store, identity)}{MADE}", "rb") as file:
            return bool(marshal.loads(file.read()) == (_FORMAT, identity))
    except (OSError, ValueError, TypeError, EOFError):
        return False


def places_outside(store: Store, image: KnownImage) -> tuple[Place, ...]:
    """The files outside the store that an image is mounted from."""
    return tuple(
        place
        for lower in image.lowers
        if not isinstance(lower, str)
        for place in lower.places
        if not place.path.startswith(f"{store.root}/")
    )


def forget(image: KnownImage) -> None:
    """Remove the index of an image, if it has one: it is made again at the next start."""
    for lower in image.lowers:
        if not isinstance(lower, str):
            try:
                os.unlink(lower.path)
            except FileNotFoundError:
                pass


def place_of(store: Store, identity: tuple[int, ...]) -> str:
    """The record of a file, there or not; with `MADE` behind it, that of its origin."""
    return f"{store.root}/known/{identity[0]:x}-{identity[1]:x}"


def recall(store: Store, path: str) -> KnownImage | None:
    """What an earlier start found of an archive or a name's file, if it is as it was."""
    identity = _identity(path)
    if identity is None:
        return None
    try:
        with open(place_of(store, identity), "rb") as file:
            version, known, values = marshal.loads(file.read())
    except (OSError, ValueError, TypeError, EOFError):
        return None
    if (version, known) != (_FORMAT, identity):
        return None
    lowers, *rest = values
    found = KnownImage.restore((tuple(map(_read_lower, lowers)), *rest))
    # Layers may have been removed from the store since.
    return found if are_there(found.lowers) else None


def _is_there(lower: str | Index) -> bool:
    return os.path.isdir(lower) if isinstance(lower, str) else lower.is_whole()


def _read_lower(values: Any) -> str | Index:
    if isinstance(values, str):
        return values
    from runtime.erofs.lower import Index, Place

    path, size, places = values
    return Index(path=path, size=size, places=tuple(Place.restore(place) for place in places))


def _lower_values(lower: str | Index) -> object:
    if isinstance(lower, str):
        return lower
    return lower.path, lower.size, tuple(place.values() for place in lower.places)


def pack_lowers(lowers: tuple[str | Index, ...]) -> bytes:
    """The layers of an image, for whoever needs these and no others later."""
    values: Any = tuple(map(_lower_values, lowers))
    return marshal.dumps((_FORMAT, values))


def unpack_lowers(content: bytes) -> tuple[str | Index, ...]:
    """What `pack_lowers` was given, there or not; raises ValueError for what it is not from."""
    try:
        version, values = marshal.loads(content)
        if version == _FORMAT:
            return tuple(map(_read_lower, values))
    except (TypeError, EOFError, AttributeError) as error:
        raise ValueError(f"damaged ({error})") from error
    raise ValueError("another version's")


def are_there(lowers: tuple[str | Index, ...]) -> bool:
    """Whether layers are still where they were."""
    return all(map(_is_there, lowers))


def _remember(store: Store, path: str, identity: tuple[int, ...], image: KnownImage) -> None:
    values = (tuple(map(_lower_values, image.lowers)), *image.values()[1:])
    _write(store, place_of(store, identity), (_FORMAT, identity, values))


def _write(store: Store, place: str, record: tuple[Any, ...]) -> None:
    """Write a record whole; it need not survive a power cut."""
    aside = f"{place}.{os.getpid()}"
    try:
        os.makedirs(f"{store.root}/known", exist_ok=True)
        with open(aside, "wb") as file:
            file.write(marshal.dumps(record))
        os.rename(aside, place)
    except OSError:
        pass  # a full or read-only store: the image is read again next time
