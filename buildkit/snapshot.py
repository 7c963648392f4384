"""A step's writable directory over the layers below it, and how it becomes a layer."""

from __future__ import annotations

import os

from buildkit.cache import Result
from buildkit.changeset import Packed, normalise, pack
from buildkit.counting import Count
from buildkit.layer_blob import keep_blob, write_blob
from buildkit.owners import Owners, owners_here
from runtime.image.whiteouts import find_below
from runtime.oci.digest import DiffID, chain_ids
from runtime.record import Record
from runtime.sandbox.rootfs import Overlay
from runtime.store.store import Store
from runtime.store.workspace import Workspace


class Snapshot(Record):
    """Where a step writes (`upper`), over what (`lowers`, highest first)."""

    made: str  # holds upper as "fs": the form in which the store keeps it
    upper: str
    work: str
    lowers: tuple[str, ...]

    def rootfs(self, *above: str) -> Overlay:
        """The root filesystem of the step; `above` lies over all layers, below what it writes."""
        return Overlay(lowers=(*above, *self.lowers), upper=self.upper, work=self.work)

    def has_below(self, name: str) -> bool:
        """Whether the layers below have something at a path."""
        return find_below(self.lowers, name) is not None


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


def commit(
    store: Store,
    work: Workspace,
    snapshot: Snapshot,
    parents: tuple[DiffID, ...],
    epoch: int,
    count: Count | None = None,
    owners: Owners | None = None,
) -> Result:
    """Turn what a step wrote into a layer: blob and directory get their names in the store.

    `owners` are known of some files, beside what is noted on them.
    """
    normalise(snapshot.upper, epoch)
    lower_root = snapshot.lowers[0] if snapshot.lowers else None
    owners = owners or owners_here()

    def write(fd: int) -> Packed:
        lowers = snapshot.lowers
        return pack(snapshot.upper, lower_root, fd, lowers=lowers, count=count, owners=owners)

    packed = write_blob(work, write)
    layer = keep_blob(store, work, packed)
    if layer is not None:
        store.commit_layer(snapshot.made, chain_ids((*parents, layer.diff_id))[-1])
    return Result(layer=layer, epoch=epoch)
