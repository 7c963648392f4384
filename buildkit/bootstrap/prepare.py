"""What a BOOTSTRAP works with, found before anything is done: what is asked for, or locked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from buildkit.bootstrap.asked import Asked, ask
from buildkit.bootstrap.lock_use import find_locked
from buildkit.bootstrap.locked import LockedBootstrap
from buildkit.bootstrap.managers import find_manager
from buildkit.errors import BuildError
from buildkit.inputs import Input, find_program
from buildkit.state import Settings, State
from buildkit.steps import BootstrapStep
from runtime.record import Record
from runtime.store.store import Store

if TYPE_CHECKING:
    from buildkit.bootstrap.keys import Key
    from buildkit.bootstrap.resolved import Resolved

_PROGRAMS = ("dnf-3", "dnf", "dnf5")


class PreparedBootstrap(Record):
    """The inputs of one BOOTSTRAP."""

    asked: Asked
    locked: LockedBootstrap | None
    pins: Mapping[str, str] = MappingProxyType({})  # NAME.ARCH: the only version it may have
    tools: State | None = None  # the image with the programs; None: this machine has them


class Found(Record):
    """The same, with what identifies it."""

    bootstrap: PreparedBootstrap
    parts: dict[str, object]
    epoch: int  # seconds; of what the step writes, unless what it installs is newer
    inputs: tuple[Input, ...]


def prepare_bootstrap(
    step: BootstrapStep, state: State, settings: Settings, tools: State | None, store: Store
) -> Found:
    """Read what the step names; raises BuildError or LocatedError."""
    lock = find_locked(step, settings)
    locks = lock.locked is not None
    if step.manager == "apt":
        _check_apt(state, tools, locks)
    elif tools is None and not locks:
        find_manager(step.manager, ())
    asked = ask(step, settings, store, metadata=not locks)
    locked = lock.checked(step, asked) if locks else None
    prepared = PreparedBootstrap(asked=asked, locked=locked, pins=lock.pins, tools=tools)
    inputs = (*lock.inputs, *asked.inputs)
    if locked is not None:
        epoch = install_epoch(locked.resolved, state, settings, locked)
        parts = installed_parts(step, locked.resolved, locked.keys, tools)
        parts["result"] = locked.result
        return Found(bootstrap=prepared, parts=parts, epoch=epoch, inputs=inputs)
    parts = {
        "kind": "bootstrap",
        **asked.parts,
        "metadata": asked.repositories.metadata,
        **_options(step, tools),
        "modules": [module.text for module in step.modules],
        "setopts": step.setopts,
        "weak": step.weak,
    }
    if prepared.pins:
        parts["pins"] = dict(prepared.pins)
    if step.manager == "apt":
        parts["manager"] = step.manager
    elif tools is None:
        parts["manager"] = os.path.basename(find_manager(step.manager, ()).program)
        inputs += tuple(("program", name, find_program(name)) for name in _PROGRAMS)
    return Found(bootstrap=prepared, parts=parts, epoch=state.epoch, inputs=inputs)


def _check_apt(state: State, tools: State | None, locks: bool) -> None:
    """Raise BuildError for what mmdebstrap cannot do at all, HostError if it is not here."""
    if state.layers:
        raise BuildError(
            "BOOTSTRAP --manager=apt makes a whole system, and there is something below it",
            hint="it stands first, after FROM scratch; later, RUN apt-get install adds packages",
        )
    if tools is None:
        from buildkit.bootstrap.apt.programs import INSTALLERS, PROGRAMS, check_programs

        check_programs((), INSTALLERS if locks else PROGRAMS)


def installed_parts(
    step: BootstrapStep,
    resolved: Resolved,
    keys: Mapping[str, tuple[Key, ...]],
    tools: State | None,
) -> dict[str, object]:
    """For the key of an installation: all that changes a byte of it, wherever that was found."""
    used = {package.repo for package in resolved.packages}
    prints = {f for repo in used for key in keys.get(repo, ()) for f in key.fingerprints}
    # apt of the new system is told of them; dnf's history is not kept.
    reasons = [package.reason for package in resolved.packages] if step.manager == "apt" else None
    return {
        "kind": "installation",
        "installed": resolved.identity,
        "keys": sorted(prints),
        **({} if reasons is None else {"reasons": reasons, "setopts": step.setopts}),
        **_options(step, tools),
    }


def install_epoch(
    resolved: Resolved, state: State, settings: Settings, locked: LockedBootstrap | None
) -> int:
    """The install time, in seconds: what was given, else what the lock or the packages say."""
    if settings.epoch is not None:
        return settings.epoch
    return max(state.epoch, resolved.newest if locked is None else locked.epoch)


def _options(step: BootstrapStep, tools: State | None) -> dict[str, object]:
    """Those that have a say in what is installed, or how."""
    return {
        "releasever": step.releasever,
        "arch": step.arch,
        "dbpath": step.dbpath,
        "langs": step.langs,
        "docs": step.docs,
        "gpgcheck": step.gpgcheck,
        "clean": step.clean,
        "allow scriptlet failure": step.allow_scriptlet_failure,
        "tools": "" if tools is None else tools.parent,
    }
