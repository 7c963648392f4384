"""What pyrun can do here, and what a start of an image will do, each with the reason."""

from __future__ import annotations

import os

from runtime import VERSION
from runtime.erofs.inplace import places_of, refusal
from runtime.erofs.mount import mount_index
from runtime.erofs.tree import Tree
from runtime.erofs.writer import write_index
from runtime.errors import ImageError
from runtime.sandbox.userns import mapped_ids
from runtime.store.known import INPLACE, TMPFS, UNPACK, is_trusted, recall
from runtime.store.preparation import choose
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.store.store import Store

    Facts = dict[str, str | int]

_WORDS = {
    INPLACE: "mounted in place",
    UNPACK: "unpacked into the store",
    TMPFS: "unpacked to memory",
}


def machine_facts(store: Store, uid: int) -> Facts:
    """What there is, by names as `pyrun info` prints them; `uid` is the caller's own."""
    from runtime.cgroup.layout import find_layout
    from runtime.sandbox.landlock import abi_version

    system = os.uname()
    why = refusal() or _attempt(store)
    abi = abi_version()
    return {
        "version": VERSION,
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "caller": _caller(uid),
        "store": store.root,
        "root filesystem": _WORDS[UNPACK if why else INPLACE],
        "reason": why or "an index was mounted just now, to try it",
        "control groups": find_layout().describe(),
        "landlock": f"ABI {abi}" if abi else "none",
    }


def _attempt(store: Store) -> str:
    """Mount an index of nothing; why that fails, or ""."""
    try:
        with Workspace(store) as work:
            path = f"{work.path}/index"
            with open(path, "wb") as file:
                file.write(write_index(Tree().root, []))
            os.close(mount_index(path, []))
    except OSError as error:
        return f"mounting an index fails: {error.strerror}"
    return ""


def _caller(uid: int) -> str:
    if uid == 0:
        return "root"
    count = sum(map(len, mapped_ids("uid")))
    ids = f"{count} ids" if count > 1 else "no id but its own"
    return f"user {uid}, who is root in a user namespace with {ids}"


def image_facts(store: Store, image: Image, path: str, rootfs: str) -> Facts:
    """What the next start of an image does; `path` is its archive, or its name's file in the
    store, or "" for one whose last start is not remembered: that for another platform.
    """
    layers = image.layers
    known = recall(store, path) if path else None
    lowers = () if known is None else known.lowers
    index = next((lower for lower in lowers if not isinstance(lower, str)), None)
    kind, why = _choice(store, image, rootfs)
    facts: Facts = {
        "image": image.name,
        "platform": image.platform or "not said",
        "layers": len(layers),
        "bytes": sum(layer.descriptor.size for layer in layers),
        "root filesystem": _WORDS.get(kind, "none: it cannot be mounted in place"),
        "reason": why,
    }
    if kind == INPLACE and index is not None:
        facts["index"] = f"{index.path}, {index.size} bytes"
    elif kind == INPLACE:
        facts["index"] = "made at the next start"
    sure = known is not None or all(is_trusted(store, layer.blob.path) for layer in layers)
    facts["digests"] = "verified, or written here" if sure else "verified at the next start"
    return facts


def _choice(store: Store, image: Image, rootfs: str) -> tuple[str, str]:
    """How a root filesystem comes to be, "" for not at all, and why."""
    if rootfs == TMPFS:
        return TMPFS, "--rootfs=tmpfs"
    kind, why = choose(store, image, rootfs)
    if kind == INPLACE:
        try:  # what is compressed is made plain, and then can be
            places_of([layer for layer in image.layers if layer.descriptor.is_plain_layer])
        except ImageError as error:
            kind, why = UNPACK, error.message
    return ("" if rootfs == INPLACE and kind == UNPACK else kind), why
