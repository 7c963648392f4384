"""Whether a blob of the store is still what it was."""

from __future__ import annotations

import os

from runtime.errors import ImageError, StoreError
from runtime.store.known import is_trusted, trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.image import Descriptor
    from runtime.store.store import Store

_LARGE = 1 << 20  # bytes of what is not to be read twice


def is_whole(store: Store, descriptor: Descriptor) -> bool:
    """Whether a blob is there with its size and its digest.

    It is read unless that was found before and nothing has changed since. Raises StoreError.
    """
    path = store.blob(descriptor.digest)
    try:
        if os.stat(path).st_size != descriptor.size:
            return False
        if is_trusted(store, path):
            return True
        import hashlib

        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if found != descriptor.digest.hex:
        return False
    if descriptor.size >= _LARGE:
        trust(store, path)
    return True


def remedy(store: Store, name: str) -> str | None:
    """What helps whoever found the image of a name damaged; None if it is not that."""
    from runtime.image.source import named_descriptor, named_images
    from runtime.registry.origins import origins_of

    try:
        if not origins_of(store, named_descriptor(store, name).digest):
            return None
    except (ImageError, OSError):
        return None
    try:
        layers = [layer for image in named_images(store, name) for layer in image.manifest.layers]
        if all(is_whole(store, layer) for layer in layers):
            return None
    except (ImageError, StoreError):  # a damaged document
        pass
    return f"`pybuild pull {name}` fetches again what is damaged"
