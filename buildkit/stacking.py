"""Putting a layer over a directory tree for good, as a mount of overlayfs would show it."""

from __future__ import annotations

import os

from runtime.image.whiteouts import Hidden
from runtime.image.xattrs import OWNER, kept_xattr
from runtime.store.workspace import remove_tree


def stack(layer: str, root: str, hidden: Hidden) -> None:
    """Move all that is in an applied layer (`runtime.image.layer`) to the tree `root`.

    What it hides there is deleted first. The layer's directory is of no use afterwards.
    """
    for name in hidden.whiteouts:
        _remove_below(root, name)
    # No process of an image runs: what is seen to be a directory stays one, and is no symlink.
    folders = [""]
    statuses = []
    for name in folders:
        statuses.append(os.stat(f"{layer}{name}"))  # before what is in it is moved away
        for entry in tuple(os.scandir(f"{layer}{name}")):
            target = f"{root}{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/{entry.name}")
                _make_directory(target, opaque=f"{name}/{entry.name}"[1:] in hidden.opaque)
            else:
                _remove(target)
                os.rename(entry.path, target)
    # Deepest first, and last: what is put into a directory changes its time.
    for name, status in zip(reversed(folders), reversed(statuses), strict=True):
        copy_attributes(f"{layer}{name}", status, f"{root}{name}")


def _make_directory(path: str, *, opaque: bool) -> None:
    """Make sure that there is a directory, and an empty one if it is opaque."""
    if opaque or not os.path.isdir(path) or os.path.islink(path):
        _remove(path)
        os.mkdir(path, 0o700)


def _remove_below(root: str, name: str) -> None:
    """Delete what a whiteout names, unless a link of the tree would have to be followed."""
    parts = name.split("/")
    for end in range(1, len(parts)):
        folder = "/".join((root, *parts[:end]))
        if os.path.islink(folder) or not os.path.isdir(folder):
            return
    _remove(f"{root}/{name}")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_tree(path)


def copy_attributes(source: str, status: os.stat_result, target: str) -> None:
    """Make a directory look as another one does, whose status may be from before a change."""
    wanted = {key: os.getxattr(source, key) for key in os.listxattr(source) if _goes_along(key)}
    os.chown(target, status.st_uid, status.st_gid)
    for key in os.listxattr(target):
        if _goes_along(key) and key not in wanted:
            os.removexattr(target, key)
    for key, value in wanted.items():
        os.setxattr(target, key, value)
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _goes_along(key: str) -> bool:
    """Whether an xattr is the image's, or says of which owner a file is."""
    return kept_xattr(key) or key == OWNER
