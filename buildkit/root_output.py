"""`-o type=tar|local|rootfs`: the root filesystem itself, without what makes it an image."""

from __future__ import annotations

import os
import stat

from buildkit.cache import Layer
from buildkit.errors import DiskError
from buildkit.outputs import LOCAL, STDOUT, TAR, Output
from buildkit.replacement import Replacement
from buildkit.shaping import layer_tree
from buildkit.tarwriter import write_file
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.store.store import Store
from runtime.store.workspace import Workspace, remove_tree


def write_root(store: Store, layers: tuple[Layer, ...], output: Output) -> None:
    """Write the files that layers lead to; raises DiskError, BuildError."""
    try:
        if output.kind == TAR:
            _write_tar(store, layers, output.dest)
        else:
            _write_tree(store, layers, output)
    except OSError as error:
        raise DiskError(f"{error.filename or output.dest}: {error.strerror}") from error


def _write_tar(store: Store, layers: tuple[Layer, ...], dest: str) -> None:
    with Workspace(store) as work, layer_tree(store, work, layers) as tree:
        if dest == STDOUT:
            tree.write(1)
            return
        with Replacement(dest) as fd:
            tree.write(fd)


def _write_tree(store: Store, layers: tuple[Layer, ...], output: Output) -> None:
    """Extract beside the place, then move there: a failed build leaves nothing half done."""
    dest = os.path.abspath(output.dest)
    local = output.kind == LOCAL
    if local:
        os.makedirs(dest, exist_ok=True)
    elif os.path.isdir(dest) and os.listdir(dest):
        raise DiskError(f"{dest}: not empty", hint="type=local adds files to a directory")
    # Inside, where the directory is there: who may write to it need not be able to beside it.
    place = f"{dest}/." if local else f"{dest}."
    aside = f"{place}{os.getpid()}-{os.urandom(4).hex()}"
    try:
        os.mkdir(aside, 0o755)
        with Workspace(store) as work:
            _extract(store, work, layers, aside, local=local)
        if not local:
            if os.path.isdir(dest):
                os.rmdir(dest)
            os.rename(aside, dest)
            return
        _move_into(aside, dest)
    finally:
        remove_tree(aside)


def _extract(
    store: Store, work: Workspace, layers: tuple[Layer, ...], root: str, *, local: bool
) -> None:
    path = f"{work.path}/tree.tar"
    written: list[tuple[str, int]] = []
    with layer_tree(store, work, layers) as tree:
        owner = (0, 0) if local else None
        write_file(path, lambda fd: written.append(tree.write(fd, owner=owner)))
    [(digest, size)] = written
    whole = Descriptor(media_type=LAYER, digest=Digest.parse(digest), size=size)
    blob = BlobRange(path=path, offset=0, size=size)
    with LayerReader(blob, whole, DiffID(whole.digest), "the root filesystem") as layer:
        apply_layer(layer, root, (), "the root filesystem")
        layer.finish()


def _move_into(source: str, target: str) -> None:
    """Move everything in a directory into another one; what is there already is replaced.

    Directories are merged. A link in the target is replaced too, never followed.
    """
    waiting = [""]
    while waiting:
        path = waiting.pop()
        for name in os.listdir(f"{source}/{path}"):
            inside = f"{path}{name}"
            made, there = f"{source}/{inside}", f"{target}/{inside}"
            is_directory = stat.S_ISDIR(os.lstat(made).st_mode)
            if is_directory and _is_directory(there):
                waiting.append(f"{inside}/")
                continue
            if _is_directory(there):
                raise IsADirectoryError(21, "is a directory, and would become a file", there)
            if is_directory and os.path.lexists(there):
                os.unlink(there)
            os.rename(made, there)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
