"""Room for work in progress: what is made there gets its name by rename, or is gone."""

from __future__ import annotations

import fcntl
import os
import shutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store


class Workspace:
    """A directory under tmp for one piece of work; gone when the work ends, however it ends."""

    def __init__(self, store: Store):
        self._store = store
        self._lock = -1
        self.path = ""

    def __enter__(self) -> Workspace:
        tmp = f"{self._store.root}/tmp"
        self.path = f"{tmp}/{os.getpid()}-{os.urandom(4).hex()}"
        tmp_fd = os.open(tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # One at a time, so that no sweep sees a directory between its making and its locking.
        fcntl.flock(tmp_fd, fcntl.LOCK_EX)
        abandoned = _abandoned(tmp)
        os.mkdir(self.path, 0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.close(tmp_fd)
        for path, lock in abandoned:
            remove_tree(path)
            os.close(lock)
        return self

    def __exit__(self, *_: object) -> None:
        remove_tree(self.path)
        os.close(self._lock)

    def directory(self, name: str) -> str:
        """Make and return a sub-directory."""
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o755)
        return path


def _abandoned(tmp: str) -> list[tuple[str, int]]:
    """What processes that no longer live left behind: paths, and descriptors that lock them."""
    found = []
    for name in os.listdir(tmp):
        try:
            fd = os.open(f"{tmp}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner just finished
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its owner lives
            os.close(fd)
        else:
            found.append((f"{tmp}/{name}", fd))
    return found


def remove_tree(path: str) -> None:
    """Delete a directory with everything below it; nothing there is no error."""

    def ignore_missing(_call: object, _path: str, failure: tuple[object, object, object]) -> None:
        error = failure[1]
        if isinstance(error, BaseException) and not isinstance(error, FileNotFoundError):
            raise error

    shutil.rmtree(path, onerror=ignore_missing)
