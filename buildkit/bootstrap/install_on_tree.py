"""`dnf --installroot` where nothing can be mounted: the host is as it is, and dnf is told about
every place of its own.

What is private all the same: configuration, cache, logs, macros, plugins, temporary files, and
the devices of the new root. What is not: what libdnf puts into /tmp whatever it is told, the
machine's processes; and the new root has no /proc.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from buildkit.bootstrap import cleaning, dnf
from buildkit.bootstrap.install import (
    DEFAULT_DBPATH,
    Log,
    environment,
    finish,
    judge,
    make_mount_points,
    make_state,
    newest,
    package_cache,
    present_database,
    to_process,
)
from buildkit.bootstrap.ownership import Ownership
from buildkit.bootstrap.repositories import Repositories
from buildkit.copied_snapshot import Tree
from buildkit.furniture import Furniture
from buildkit.owners import Owner, Owners
from buildkit.processes import call_in_child, run_in_chroot
from buildkit.steps import BootstrapStep
from runtime.store.store import Store
from runtime.store.workspace import Workspace, remove_tree


def install_on_tree(
    step: BootstrapStep,
    repositories: Repositories,
    tree: Tree,
    *,
    store: Store,
    work: Workspace,
    epoch: int | None,
    least_epoch: int,
    output: Callable[[bytes], None],
    owners: Owners | None = None,
) -> int:
    """Install the step's packages into a tree; returns and raises as `install.install` does."""
    manager = dnf.find_manager()
    state = make_state(work, os.path.basename(tree.root))
    # dnf 4 applies cachedir and logdir twice, once below the new root. There, this name is one in
    # an empty directory /proc that goes away.
    seen_as = f"/proc/{os.getpid()}/root{state}"
    os.rmdir(f"{state}/cache")
    os.symlink(package_cache(store, repositories), f"{state}/cache")
    dbpath = step.dbpath or present_database(tree.root) or DEFAULT_DBPATH
    dnf.configure(step, repositories, state, dbpath, seen_as=seen_as)
    variables = environment(
        manager, repositories, epoch=epoch, least_epoch=least_epoch, state=seen_as
    )
    before = cleaning.present(tree.root)
    if not tree.layers:
        make_mount_points(tree.root)
    furniture = Furniture(tree.state, tree.root, work.directory("aside"), {})
    # The home is the only way to rpm's macros. The plugin gives the scriptlets the usual one.
    own = {"HOME": f"{state}/home", "TMPDIR": f"{state}/tmp"}
    process = to_process(dnf.arguments(manager, step, tree.root, seen_as), variables | own)
    log = Log(output)
    with Ownership(owners, root=tree.root, upper=tree.root) as ownership:
        status = run_in_chroot(
            process,
            "/",
            output=log.listen,
            final=ownership.entry,
            attendant=ownership.attendant,
        )
    judge(log.text, status, step)
    furniture.remove()

    def clean() -> Mapping[str, Owner]:
        packaged = ownership.note_packaged(dbpath)
        finish(tree.root, dbpath, step.dbpath, before)
        return packaged

    ownership.settle(call_in_child(clean))
    found = newest(state, variables)
    remove_tree(state)
    return found
