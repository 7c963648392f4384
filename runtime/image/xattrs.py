"""Which extended attributes belong to an image; and whose a file is that cannot be given away.

In a user namespace with a single id every file is its root's. The owner that a file of a layer is
to have, if that is another one, is noted on it: so it goes wherever the file goes, also when
overlayfs copies it up, and not to what takes the file's name. Only files and directories can bear
such a note (xattr(7)).
"""

from __future__ import annotations

import errno
import os

OWNER = "user.pybuild.owner"
_LONGEST = 32  # bytes of two ids


def kept_xattr(name: str) -> bool:
    """Whether an xattr belongs to an image: overlay's own, ours, the host's labels do not."""
    if name.startswith("user."):
        return name != OWNER and not name.startswith("user.overlay.")
    return name == "security.capability"


def noted_owner(place: str, *, follow: bool = False) -> tuple[int, int] | None:
    """The user and group that are noted on a file, if there are any."""
    try:
        text = os.getxattr(place, OWNER, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise
    # What runs in a container can write anything there, of files that are its own.
    uid, _, gid = text.partition(b":")
    if len(text) > _LONGEST or not (uid.isdigit() and gid.isdigit()):
        return None
    return int(uid) & 0xFFFF_FFFF, int(gid) & 0xFFFF_FFFF


def note_owner(place: str, owner: tuple[int, int]) -> bool:
    """Note it on a file or directory; False for anything else, and where there are no xattrs."""
    try:
        os.setxattr(place, OWNER, b"%d:%d" % owner)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
        return False
    return True


def with_note(
    xattrs: tuple[tuple[str, bytes], ...], owner: tuple[int, int] | None
) -> tuple[tuple[str, bytes], ...]:
    """What a layer has for a file, without a note of its own, and perhaps with one of ours."""
    others = tuple(xattr for xattr in xattrs if xattr[0] != OWNER)
    return others if owner is None else (*others, (OWNER, b"%d:%d" % owner))


def set_xattrs(
    place: int | str, xattrs: tuple[tuple[str, bytes], ...], *, follow: bool = True
) -> None:
    """Give a file those of a layer's xattrs that belong to an image, and a note."""
    for key, value in xattrs:
        try:
            if kept_xattr(key) or key == OWNER:
                os.setxattr(place, key, value, follow_symlinks=follow)
        except OSError as error:
            if key != OWNER or error.errno != errno.EOPNOTSUPP:
                raise
