"""Layers as an index shows them, and as they are when they are extracted and stacked."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from buildkit.processes import call_in_mount_namespace
from runtime.erofs.mount import mount_index
from runtime.erofs.tree import Tree
from runtime.erofs.writer import write_index
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.image.tar import FileStream
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.sandbox.rootfs import Overlay
from runtime.sandbox.syscalls import move_mount
from tests.support import digest_of, directory, file, tar_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

Listing = dict[str, tuple[Any, ...]]


def random_layer(seed: random.Random) -> list[bytes]:
    """Members with few names, so that they meet: in one layer and across layers."""

    def path() -> str:
        return "/".join(seed.choice("abc") for _ in range(seed.randint(1, 3)))

    made: list[bytes] = []
    kinds: dict[str, str] = {}
    for _ in range(seed.randint(1, 12)):
        name = path()
        above = [name.rpartition("/")[0]]
        while above[-1]:
            above.append(above[-1].rpartition("/")[0])
        if any(kinds.get(folder) == "file" for folder in above):
            continue  # below a file there is nothing
        kind = seed.choice(("file", "file", "directory", "whiteout", "opaque"))
        folder, _, last = name.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        if kind == "file":
            if kinds.get(name) == "directory" or any(k.startswith(f"{name}/") for k in kinds):
                continue  # it would replace a directory of the same layer
            made.append(file(name, seed.randbytes(seed.randint(0, 1500)), uid=seed.randint(0, 9)))
        elif kind == "directory":
            if kinds.get(name) == "file":
                continue
            made.append(directory(name, mode=seed.choice((0o755, 0o700, 0o1777)), mtime=4))
        elif kind == "whiteout":
            made.append(file(f"{prefix}.wh.{last}"))
        else:
            made.append(file(f"{prefix}.wh..wh..opq"))
        for folder in above:
            kinds.setdefault(folder, "directory")
        if kind in ("file", "directory"):
            kinds[name] = kind
    return made


def write_layers(folder: Path, layers: Sequence[Sequence[bytes]]) -> list[Path]:
    """Each layer's tar as a file."""
    paths = []
    for number, members in enumerate(layers):
        paths.append(folder / f"{number}.tar")
        paths[-1].write_bytes(tar_of(members))
    return paths


def index_of(paths: Sequence[Path], place: Path) -> Path:
    """The index of some layers, lowest first, each a device of its own."""
    tree = Tree()
    for number, path in enumerate(paths):
        with path.open("rb") as file:
            tree.add(FileStream(file.fileno(), "layer"), number, "layer")
    place.write_bytes(write_index(tree.root, [path.stat().st_size for path in paths]))
    return place


def indexed(
    paths: Sequence[Path],
    folder: Path,
    mount: Callable[[str, Sequence[str]], int] = mount_index,
) -> Listing:
    """What an index shows of them, over the layers themselves."""
    index = index_of(paths, folder / "index")
    place = folder / "mounted"
    place.mkdir()

    def look() -> Listing:
        mounted = mount(str(index), [str(path) for path in paths])
        target = os.open(place, os.O_PATH)
        move_mount(mounted, target)
        return listing(place)

    return call_in_mount_namespace(look)


def extracted(paths: Sequence[Path], folder: Path) -> Listing:
    """What overlayfs shows of them."""
    lowers: tuple[str, ...] = ()
    for number, path in enumerate(paths):
        content = path.read_bytes()
        digest = digest_of(content)
        descriptor = Descriptor(media_type=LAYER, digest=Digest(digest), size=len(content))
        blob = BlobRange(path=str(path), offset=0, size=len(content))
        root = folder / f"layer-{number}"
        root.mkdir(mode=0o755)
        with LayerReader(blob, descriptor, DiffID(digest), "layer") as layer:
            apply_layer(layer, str(root), lowers, "layer")
        lowers = (str(root), *lowers)
    scratch = folder / "scratch"
    scratch.mkdir()

    def look() -> Listing:
        return listing(Overlay(lowers=lowers).attach(str(scratch)))

    return call_in_mount_namespace(look)


def listing(root: str | Path) -> Listing:
    """All of a tree: attributes, contents, xattrs, and which names share a file."""
    found: Listing = {}
    first: dict[tuple[int, int], str] = {}
    waiting = [""]
    while waiting:
        name = waiting.pop()
        path = os.path.join(root, name)
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        what: object = None
        if kind == stat.S_IFDIR:
            waiting += sorted((os.path.join(name, n) for n in os.listdir(path)), reverse=True)
        elif kind == stat.S_IFREG:
            with open(path, "rb") as file:
                what = (status.st_size, hashlib.sha256(file.read()).hexdigest())
        elif kind == stat.S_IFLNK:
            what = (status.st_size, os.readlink(path))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            what = (os.major(status.st_rdev), os.minor(status.st_rdev))
        links = first.setdefault((status.st_dev, status.st_ino), name)
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith(("trusted.overlay.", "user.overlay."))
        }
        # The root's own time is that of the mount where no layer says it.
        mtime = status.st_mtime if name else None
        found[name] = (status.st_mode, status.st_uid, status.st_gid, mtime, what, links, xattrs)
    return found
