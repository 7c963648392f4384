"""RUN by chroot, where no sandbox is to be had: on a copy of the root filesystem."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from buildkit.by_hand import run_by_hand_in_chroot
from buildkit.copied_snapshot import Tree, Trees
from buildkit.furniture import Furniture
from buildkit.preparation import Prepared
from buildkit.processes import run_in_chroot
from buildkit.run_process import hosts_of, judge, process_of, resolv_conf, shell_of, write_file
from buildkit.state import Settings
from buildkit.steps import RunStep
from buildkit.tree_mounts import TreeMounts
from runtime.store.store import Store
from runtime.store.workspace import Workspace


def run_on_tree(
    step: RunStep,
    trees: Trees,
    tree: Tree,
    prepared: Prepared,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    output: Callable[[bytes], None],
) -> None:
    """Run the step's process with a tree as its root; raises as `execute_run` does."""
    options = settings.run
    assert options.network_of(step) == "host", "nothing else is planned here"
    # The machine's own name stays what it is: it must lead somewhere.
    files = {"/etc/hosts": f"{hosts_of(options)}127.0.0.1\t{os.uname().nodename}\n"}
    files["/etc/resolv.conf"] = resolv_conf()
    with ExitStack() as stack:
        mounts = TreeMounts(
            step, prepared, trees, settings=settings, store=store, work=work, stack=stack
        )
        if step.script is not None:
            path = f"{work.path}/script"
            write_file(path, step.script.content, mode=0o755)
            mounts.given[step.args[0]] = path
        furniture = Furniture(tree.state, tree.root, work.directory("aside"), files, mounts.given)
        process = process_of(step, options, tuple(mounts.env))
        try:
            status = 0 if step.by_hand else run_in_chroot(process, tree.root, output=output)
            if step.by_hand or (status and settings.shell_on_failure):
                run_by_hand_in_chroot(shell_of(step, process), tree.root)
        finally:  # a cache that was moved there must not go with the tree
            furniture.remove()
    judge(step, status)
