"""An image of the store as a mount in a container: its layers, one over the other, read-only."""

from __future__ import annotations

from runtime.engine.mount_words import ImageUse
from runtime.oci.spec import Mount
from runtime.sandbox.userns import in_user_namespace
from runtime.store.known import know

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store

_OPTIONS = ("ro", "nosuid", "nodev")


def image_mount(store: Store, use: ImageUse) -> Mount:
    """The mount of an image; an overlay without a writable layer, by `lowerdir+`.

    Raises ImageError or StoreError.
    """
    image = know(store, use.image, rootfs="unpack")
    lowers = tuple(lower for lower in image.lowers if isinstance(lower, str))
    if len(lowers) == 1:  # which is too few for an overlay
        options = ("rbind", *(f"r{word}" for word in _OPTIONS))
        return Mount(destination=use.destination, type="bind", source=lowers[0], options=options)
    # One by one: a string of all is limited to 256 bytes (fsconfig(2)).
    data = tuple(f"lowerdir+={lower}" for lower in lowers)
    users = ("userxattr",) if in_user_namespace() else ()
    return Mount(
        destination=use.destination,
        type="overlay",
        source=use.image,
        options=(*_OPTIONS, *data, *users),
    )
