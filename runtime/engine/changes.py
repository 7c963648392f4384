"""What a container has changed of its image's files: its upper directory beside the image."""

from __future__ import annotations

import os

from runtime.engine.containers import look
from runtime.engine.roots import open_image_root
from runtime.engine.trees import walk
from runtime.image.whiteouts import is_opaque, is_whiteout
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store

ADDED, CHANGED, DELETED = "A", "C", "D"


def changes(store: Store, path: str) -> list[tuple[str, str]]:
    """The changes of a container, by path: a letter, and the path from the root.

    Raises ContainerError if the image is another by now.
    """
    image = open_image_root(store, path, look(store, path))
    upper = os.open(f"{path}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = []
    for file in walk(upper):
        name = file.path.removeprefix(".")
        below = _look(image, name)
        if is_whiteout(file.status):
            found.append((DELETED, name))
            continue
        found.append((ADDED if below is None else CHANGED, name))
        was_directory = below is not None and below & 0o170000 == 0o040000
        if file.is_directory and was_directory:
            place = f"/proc/self/fd/{file.folder}/{file.name}"
            if is_opaque(place):
                old = open_in_root(image, name, os.O_RDONLY | os.O_DIRECTORY, follow=False)
                new = set(os.listdir(place))
                found += [(DELETED, f"{name}/{gone}") for gone in set(os.listdir(old)) - new]
                os.close(old)
    return sorted(found, key=lambda change: change[1])


def _look(root: int, path: str) -> int | None:
    """The mode of what a root has at a path, no link followed; None if that is nothing."""
    try:
        fd = open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW, follow=False)
    except OSError:  # nothing, or the way leads over what is no directory
        return None
    mode = os.fstat(fd).st_mode
    os.close(fd)
    return mode
