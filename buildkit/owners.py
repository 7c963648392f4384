"""Whose the files of a layer are, where all of them belong to one id on this machine.

A user namespace with a single id keeps owners beside the files: noted on them (`runtime.image.
xattrs`), or for what bears no note, such as symlinks, in a table of inodes. Of those that an
earlier step made, the blobs of the layers tell (`owners_below`).
"""

from __future__ import annotations

import os
import stat

from runtime.image.xattrs import note_owner, noted_owner
from runtime.sandbox.userns import has_single_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.owners_below import OwnersBelow

Owner = tuple[int, int]  # user and group


class Owners:
    """Owners other than root's of files in a directory where all are root's."""

    def __init__(self) -> None:
        self._others: dict[tuple[int, int], Owner] = {}  # by device and inode
        self.below: OwnersBelow | None = None
        # Whether a new file in a set-group-ID directory has that one's group (inode(7)), unless
        # something was noted on it. So it is where every owner that was asked for was noted, but
        # for a file that was made elsewhere and moved there.
        self.inherits = False

    def of(self, path: str, name: str, status: os.stat_result) -> Owner:
        """Whose a file is, `name` below the root; `status` is what lstat(2) says of it."""
        noted = self.noted(path, status)
        if noted is None and self.below is not None and not _bears_notes(status):
            noted = self.below.owner(path, name, status)
        if noted is None and self.inherits and name:
            group = self._group_of_new(os.path.dirname(path), name.rpartition("/")[0])
            if group and not (self.below is not None and self.below.has(name)):
                noted = status.st_uid, group
                self.note(path, status, noted)  # for the steps after this one
        return noted or (status.st_uid, status.st_gid)

    def _group_of_new(self, folder: str, name: str) -> int:
        """The group that a directory gives to what is made in it, or 0."""
        status = os.lstat(folder)
        return self.of(folder, name, status)[1] if status.st_mode & stat.S_ISGID else 0

    def noted(self, path: str, status: os.stat_result) -> Owner | None:
        """Whose it was said to be, if anything was said."""
        other = self._others.get((status.st_dev, status.st_ino))
        if other is not None or not _bears_notes(status):
            return other
        return noted_owner(path)

    def note(self, path: str, status: os.stat_result, owner: Owner) -> bool:
        """Say whose a file is; False if that was noted here, and not on the file."""
        if _bears_notes(status) and note_owner(path, owner):
            return True
        self.note_inode(status, owner)
        return False

    def note_inode(self, status: os.stat_result, owner: Owner) -> None:
        """Say it of what bears no note; the inode must not be another's before the end."""
        self._others[status.st_dev, status.st_ino] = owner


class Seen:
    """Owners of files of layers, for who copies them: with a single id, those that are noted."""

    def __init__(self) -> None:
        self.single = has_single_id()

    def of(self, path: str, status: os.stat_result) -> Owner:
        """Whose a file is; `status` is what lstat(2) says of it."""
        noted = noted_owner(path) if self.single and _bears_notes(status) else None
        return noted or (status.st_uid, status.st_gid)


def _bears_notes(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


def owners_here() -> Owners | None:
    """The owners of what this process writes, if files cannot have them themselves."""
    return Owners() if has_single_id() else None
