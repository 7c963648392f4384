"""Which extended attributes belong to an image."""

from __future__ import annotations


def kept_xattr(name: str) -> bool:
    """Whether an xattr belongs to an image: overlay's own and the host's labels do not."""
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability"
