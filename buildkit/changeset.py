"""From the upper directory of an overlay to a layer: what changed, as a deterministic tar.

Overlay's own notation becomes the image-spec's (layer.md "Whiteouts"): a 0/0 character device is
a whiteout, an opaque directory gets an opaque marker. Before it is packed the directory is
normalised in place, so that a later step sees the same files whether it came from the cache.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from buildkit.tarwriter import TarWriter
from runtime.image import tar
from runtime.image.layer import OPAQUE, WHITEOUT, opaque_xattr
from runtime.image.xattrs import kept_xattr
from runtime.oci.digest import DiffID


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer that was written: its DiffID, size in bytes and number of entries."""

    diff_id: DiffID
    size: int
    entries: int


def normalise(root: str, epoch: int) -> None:
    """Let nothing below `root` be newer than `epoch` (seconds), nor have fractions of a second."""
    for path, status in _walk(root):
        mtime = min(int(status.st_mtime), epoch)
        if status.st_mtime_ns != mtime * 1_000_000_000 and not _is_whiteout(status):
            os.utime(path, (mtime, mtime), follow_symlinks=False)


def pack(root: str, lower_root: str | None, fd: int) -> Packed:
    """Write the changes below `root` as a layer tar to `fd`.

    `lower_root` is the directory that `root` lies over: an entry for the root itself is written
    only where its owner or mode became another one.
    """
    writer = TarWriter(fd)
    links: dict[tuple[int, int], str] = {}
    count = 0
    for path, status in _walk(root):
        name = path[len(root) + 1 :]
        if not name:
            if _same_root(status, lower_root):
                continue
            name = "."
        count += 1
        for entry in _entries(path, name, status, links):
            if entry.kind == tar.REGULAR and entry.size:
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    writer.add_file(entry, file)
                finally:
                    os.close(file)
            else:
                writer.add(entry)
    return Packed(diff_id=DiffID(writer.finish()), size=writer.size, entries=count)


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below and with `root`, each directory before what is in it, names sorted.

    Children come before their directory's caller resumes, so a directory is yielded once; its
    times may be set while its children are still to come, since setting theirs changes no
    directory.
    """
    stack = [root]
    while stack:
        path = stack.pop()
        status = os.lstat(path)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            # The stack is taken from its end. Bytes order, which no locale changes.
            names = sorted(os.listdir(path), key=os.fsencode, reverse=True)
            stack.extend(f"{path}/{name}" for name in names)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _same_root(status: os.stat_result, lower_root: str | None) -> bool:
    if lower_root is None:
        return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o755)
    lower = os.stat(lower_root)
    return (status.st_uid, status.st_gid, status.st_mode) == (
        lower.st_uid,
        lower.st_gid,
        lower.st_mode,
    )


def _entries(
    path: str, name: str, status: os.stat_result, links: dict[tuple[int, int], str]
) -> Iterator[tar.Entry]:
    """The tar entries for one path: itself, and an opaque marker below it."""
    if _is_whiteout(status):
        parent, slash, last = name.rpartition("/")
        yield _entry(f"{parent}{slash}{WHITEOUT}{last}", tar.REGULAR, status, mode=0, size=0)
        return
    xattrs = tuple(
        (key, os.getxattr(path, key, follow_symlinks=False))
        for key in sorted(os.listxattr(path, follow_symlinks=False))
        if kept_xattr(key)
    )
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            yield _entry(name, tar.DIRECTORY, status, xattrs=xattrs)
            if _is_opaque(path):
                yield _entry(f"{name}/{OPAQUE}", tar.REGULAR, status, mode=0, size=0)
        case stat.S_IFREG:
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                yield _entry(name, tar.HARDLINK, status, link=first)
            else:
                yield _entry(name, tar.REGULAR, status, size=status.st_size, xattrs=xattrs)
        case stat.S_IFLNK:
            yield _entry(name, tar.SYMLINK, status, link=os.readlink(path), xattrs=xattrs)
        case stat.S_IFIFO:
            yield _entry(name, tar.FIFO, status, xattrs=xattrs)
        case stat.S_IFCHR | stat.S_IFBLK as kind:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            flag = tar.CHARACTER if kind == stat.S_IFCHR else tar.BLOCKDEV
            yield _entry(name, flag, status, device=device, xattrs=xattrs)
        case _:
            pass  # a socket means nothing without the process that listened on it


def _entry(
    name: str,
    kind: str,
    status: os.stat_result,
    *,
    mode: int | None = None,
    size: int = 0,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> tar.Entry:
    return tar.Entry(
        name=name,
        kind=kind,
        mode=status.st_mode & 0o7777 if mode is None else mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        mtime=0 if mode == 0 else int(status.st_mtime),
        link=link,
        device=device,
        xattrs=xattrs,
    )


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, opaque_xattr()) == b"y"
    except OSError:  # ENODATA: the common case
        return False
