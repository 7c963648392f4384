"""A step's writable directory over the layers below it, and how it becomes a layer."""

from __future__ import annotations

import os
from dataclasses import dataclass

from buildkit.cache import Layer, Result
from buildkit.changeset import normalise, pack
from buildkit.tarwriter import write_file
from runtime.oci.digest import ChainID, DiffID, chain_ids
from runtime.oci.image import LAYER, Descriptor
from runtime.sandbox.rootfs import Overlay
from runtime.store.store import Store
from runtime.store.workspace import Workspace

# What RUN needs to mount on, as the lowest directory of all: an image that lacks a mount point
# gets it from here, so none is ever made in the upper directory, which becomes the layer.
_STUBS = ("dev", "proc", "sys", "etc")
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a step writes (`upper`), over what (`lowers`, highest first)."""

    made: str  # holds upper as "fs": the form in which the store keeps it
    upper: str
    work: str
    lowers: tuple[str, ...]

    def rootfs(self, *below: str) -> Overlay:
        """The root filesystem of the step; `below` lies under all layers."""
        return Overlay(lowers=(*self.lowers, *below), upper=self.upper, work=self.work)


def new_snapshot(work: Workspace, lowers: tuple[str, ...]) -> Snapshot:
    """Make an empty snapshot; its root looks as the one below does."""
    made = work.directory("step")
    snapshot = Snapshot(
        made=made, upper=f"{made}/fs", work=work.directory("step.work"), lowers=lowers
    )
    os.mkdir(snapshot.upper, 0o755)
    os.chmod(snapshot.upper, 0o755)  # mkdir's mode is masked by the umask
    if lowers:
        status = os.stat(lowers[0])
        os.chown(snapshot.upper, status.st_uid, status.st_gid)
        os.chmod(snapshot.upper, status.st_mode & 0o7777)
    return snapshot


def stubs(snapshot: Snapshot) -> str:
    """A directory of empty mount points, to lie under the layers of a RUN."""
    path = f"{snapshot.work}.stubs"
    before = os.umask(0o022)  # a step that writes below a stub gets it into its layer
    try:
        os.mkdir(path)
        for name in _STUBS:
            os.mkdir(f"{path}/{name}")
        for name in NETWORK_FILES:
            place = f"{path}{_link_target(snapshot.lowers, name)}"
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    finally:
        os.umask(before)
    return path


def _link_target(lowers: tuple[str, ...], path: str) -> str:
    """Where a symlink at `path` leads inside the layers; `path` itself if it is none.

    Distributions link resolv.conf to what a service makes at run time below /run.
    """
    for lower in lowers:
        if os.path.lexists(lower + path):
            if os.path.islink(lower + path):
                target = os.path.join(os.path.dirname(path), os.readlink(lower + path))
                return os.path.normpath(f"/{target}").replace("//", "/")
            break
    return path


def commit(
    store: Store, work: Workspace, snapshot: Snapshot, parents: tuple[DiffID, ...], epoch: int
) -> Result:
    """Turn what a step wrote into a layer: blob and directory get their names in the store."""
    normalise(snapshot.upper, epoch)
    blob = f"{work.path}/blob"
    lower_root = snapshot.lowers[0] if snapshot.lowers else None
    packed = None

    def write(fd: int) -> None:
        nonlocal packed
        packed = pack(snapshot.upper, lower_root, fd, lowers=snapshot.lowers)

    write_file(blob, write)
    assert packed is not None
    if packed.entries == 0:
        os.unlink(blob)
        return Result(layer=None, epoch=epoch)
    layer = Layer(
        descriptor=Descriptor(media_type=LAYER, digest=packed.diff_id, size=packed.size),
        diff_id=packed.diff_id,
    )
    chain: ChainID = chain_ids((*parents, packed.diff_id))[-1]
    store.commit_layer(snapshot.made, chain)
    os.rename(blob, store.blob(packed.diff_id))
    return Result(layer=layer, epoch=epoch)
