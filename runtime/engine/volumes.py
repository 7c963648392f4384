"""Named volumes: directories of the store that outlive containers.

volumes/lock                held while one is made, taken into use, or removed
volumes/<name>/data         what containers see
volumes/<name>/volume.json  who it is

A container's directory says in `volumes.json` which ones it uses.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from time import time_ns

from runtime.engine.containers import directories
from runtime.engine.logfile import timestamp
from runtime.engine.mount_words import VolumeUse, is_volume_name
from runtime.engine.record import read_record, write_file
from runtime.errors import StoreError, UsageError
from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json, parse_json_value
from runtime.oci.spec import Mount
from runtime.record import Record
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from runtime.store.known import KnownImage
    from runtime.store.store import Store

USES = "volumes.json"
_RECORD = "volume.json"


class Volume(Record):
    """A volume of a store."""

    path: str  # of its directory
    name: str
    created: str  # RFC 3339
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the lock of a store's volumes."""
    os.makedirs(_folder(store), mode=0o711, exist_ok=True)
    fd = os.open(f"{_folder(store)}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _folder(store: Store) -> str:
    return f"{store.root}/volumes"


def data_of(volume: Volume) -> str:
    """The directory that containers see."""
    return f"{volume.path}/data"


def make_volume(
    store: Store,
    name: str,
    labels: tuple[tuple[str, str], ...] = (),
    *,
    anonymous: bool = False,
) -> Volume:
    """Make a volume, or find the one that has the name; the lock must be held.

    Raises UsageError for what cannot be a name.
    """
    if not is_volume_name(name):
        raise UsageError(f"volume {name!r}: letters, digits, '_', '.' and '-' expected")
    place = f"{_folder(store)}/{name}"
    if os.path.exists(f"{place}/{_RECORD}"):
        return find_volume(store, name)
    document: dict[str, object] = {
        "name": name,
        "created": timestamp(time_ns()),
        "labels": dict(labels),
        "anonymous": anonymous,
    }
    with Workspace(store) as room:
        aside = room.directory("volume")
        os.chmod(aside, 0o711)
        os.mkdir(f"{aside}/data", 0o755)
        write_file(aside, _RECORD, document)
        os.rename(aside, place)
    return find_volume(store, name)


def find_volume(store: Store, name: str) -> Volume:
    """The volume of a name; raises StoreError."""
    path = f"{_folder(store)}/{name}"
    where = f"{path}/{_RECORD}"
    try:
        if not is_volume_name(name):
            raise FileNotFoundError
        with open(where, "rb") as file:
            document: Any = parse_json(file.read(), where)
    except FileNotFoundError:
        raise StoreError(f"no volume {name!r}", hint="`pyrun volume ls` lists them") from None
    return Volume(
        path=path,
        name=name,
        created=document["created"],
        labels=tuple(document["labels"].items()),
        anonymous=document["anonymous"],
    )


def all_volumes(store: Store) -> list[Volume]:
    """The volumes of a store, by name."""
    try:
        names = sorted(os.listdir(_folder(store)))
    except FileNotFoundError:
        return []
    return [
        find_volume(store, name)
        for name in names
        if os.path.exists(f"{_folder(store)}/{name}/{_RECORD}")
    ]


def users_of(store: Store) -> dict[str, list[str]]:
    """The names of the containers that use each volume, running or not."""
    found: dict[str, list[str]] = {}
    for path in directories(store):
        for use in read_uses(path):
            users = found.setdefault(use.name, [])
            users.append(read_record(path).name)
    return found


def remove_volume(store: Store, name: str, *, force: bool = False) -> None:
    """Remove a volume with all that is in it; the lock must be held.

    Raises StoreError for one that a container uses; with `force` it need not be there.
    """
    if force and not os.path.exists(f"{_folder(store)}/{name}"):
        return
    volume = find_volume(store, name)
    if users := users_of(store).get(name):
        raise StoreError(
            f"volume {name} is in use by {', '.join(users)}", hint="`pyrun rm` these first"
        )
    with Workspace(store) as room:
        os.rename(volume.path, f"{room.path}/removed")


def read_uses(path: str) -> tuple[VolumeUse, ...]:
    """The volumes that a container's directory names; those without a name have got one."""
    where = f"{path}/{USES}"
    try:
        with open(where, "rb") as file:
            documents: Any = parse_json_value(file.read(), where)
    except FileNotFoundError:
        return ()
    return tuple(
        VolumeUse(name=document["name"], destination=document["destination"])
        for document in documents
    )


def remove_anonymous(store: Store, uses: tuple[VolumeUse, ...]) -> None:
    """Remove those of a removed container's volumes that nobody gave a name, nor uses else."""
    with locked(store):
        users = users_of(store)
        for use in uses:
            try:
                if find_volume(store, use.name).anonymous and use.name not in users:
                    remove_volume(store, use.name)
            except StoreError:  # removed already
                continue


def take_into_use(
    store: Store, path: str, uses: tuple[VolumeUse, ...], image: KnownImage
) -> tuple[Mount, ...]:
    """Find or make a new container's volumes, and note them in its directory; their mounts.

    What the image has at their places goes into those that are empty. The lock must be held.
    """
    mounts, documents = [], []
    for use in uses:
        name = use.name or os.urandom(32).hex()
        volume = make_volume(store, name, anonymous=not use.name)
        if use.copy and not os.listdir(data_of(volume)):
            from runtime.engine.volume_content import fill

            fill(store, image, use.destination, data_of(volume))
        documents.append({"name": name, "destination": use.destination})
        options = use.options or ("rbind",)
        mounts.append(
            Mount(
                destination=use.destination, type="bind", source=data_of(volume), options=options
            )
        )
    with open(f"{path}/{USES}", "wb") as file:
        file.write(to_text(documents).encode())
    return tuple(mounts)
