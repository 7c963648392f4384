"""What a layer hides of those below it (image-spec layer.md "Whiteouts"), and two ways to keep it:
in overlayfs's form, in the layer's directory itself; or as a list beside it.
"""

from __future__ import annotations

import os

from runtime.sandbox.userns import in_user_namespace

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


def opaque_xattr() -> str:
    """The xattr by which overlayfs knows an opaque directory here (`userxattr` mounts differ)."""
    return ("user" if in_user_namespace() else "trusted") + ".overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is how overlayfs marks what a layer hides."""
    return status.st_mode & 0o170000 == 0o020000 and status.st_rdev == 0


def is_opaque(path: str) -> bool:
    """Whether a directory of a layer hides all that is below it there."""
    try:
        return os.getxattr(path, opaque_xattr()) == b"y"
    except OSError:  # ENODATA: the common case
        return False


def find_below(lowers: tuple[str, ...], path: str) -> str | None:
    """Where layers, highest first, have what is at a path when they are stacked.

    None if that is nothing; no link is followed.
    """
    parts = path.split("/") if path else []
    for lower in lowers:
        place, hides = lower, False
        if not parts:
            return place
        for end, part in enumerate(parts, 1):
            place = f"{place}/{part}"
            try:
                status = os.lstat(place)
            except FileNotFoundError:
                break
            if is_whiteout(status):
                return None
            if end == len(parts):
                return place
            if status.st_mode & 0o170000 != 0o040000:
                return None
            hides = hides or is_opaque(place)
        if hides:
            return None
    return None


class OverlayForm:
    """A 0/0 character device for what is hidden, and an xattr on an opaque directory."""

    def hide(self, parent_fd: int, name: str) -> None:
        """Hide an entry of a directory of the layer, which has none of that name itself."""
        os.mknod(name, 0o020000, 0, dir_fd=parent_fd)

    def make_opaque(self, parent_fd: int, name: str = ".") -> None:
        """Hide all that is in a directory below this layer."""
        os.setxattr(f"/proc/self/fd/{parent_fd}/{name}", opaque_xattr(), b"y")


class Hidden(OverlayForm):
    """Paths inside the layer, for who does not mount it: without a first slash, links resolved.

    Overlayfs allows neither device nor xattr in what lies on another overlay.
    """

    def __init__(self, root: str) -> None:
        """`root` is the directory of the layer."""
        self._skip = len(os.path.realpath(root)) + 1
        self.whiteouts: list[str] = []
        self.opaque: set[str] = set()

    def hide(self, parent_fd: int, name: str) -> None:
        """Note a whiteout."""
        self.whiteouts.append(self._path(parent_fd, name))

    def make_opaque(self, parent_fd: int, name: str = ".") -> None:
        """Note an opaque directory."""
        self.opaque.add(self._path(parent_fd, name))

    def _path(self, parent_fd: int, name: str) -> str:
        above = os.readlink(f"/proc/self/fd/{parent_fd}")
        return os.path.normpath(f"{above}/{name}")[self._skip :]
