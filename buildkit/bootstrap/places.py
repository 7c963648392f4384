"""Where a BOOTSTRAP is done: in a container over a snapshot, or on a copied tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.applying import apply_layers
from buildkit.bootstrap.perform import cache_of, perform
from buildkit.bootstrap.resolving import visible_files
from buildkit.bootstrap.surroundings import Contained, Uncontained
from buildkit.cache import Result
from buildkit.errors import BuildError
from buildkit.snapshot import Snapshot, commit

if TYPE_CHECKING:
    from buildkit.bootstrap.prepare import PreparedBootstrap
    from buildkit.copied_snapshot import Tree, Trees
    from buildkit.counting import Count
    from buildkit.owners import Owners
    from buildkit.state import Settings, State
    from buildkit.steps import BootstrapStep
    from runtime.store.store import Store
    from runtime.store.workspace import Workspace


def perform_on_snapshot(
    step: BootstrapStep,
    state: State,
    prepared: PreparedBootstrap | None,
    snapshot: Snapshot,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    owners: Owners | None,
    reuses: bool,
    output: Callable[[bytes], None],
    count: Count | None,
) -> Result:
    """As `perform`, over the layers of `state`."""
    assert prepared is not None
    tools = () if prepared.tools is None else apply_layers(store, prepared.tools, work)
    surroundings = Contained(
        snapshot,
        store=store,
        work=work,
        tools=tools,
        visible=visible_files(prepared.asked),
        cache=cache_of(prepared.asked.repositories, store),
        furnished=step.manager != "apt",
    )
    return perform(
        step,
        state,
        prepared,
        surroundings,
        settings=settings,
        store=store,
        tools=tools,
        owners=owners,
        reuses=reuses,
        output=output,
        count=count,
        commit=lambda epoch: commit(
            store, work, snapshot, state.diff_ids, epoch, count=count, owners=owners
        ),
    )


def perform_on_tree(
    step: BootstrapStep,
    state: State,
    prepared: PreparedBootstrap | None,
    tree: Tree,
    trees: Trees,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    owners: Owners | None,
    reuses: bool,
    output: Callable[[bytes], None],
    count: Count | None,
) -> Result:
    """The same without mounts, on a tree that was taken; it is given back, or removed."""
    assert prepared is not None
    if prepared.tools is not None:
        raise BuildError(
            "BOOTSTRAP --tools needs namespaces, which there are none of here",
            hint="see --isolation",
        )
    surroundings = Uncontained(
        tree,
        work=work,
        cache=cache_of(prepared.asked.repositories, store),
        furnished=step.manager != "apt",
    )
    result = perform(
        step,
        state,
        prepared,
        surroundings,
        settings=settings,
        store=store,
        tools=(),
        owners=owners,
        reuses=reuses,
        output=output,
        count=count,
        commit=lambda epoch: trees.commit(tree, epoch, owners),
    )
    trees.give_up(tree)
    return result
