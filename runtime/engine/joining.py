"""Coming to a container that runs: the store, seen as root of the user namespace that it is in.

Without root each command is root of a user namespace of its own, which has no rights over a
container that another command started. Its owner may join that namespace, once.
"""

from __future__ import annotations

import os

from runtime.engine.cli import open_store
from runtime.engine.containers import PAUSED, Seen, find, is_monitored, look
from runtime.engine.record import read_run
from runtime.errors import ContainerError
from runtime.sandbox import namespaces, syscalls
from runtime.store.store import Store, default_root


def open_store_beside(root: str | None, word: str) -> tuple[Store, str]:
    """The store, and the directory of the container that a word stands for, with rights over it.

    Raises PyrunError.
    """
    if os.geteuid() == 0:
        store = open_store(root)
        return store, find(store, word)
    place = root or default_root()
    path = find(Store(place), word)
    run = read_run(path)
    if run is not None and is_monitored(path) and join_users(run.pid):
        return Store(place), path
    store = open_store(place)
    return store, find(store, word)


def join_users(pid: int) -> bool:
    """Be root of a process's user namespace; False if that has ended. Raises ContainerError."""
    try:
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise ContainerError(f"process {pid} belongs to somebody else") from error
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWUSER)
    except OSError as error:
        if error.errno == 22:  # EINVAL: it is the caller's own, in which he is not root
            raise ContainerError(
                f"process {pid} is in no user namespace", hint="only root may join its namespaces"
            ) from error
        raise ContainerError(f"process {pid}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(fd)
    namespaces.become_root_inside()
    return True


def running(store: Store, path: str) -> Seen:
    """A container that runs now; raises ContainerError for one that does not, or is paused."""
    seen = look(store, path)
    name = seen.record.name
    if seen.status == PAUSED:
        raise ContainerError(f"container {name} is paused", hint=f"`pyrun unpause {name}` first")
    if not seen.is_alive:
        raise ContainerError(
            f"container {name} is {seen.status}, not running", hint=f"`pyrun start {name}` first"
        )
    return seen
