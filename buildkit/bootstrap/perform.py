"""Doing a BOOTSTRAP: from the resolved set to a layer, or to the one that the set had before."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buildkit.bootstrap.prepare import PreparedBootstrap, install_epoch, installed_parts
from buildkit.bootstrap.resolved import Resolution
from buildkit.bootstrap.sections import OF_CONNECTIONS
from buildkit.cache import Result, cache_key, look_up, record
from buildkit.errors import BuildError
from buildkit.locks import wait_for_lock
from buildkit.state import Settings, State
from buildkit.steps import BootstrapStep
from runtime.store.store import Store

if TYPE_CHECKING:
    from buildkit.bootstrap.installer import Installer
    from buildkit.bootstrap.repositories import Repositories
    from buildkit.bootstrap.surroundings import Surroundings
    from buildkit.counting import Count
    from buildkit.owners import Owners


def perform(
    step: BootstrapStep,
    state: State,
    prepared: PreparedBootstrap,
    surroundings: Surroundings,
    *,
    settings: Settings,
    store: Store,
    tools: tuple[str, ...],
    owners: Owners | None,
    reuses: bool,
    output: Callable[[bytes], None],
    count: Count | None,
    commit: Callable[[int], Result],
) -> Result:
    """Find out what is to be installed, and install that unless it was before.

    `tools` are the layers of the image with the programs, `commit` makes the layer, for the epoch
    that it gets. With `reuses`, a layer of the same packages is taken over. Raises BuildError or
    LocatedError.
    """
    installer = _installer(step.manager)(
        step,
        prepared.asked,
        surroundings,
        locked=prepared.locked,
        tools=tools,
        store=store,
        owners=owners,
        output=output,
        count=count,
    )
    with _alone(cache_of(prepared.asked.repositories, store)):
        resolved = installer.resolve(prepared.pins)
    epoch = install_epoch(resolved, state, settings, prepared.locked)
    identity = {
        **installed_parts(step, resolved, installer.keys, prepared.tools),
        "parent": state.parent,
        "epoch": epoch,
    }
    found = look_up(store, cache_key(identity)) if reuses else None
    if found is None:
        newest = installer.install(resolved, epoch)
        found = commit(settings.clamped(max(state.epoch, epoch, newest)))
        record(store, cache_key(identity), identity, found)
    else:
        output(b"the same packages as before: their layer is there\n")
    if prepared.locked is not None:
        _verify(prepared, state, epoch, found)
    resolution = Resolution(resolved=resolved, epoch=epoch)
    return found.replace(resolution=resolution, packages=resolved.files)


def _installer(manager: str) -> type[Installer]:
    """Who does it; the other one's modules are not loaded."""
    if manager == "apt":
        from buildkit.bootstrap.apt.install import AptInstaller

        return AptInstaller
    from buildkit.bootstrap.install import RpmInstaller

    return RpmInstaller


def cache_of(repositories: Repositories, store: Store) -> str:
    """A directory for metadata, kept between builds: one for each set of repositories.

    Its name owes nothing to passwords, which could be guessed by it.
    """
    options = ([o for o in s.options if o[0] not in OF_CONNECTIONS] for s in repositories.sections)
    names = json.dumps(
        [[s.id, own] for s, own in zip(repositories.sections, options, strict=True)]
    )
    path = f"{store.root}/dnf/{hashlib.sha256(names.encode()).hexdigest()[:32]}"
    os.makedirs(path, exist_ok=True)
    return path


@contextmanager
def _alone(cache: str) -> Iterator[None]:
    """Let one build at a time fill a directory with metadata."""
    fd = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        wait_for_lock(fd)
        yield
    finally:
        os.close(fd)


def _verify(prepared: PreparedBootstrap, state: State, epoch: int, result: Result) -> None:
    """Raise BuildError if a locked bootstrap led elsewhere than when it was locked."""
    locked = prepared.locked
    assert locked is not None
    if not locked.result or locked.below != state.parent or locked.epoch != epoch:
        return  # made on something else, or for another time: nothing was promised
    made = "" if result.layer is None else str(result.layer.diff_id)
    if made != locked.result:
        raise BuildError(
            f"the layer is {made or 'empty'}, and {locked.name} says {locked.result}",
            hint="the packages are the same: another version of rpm, or a scriptlet that does "
            "not do the same each time; `pybuild lock` takes the new one",
        )
