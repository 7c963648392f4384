"""Room for work in progress: what is made there gets its name by rename, or is gone."""

from __future__ import annotations

import errno
import fcntl
import os

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
        try:
            remove_tree(self.path)
        except BaseException:  # a signal in the middle; a second one is ignored
            remove_tree(self.path)
            raise
        finally:
            os.close(self._lock)

    def directory(self, name: str) -> str:
        """Make and return a sub-directory."""
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o755)
        return path


def sweep(store: Store) -> None:
    """Remove what processes that no longer live left behind."""
    with Workspace(store):
        pass


def _abandoned(tmp: str) -> list[tuple[str, int]]:
    """What processes that no longer live left behind: paths, and descriptors that lock them."""
    found = []
    for name in os.listdir(tmp):
        try:
            fd = os.open(f"{tmp}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):  # its owner just finished; not ours
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its owner lives
            os.close(fd)
        else:
            found.append((f"{tmp}/{name}", fd))
    return found


def remove_tree(path: str) -> None:
    """Delete a directory with everything below it; nothing there is no error.

    Not by recursion, as shutil.rmtree: an image may nest its directories deeper than Python calls.
    What is not empty moves up to `path`, so two descriptors are enough for any depth.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        top = os.open(path, flags)
    except FileNotFoundError:
        return
    token = os.urandom(8).hex()
    moved = 0
    waiting = _remove_files(top)
    while waiting:
        folder = waiting.pop()
        fd = os.open(folder, flags, dir_fd=top)
        for name in _remove_files(fd):
            os.rename(name, f"{token}-{moved}", src_dir_fd=fd, dst_dir_fd=top)
            waiting.append(f"{token}-{moved}")
            moved += 1
        os.close(fd)
        os.rmdir(folder, dir_fd=top)
    os.close(top)
    os.rmdir(path)


def remove_directory(parent_fd: int, name: str) -> None:
    """Delete a directory with everything below it where nothing can be moved: in an overlay.

    One descriptor goes down and, by "..", up again: nobody else may be at work in there.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent_fd)
    levels = [(name, _remove_files(fd))]
    while levels:
        name, waiting = levels[-1]
        below = waiting.pop() if waiting else ".."
        next_fd = os.open(below, flags, dir_fd=fd)
        os.close(fd)
        fd = next_fd
        if below == "..":
            os.rmdir(name, dir_fd=fd)
            levels.pop()
        else:
            levels.append((below, _remove_files(fd)))
    os.close(fd)


def _remove_files(fd: int) -> list[str]:
    """Delete what can be deleted from a directory at once; the names of what cannot."""
    with os.scandir(fd) as found:
        entries = list(found)
    full = []
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=fd)
            continue
        try:
            os.rmdir(entry.name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            full.append(entry.name)
    return full
