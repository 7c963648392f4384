"""Paths resolved inside a root one component at a time, where openat2(2) is refused.

A kernel before 5.6 lacks it, and old sandboxes around us refuse what they do not know. Slower, and
a directory that is moved out of the root while it is walked through is noticed only where a ".."
leads on from it: there the way back is by the descriptors that led in, never by the name.
"""

from __future__ import annotations

import errno
import os

_MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))


def walk(root_fd: int, path: str, flags: int, *, follow: bool, mode: int = 0) -> int:
    """Open `path` below `root_fd` as openat2(2) with RESOLVE_IN_ROOT would; raises OSError.

    With `follow=False` any symbolic link is ELOOP. Magic links of /proc are refused with ELOOP.
    """
    stack = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)]
    try:
        name = _descend(stack, path, flags, follow=follow)
        if not name:
            return os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=stack[-1])
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=stack[-1])
    finally:
        for fd in stack:
            os.close(fd)


def _descend(stack: list[int], path: str, flags: int, *, follow: bool) -> str:
    """Walk to the directory of the last component, and return that; "" if it is the directory."""
    waiting = _parts(path)
    must_be_directory = _names_directory(path)
    links = 0
    while waiting:
        name = waiting.pop(0)
        last = not waiting
        if name == "..":
            if len(stack) > 1:  # the root is its own parent
                os.close(stack.pop())
            continue
        target = _link_target(stack[-1], name)
        if target is not None and not (last and flags & os.O_NOFOLLOW and not must_be_directory):
            links += 1
            if not follow or links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            must_be_directory = must_be_directory or (last and _names_directory(target))
            waiting = _parts(target) + waiting
            continue
        if last and not must_be_directory:
            return name
        directory = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        stack.append(os.open(name, directory, dir_fd=stack[-1]))
    return ""


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _names_directory(path: str) -> bool:
    return path.rpartition("/")[2] in ("", ".")


def _link_target(directory: int, name: str) -> str | None:
    """What a symbolic link says; None for anything else, also for what does not exist."""
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
    # A magic link of procfs leads to an object, whatever its text says (proc(5)). It is told by a
    # size that is not its text's; /proc/self and the links of sysfs have none either, but relative
    # texts.
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_size != len(os.fsencode(target)) and (target[:1] == "/" or ":[" in target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    return target
