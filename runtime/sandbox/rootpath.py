"""Resolving a path inside a root without ever leaving it (openat2(2) RESOLVE_IN_ROOT).

A container's files are a stranger's: any component may be a symlink, and may change between two
looks. So a path is opened once, in the kernel, with the root as its ceiling, and used by its
descriptor from then on.
"""

from __future__ import annotations

import errno
import os

from runtime.sandbox.syscalls import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
# Any rename or mount on the machine that races with a walk through ".." (openat2(2) EAGAIN): who
# makes them in a loop would win every quick try of his time slice.
_QUICK_TRIES, _PATIENT_TRIES, _PATIENCE_S = 128, 1000, 0.001


def open_in_root(
    root_fd: int, path: str, flags: int = os.O_PATH, *, follow: bool = True, mode: int = 0
) -> int:
    """Open `path` inside `root_fd`; symlinks resolve inside, or with `follow=False` are ELOOP."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if follow else RESOLVE_NO_SYMLINKS)
    for tried in range(_QUICK_TRIES + _PATIENT_TRIES):
        try:
            return openat2(root_fd, path, flags, resolve=resolve, mode=mode)
        except BlockingIOError:
            if tried >= _QUICK_TRIES:
                import time

                time.sleep(_PATIENCE_S)
        except OSError as error:
            # An old kernel, or a sandbox around us that does not know the call.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
            from runtime.sandbox.path_walk import walk

            return walk(root_fd, path, flags, follow=follow, mode=mode)
    return openat2(root_fd, path, flags, resolve=resolve, mode=mode)


def make_directories(
    root_fd: int,
    path: str,
    mode: int = 0o755,
    owner: tuple[int, int] = (0, 0),
    *,
    links: int = 0,
) -> int:
    """Open the directory `path` inside the root, making what is missing; returns an O_PATH fd.

    Existing components may be symlinks and resolve inside the root: what up to `links` dangling
    ones point to is made there. One more, or a component that is not a directory, is an error.
    The caller's umask should be 0.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    parts = [part for part in path.split("/") if part not in ("", ".")]
    have = len(parts)
    while True:
        try:
            fd = open_in_root(root_fd, "/".join(parts[:have]) or ".", flags)
            break
        except FileNotFoundError:
            have -= 1  # ends at the root itself
    for end in range(have, len(parts)):
        try:
            # A set-group-ID directory hands its group and that bit on (inode(7)).
            inherits = os.fstat(fd).st_mode & 0o2000
            os.mkdir(parts[end], mode, dir_fd=fd)
            if inherits or owner != (0, 0):
                os.chown(parts[end], *owner, dir_fd=fd, follow_symlinks=False)
            if inherits or mode & 0o6000:  # mkdir(2) ignores these, and chown(2) clears them
                os.chmod(parts[end], mode, dir_fd=fd)
        except FileExistsError:
            # A dangling symlink, such as /var/run -> /run; if not, opening tells what it is.
            target = _link_target(fd, parts[end])
            if target and links:
                path = os.path.join("/".join(parts[:end]), target, *parts[end + 1 :])
                return make_directories(root_fd, path, mode, owner, links=links - 1)
        finally:
            os.close(fd)
        fd = open_in_root(root_fd, "/".join(parts[: end + 1]), flags)
    return fd


def _link_target(directory_fd: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=directory_fd)
    except OSError:  # no link, or gone again
        return ""


def make_file(root_fd: int, path: str) -> int:
    """Open the file `path` inside the root, making it if it is missing; returns an O_PATH fd.

    A dangling symlink is followed, inside the root: what it points to is made.
    """
    for _ in range(MAX_LINKS):
        try:
            return open_in_root(root_fd, path)
        except FileNotFoundError:
            pass
        parent, _, name = path.rpartition("/")
        parent_fd = make_directories(root_fd, parent or "/", links=MAX_LINKS)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent_fd))
        except FileExistsError:
            # A name that is there and cannot be opened: a link to nothing. An absolute one wins.
            path = os.path.join(parent, os.readlink(name, dir_fd=parent_fd))
        finally:
            os.close(parent_fd)
    raise OSError(40, os.strerror(40), path)  # ELOOP


def read_in_root(root_fd: int, path: str, limit: int) -> bytes | None:
    """Content of a regular file inside the root, or None if there is none at that path.

    Raises OSError for a file over `limit` bytes. A FIFO or device never blocks or is read.
    """
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(fd)
        if status.st_mode & 0o170000 != 0o100000:
            return None
        if status.st_size > limit:
            raise OSError(27, f"{path} is {status.st_size} bytes, at most {limit} are read")
        content = b""
        while chunk := os.read(fd, 1 << 16):
            content += chunk
            # One that grows meanwhile, or that is longer than it says: /proc/self/pagemap.
            if len(content) > limit:
                raise OSError(27, f"{path} does not end, at most {limit} bytes are read")
        return content
    finally:
        os.close(fd)
