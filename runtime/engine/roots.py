"""The files of a container, whether it runs or not, by a descriptor of its root."""

from __future__ import annotations

import os

from runtime.engine.containers import Seen, hold_monitor_lock, look
from runtime.engine.launching import present_lowers, spec_of
from runtime.engine.volumes import read_uses
from runtime.errors import ContainerError
from runtime.lifecycle.state import open_process
from runtime.sandbox import mounts, syscalls
from runtime.sandbox.rootfs import Overlay, make_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store


def open_container_root(store: Store, path: str) -> int:
    """Open the root of a container; raises ContainerError.

    That of one that does not run is mounted for this process alone, with its volumes; it cannot
    be started as long as this process lives.
    """
    seen = look(store, path)
    return _running_root(seen) if seen.is_alive else _stopped_root(store, path, seen)


def _running_root(seen: Seen) -> int:
    assert seen.state is not None
    pidfd = open_process(seen.state)
    try:
        # Its mounts are there too; what is opened from here on stays below (RESOLVE_IN_ROOT).
        root = os.open(f"/proc/{seen.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not seen.state.is_alive:
            raise ContainerError(f"container {seen.record.name} has just ended")
    finally:
        os.close(pidfd)
    return root


def _stopped_root(store: Store, path: str, seen: Seen) -> int:
    hold_monitor_lock(path)
    lowers = present_lowers(store, path, seen.record)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    overlay = Overlay(lowers=lowers, upper=f"{path}/upper", work=f"{path}/work")
    root = overlay.open_root(store.scratch)
    places = {use.destination for use in read_uses(path)}
    for mount in spec_of(path).mounts:
        if mount.destination in places:
            mounts.attach(mount, root)
    return root


def open_image_root(store: Store, path: str, seen: Seen) -> int:
    """Open the root of a container's image, as it was before the container wrote anything."""
    lowers = present_lowers(store, path, seen.record)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    return Overlay(lowers=lowers).open_root(store.scratch)
