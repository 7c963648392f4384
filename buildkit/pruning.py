"""Making a store smaller: by age, by size, or of all that no image needs."""

from __future__ import annotations

import errno
import os
import time

from buildkit.errors import DiskError
from buildkit.inventory import CONTAINERS, Item, inventory
from buildkit.locks import try_lock
from runtime.engine.containers import look_at_all
from runtime.store.store import Store
from runtime.store.workspace import remove_tree, sweep

_ROOM = 0.9  # of an automatic limit is what is left, so that not every build has to prune


def lock_alone(store: Store) -> None:
    """Be the only one who uses the store, until this process ends; raises DiskError."""
    if not try_lock(store.lock):
        pids = _holders(store)
        raise DiskError(
            f"{store.root}: in use by process {', '.join(map(str, pids)) or 'of another user'}",
            hint="containers and builds that use it must end first",
        )


def prune(
    store: Store,
    *,
    unused_s: float | None = None,
    keep_bytes: int | None = None,
    room: float = 1.0,
) -> list[Item]:
    """Remove what no named image needs: what was unused for so many seconds, or the oldest until
    the store has no more than so many bytes; without either, all of it.

    `room` times `keep_bytes` is what is left where that was exceeded. Returns what was removed.
    The caller has the store alone. Raises OSError.
    """
    sweep(store)
    items = inventory(store)
    # A layer goes before what lies below it: who finds one trusts that those are there.
    loose = [item for item in items if not item.held]
    loose.sort(key=lambda item: (item.used, -item.depth))
    if unused_s is not None:
        loose = [item for item in loose if item.used < time.time() - unused_s]
    # What containers have written is no cache, and must not drive all of that away.
    left = sum(item.size for item in items if item.kind != CONTAINERS)
    if keep_bytes is not None:
        keep_bytes = left if left <= keep_bytes else int(keep_bytes * room)
    removed = []
    for item in loose:
        if keep_bytes is not None and left <= keep_bytes:
            break
        remove_item(store, item.path)
        left -= item.size
        removed.append(item)
    return removed


def prune_to_limit(store: Store, limit_bytes: int) -> list[Item]:
    """After a build: keep a store below a limit, unless somebody else uses it just now.

    Cache mounts and packages count and are removed like everything else.
    """
    if not try_lock(store.lock):
        return []
    try:
        return prune(store, keep_bytes=limit_bytes, room=_ROOM)
    finally:
        try_lock(store.lock, shared=True)


def reset(store: Store) -> None:
    """Remove the store; its directory stays, empty. The caller has it alone.

    Raises DiskError if a container runs.
    """
    if running := [seen.record.name for seen in look_at_all(store) if seen.is_alive]:
        raise DiskError(
            f"{store.root}: container {', '.join(running)} runs",
            hint="`pyrun stop --all` ends all of them",
        )
    # First: without it what is left is no store, whatever happens in the middle.
    os.unlink(f"{store.root}/version")
    for name in os.listdir(store.root):
        remove_item(store, f"{store.root}/{name}")


def remove_item(store: Store, path: str) -> None:
    """Remove a thing of the store.

    A directory loses its name first: it is there whole or not at all.
    """
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    aside = f"{store.root}/tmp/removed-{os.path.basename(path)}"
    try:
        os.rename(path, aside)
    except OSError as error:  # tmp itself
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EBUSY):
            raise
        aside = path
    remove_tree(aside)


def _holders(store: Store) -> list[int]:
    """Processes that hold a lock of the store (proc_locks(5)), as far as can be seen."""
    status = os.fstat(store.lock)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii", errors="replace") as locks:
        fields = [line.split() for line in locks]
    found = {int(f[4]) for f in fields if len(f) > 5 and f[5] == file and f[1] == "FLOCK"}
    return sorted(found - {os.getpid(), 0, -1})
