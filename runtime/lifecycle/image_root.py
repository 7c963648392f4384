"""The root of a bundle that holds no files: an image, mounted where it lies (`pyrun bundle`)."""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.sandbox.rootfs import Overlay
from runtime.store.known import INPLACE, know
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Spec


def image_root(spec: Spec, image: str, store_root: str) -> tuple[Overlay, str]:
    """The image below a tmpfs for what the container writes, and where that can be mounted.

    `image` is an archive's path or a name in the store at `store_root`. Raises ContainerError
    where the container could not mount it, and what `know` raises.
    """
    kinds = {namespace.type for namespace in spec.namespaces if not namespace.path}
    if "mount" not in kinds or any(namespace.type == "user" for namespace in spec.namespaces):
        raise ContainerError(
            f"{image}: an image is mounted in a mount namespace of its own, and outside of user "
            "namespaces",
            hint="pyrun bundle --rootfs=unpack makes a bundle with the files in it",
        )
    if not image.startswith("/") and os.path.exists(image):
        raise ContainerError(f"{image}: names an image in the store, but here a file as well")
    store = Store(store_root)
    return Overlay(lowers=know(store, image, rootfs=INPLACE).lowers), store.scratch
