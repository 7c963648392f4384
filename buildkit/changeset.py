"""From what changed to a layer: a deterministic tar.

In the upper directory of an overlay, its own notation becomes the image-spec's (layer.md
"Whiteouts"): a 0/0 character device is a whiteout, an opaque directory gets an opaque marker.
Before they are packed the changes are normalised in place, so that a later step sees the same
files whether it came from the cache.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from buildkit.counting import Count
from buildkit.owners import Owner, Owners
from buildkit.tarwriter import TarWriter
from runtime.image import tar
from runtime.image.whiteouts import OPAQUE, WHITEOUT, find_below, is_opaque, is_whiteout
from runtime.image.xattrs import kept_xattr
from runtime.oci.digest import DiffID
from runtime.record import Record


class Packed(Record):
    """A layer that was written: its DiffID, size in bytes and number of entries."""

    diff_id: DiffID
    size: int
    entries: int


class Change(Record):
    """One path that a step changed."""

    name: str  # below the root; empty for the root itself
    whiteout: bool = False  # it is gone
    opaque: bool = False  # a directory that hides what was there
    status: os.stat_result | None = None  # if it was looked at


def normalise(root: str, epoch: int) -> None:
    """Let nothing below `root` be newer than `epoch` (seconds), nor have fractions of a second."""
    for path, status in _walk(root):
        if not is_whiteout(status):
            _set_time(path, status, epoch)


def normalise_changes(root: str, changes: Iterable[Change], epoch: int) -> None:
    """The same for some changes to a tree, and for its root."""
    paths = {f"{root}/{change.name}" for change in changes if change.name and not change.whiteout}
    for path in (*paths, root):
        _set_time(path, os.lstat(path), epoch)


def _set_time(path: str, status: os.stat_result, epoch: int) -> None:
    mtime = min(int(status.st_mtime), epoch)
    if status.st_mtime_ns != mtime * 1_000_000_000:
        os.utime(path, (mtime, mtime), follow_symlinks=False)


def pack(
    root: str,
    lower_root: str | None,
    fd: int,
    *,
    lowers: tuple[str, ...] = (),
    count: Count | None = None,
    owners: Owners | None = None,
) -> Packed:
    """Write the changes in an upper directory as a layer tar to `fd`.

    `lower_root` is the directory that `root` lies over: an entry for the root itself is written
    only where its owner or mode became another one. With `lowers`, all directories below (highest
    first), there is no opaque marker where they have nothing that it would hide. `owners` says
    whose files are that do not say it themselves.
    """
    return pack_changes(root, _upper_changes(root, lower_root, lowers), fd, count, owners)


def pack_changes(
    root: str,
    changes: Iterable[Change],
    fd: int,
    counted: Count | None = None,
    owners: Owners | None = None,
) -> Packed:
    """Write changes to the tree `root` as a layer tar to `fd`, in the order given."""
    writer = TarWriter(fd, counted)
    links: dict[tuple[int, int], str] = {}
    count = 0
    for change in changes:
        count += 1
        path = f"{root}/{change.name}" if change.name else root
        for entry in _entries(path, change, links, owners):
            if entry.kind == tar.REGULAR and entry.size:
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    writer.add_file(entry, file)
                finally:
                    os.close(file)
            else:
                writer.add(entry)
    return Packed(diff_id=DiffID(writer.finish()), size=writer.size, entries=count)


def _upper_changes(root: str, lower_root: str | None, lowers: tuple[str, ...]) -> Iterator[Change]:
    for path, status in _walk(root):
        name = path[len(root) + 1 :]
        if not name and _same_root(status, lower_root):
            continue
        opaque = stat.S_ISDIR(status.st_mode) and is_opaque(path)
        # overlayfs marks a new directory that was renamed, also where there is nothing to hide.
        if opaque and lowers and find_below(lowers, name) is None:
            opaque = False
        yield Change(name=name, whiteout=is_whiteout(status), opaque=opaque, status=status)


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
    path: str, change: Change, links: dict[tuple[int, int], str], owners: Owners | None
) -> Iterator[tar.Entry]:
    """The tar entries for one change: the path itself, and an opaque marker below it."""
    name = change.name or "."
    if change.whiteout:
        parent, slash, last = name.rpartition("/")
        yield marker(f"{parent}{slash}{WHITEOUT}{last}")
        return
    status = change.status or os.lstat(path)
    owner = (status.st_uid, status.st_gid) if owners is None else owners.of(path, name, status)
    xattrs = tuple(
        (key, os.getxattr(path, key, follow_symlinks=False))
        for key in sorted(os.listxattr(path, follow_symlinks=False))
        if kept_xattr(key)
    )
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            yield _entry(name, tar.DIRECTORY, status, owner, xattrs=xattrs)
            if change.opaque:
                yield marker(f"{name}/{OPAQUE}", owner)
        case stat.S_IFREG:
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                yield _entry(name, tar.HARDLINK, status, owner, link=first)
            else:
                size = status.st_size
                yield _entry(name, tar.REGULAR, status, owner, size=size, xattrs=xattrs)
        case stat.S_IFLNK:
            target = os.readlink(path)
            yield _entry(name, tar.SYMLINK, status, owner, link=target, xattrs=xattrs)
        case stat.S_IFIFO:
            yield _entry(name, tar.FIFO, status, owner, xattrs=xattrs)
        case stat.S_IFCHR | stat.S_IFBLK as kind:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            flag = tar.CHARACTER if kind == stat.S_IFCHR else tar.BLOCKDEV
            yield _entry(name, flag, status, owner, device=device, xattrs=xattrs)
        case _:
            pass  # a socket means nothing without the process that listened on it


def _entry(
    name: str,
    kind: str,
    status: os.stat_result,
    owner: Owner,
    *,
    size: int = 0,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> tar.Entry:
    mode, mtime = status.st_mode & 0o7777, int(status.st_mtime)
    return tar.Entry.restore((name, kind, mode, *owner, size, mtime, link, device, xattrs, None))


def marker(name: str, owner: tuple[int, int] = (0, 0)) -> tar.Entry:
    """A whiteout, or what marks a directory as opaque (layer.md "Whiteouts")."""
    uid, gid = owner
    return tar.Entry(name=name, kind=tar.REGULAR, mode=0, uid=uid, gid=gid, size=0, mtime=0)
