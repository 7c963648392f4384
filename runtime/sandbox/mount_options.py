"""Mount options of the runtime-spec (config.md "Linux mount options"), by whom they are for:
the mount (mount_setattr(2)), mounts below it, propagation, the filesystem, or the runtime.
"""

from __future__ import annotations

from runtime.record import Record
from runtime.sandbox import syscalls

# (attributes to set, attributes to clear) of each word. One way to keep access times replaces
# another, so the mask of all is cleared first (mount_setattr(2)).
_ATTRIBUTES = {
    "ro": (syscalls.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, syscalls.MOUNT_ATTR_RDONLY),
    "nosuid": (syscalls.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, syscalls.MOUNT_ATTR_NOSUID),
    "nodev": (syscalls.MOUNT_ATTR_NODEV, 0),
    "dev": (0, syscalls.MOUNT_ATTR_NODEV),
    "noexec": (syscalls.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, syscalls.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (syscalls.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, syscalls.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (syscalls.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, syscalls.MOUNT_ATTR_NODIRATIME),
    "relatime": (0, syscalls.MOUNT_ATTR_ATIME),
    "norelatime": (0, 0),
    "noatime": (syscalls.MOUNT_ATTR_NOATIME, syscalls.MOUNT_ATTR_ATIME),
    "atime": (0, syscalls.MOUNT_ATTR_ATIME),
    "strictatime": (syscalls.MOUNT_ATTR_STRICTATIME, syscalls.MOUNT_ATTR_ATIME),
    "nostrictatime": (0, syscalls.MOUNT_ATTR_ATIME),
}
PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "slave": syscalls.MS_SLAVE,
    "shared": syscalls.MS_SHARED,
    "unbindable": syscalls.MS_UNBINDABLE,
}
# What mount(2) knows and no filesystem does: the kernel's own defaults, and words of fstab.
_NOTHING = frozenset("defaults loud silent async nomand noiversion nolazytime remount".split())


class MountOptions(Record):
    """The options of one mount."""

    bind: bool = False
    recursive: bool = False  # rbind
    set_attributes: int = 0
    clear_attributes: int = 0
    set_below: int = 0  # the recursive forms: rro, rnosuid, …
    clear_below: int = 0
    propagation: int = 0  # MS_PRIVATE, …; 0: as it comes
    propagation_below: bool = False  # rprivate, …
    copy_up: bool = False  # tmpcopyup: the content of the mount point goes into the tmpfs
    idmap: str = ""  # idmap or ridmap
    follow_source: bool = True
    follow_destination: bool = True
    data: tuple[tuple[str, str | None], ...] = ()


def sort_options(options: tuple[str, ...]) -> MountOptions:
    """Sort the words of a mount; what is not known is for the filesystem, which may refuse it."""
    found: dict[str, object] = {}
    masks = dict.fromkeys(("set_attributes", "clear_attributes", "set_below", "clear_below"), 0)
    data: list[tuple[str, str | None]] = []
    for option in options:
        plain = option[1:] if option.startswith("r") else ""
        if option in _ATTRIBUTES:
            _change(masks, "attributes", _ATTRIBUTES[option])
        elif plain in _ATTRIBUTES:
            _change(masks, "below", _ATTRIBUTES[plain])
        elif option in PROPAGATION:
            found["propagation"], found["propagation_below"] = PROPAGATION[option], False
        elif plain in PROPAGATION:
            found["propagation"], found["propagation_below"] = PROPAGATION[plain], True
        elif option in ("bind", "rbind"):
            found["bind"], found["recursive"] = True, option == "rbind"
        elif option in ("idmap", "ridmap"):
            found["idmap"] = option
        elif option == "tmpcopyup":
            found["copy_up"] = True
        elif option in ("src-nofollow", "dest-nofollow"):
            found["follow_source" if option[0] == "s" else "follow_destination"] = False
        elif option not in _NOTHING:
            key, equals, value = option.partition("=")
            data.append((key, value if equals else None))
    return MountOptions(data=tuple(data), **masks, **found)  # type: ignore[arg-type]


def _change(masks: dict[str, int], which: str, change: tuple[int, int]) -> None:
    """Apply one word; a later one wins over an earlier one."""
    to_set, to_clear = change
    masks[f"set_{which}"] = masks[f"set_{which}"] & ~to_clear | to_set
    masks[f"clear_{which}"] = masks[f"clear_{which}"] & ~to_set | to_clear


def known_options() -> tuple[str, ...]:
    """The words that are for the mount or for us (features.md "mountOptions")."""
    plain = (*_ATTRIBUTES, *PROPAGATION)
    ours = ("bind", "rbind", "idmap", "ridmap", "tmpcopyup", "src-nofollow", "dest-nofollow")
    return (*plain, *(f"r{word}" for word in plain), *ours, *_NOTHING)
