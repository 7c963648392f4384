"""Putting a layer over a directory tree for good, as a mount of overlayfs would show it."""

from __future__ import annotations

import os
import stat

from runtime.image.layer import opaque_xattr
from runtime.image.xattrs import kept_xattr
from runtime.store.workspace import remove_tree


def stack(layer: str, root: str) -> None:
    """Move all that is in an applied layer (`runtime.image.layer`) to the tree `root`.

    What the layer hides there is deleted. The layer's directory is of no use afterwards.
    """
    # No process of an image runs: what is seen to be a directory stays one, and is no symlink.
    folders = [""]
    statuses = []
    for name in folders:
        statuses.append(os.stat(f"{layer}{name}"))  # before what is in it is moved away
        for entry in tuple(os.scandir(f"{layer}{name}")):
            target = f"{root}{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/{entry.name}")
                _make_directory(target, opaque=_is_opaque(entry.path))
                continue
            _remove(target)
            if not _is_whiteout(entry):
                os.rename(entry.path, target)
    # Deepest first, and last: what is put into a directory changes its time.
    for name, status in zip(reversed(folders), reversed(statuses), strict=True):
        _copy_attributes(f"{layer}{name}", status, f"{root}{name}")


def _make_directory(path: str, *, opaque: bool) -> None:
    """Make sure that there is a directory, and an empty one if it is opaque."""
    if opaque or not os.path.isdir(path) or os.path.islink(path):
        _remove(path)
        os.mkdir(path, 0o700)


def _is_whiteout(entry: os.DirEntry[str]) -> bool:
    if entry.is_file(follow_symlinks=False) or entry.is_symlink():
        return False
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, opaque_xattr()) == b"y"
    except OSError:  # ENODATA: the common case
        return False


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_tree(path)


def _copy_attributes(source: str, status: os.stat_result, target: str) -> None:
    wanted = {key: os.getxattr(source, key) for key in os.listxattr(source) if kept_xattr(key)}
    os.chown(target, status.st_uid, status.st_gid)
    for key in os.listxattr(target):
        if kept_xattr(key) and key not in wanted:
            os.removexattr(target, key)
    for key, value in wanted.items():
        os.setxattr(target, key, value)
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
