"""What a new volume holds at first: what the image has at its place."""

from __future__ import annotations

import os

from runtime.sandbox import syscalls
from runtime.sandbox.child import call_in_child
from runtime.sandbox.rootfs import Overlay, make_private
from runtime.sandbox.rootpath import open_in_root
from runtime.sandbox.tree_copy import copy_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.known import KnownImage
    from runtime.store.store import Store


def fill(store: Store, image: KnownImage, destination: str, target: str) -> None:
    """Copy a directory of an image, with its own owner and mode, into an empty one.

    Nothing is copied where the image has no directory. Raises ContainerError or OSError.
    """
    call_in_child(lambda: _fill(store, image, destination, target))


def _fill(store: Store, image: KnownImage, destination: str, target: str) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    root = Overlay(lowers=image.lowers).open_root(store.scratch)
    try:
        # Links of the image lead nowhere but into it.
        source = open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    into = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    copy_tree(source, into)
