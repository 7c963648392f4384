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
    """Note it on a file or directory; False where the filesystem has no such xattrs."""
    try:
        os.setxattr(place, OWNER, b"%d:%d" % owner)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True
