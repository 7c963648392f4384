"""Which packages a BOOTSTRAP must have, by the lock file of its build."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.fetching import Reader
from buildkit.bootstrap.locked import (
    LockedBootstrap,
    LockFile,
    changed_topics,
    parse_lock,
    read_lock,
    spec_of,
)
from buildkit.errors import BuildError
from buildkit.inputs import Input
from buildkit.state import LOCK_MADE, LOCK_OFF, LOCK_REQUIRED, Locks, Settings
from buildkit.steps import BootstrapStep
from runtime.record import Record

_MAKE = "`pybuild lock` makes it"


class HasLocks(Protocol):
    """Settings, or a request."""

    @property
    def context(self) -> str:
        """Path of the build context."""

    @property
    def locks(self) -> Locks:
        """What the build does with its lock file."""


class LockUse(Record):
    """What a lock file says to one bootstrap, before it is known what is asked for."""

    path: str = ""
    locked: LockedBootstrap | None = None  # to be obeyed
    pins: Mapping[str, str] = MappingProxyType({})  # while another one is made
    inputs: tuple[Input, ...] = ()

    def checked(self, step: BootstrapStep, asked: Asked) -> LockedBootstrap:
        """What is locked; raises BuildError if something else is asked for now."""
        assert self.locked is not None
        changed = changed_topics(self.locked.spec, spec_of(step, asked))
        if changed:
            raise BuildError(
                f"{self.path} was made for another BOOTSTRAP: other {', '.join(changed)}",
                hint="`pybuild lock` makes it anew; --no-lock goes without",
            )
        _check_trust(self.locked, step, asked)
        return self.locked


def _check_trust(locked: LockedBootstrap, step: BootstrapStep, asked: Asked) -> None:
    """Raise BuildError for a lock file that lets others vouch for packages than BOOTSTRAP does.

    Of keys of servers, which a locked build does not fetch, their pinned fingerprints are known.
    """
    where = f"{locked.name}: {step.name}"
    sections = {section.id: section for section in asked.repositories.sections}
    for repository in locked.resolved.repositories:
        section = sections.get(repository.id)
        if section is None:
            raise BuildError(f"{where}: no --repo gives a repository {repository.id!r}")
        given = {print for key in section.keys for print in key.fingerprints}
        named = set(repository.keys)
        exact = all(key.content for key in section.keys)
        fits = named == given if exact else bool(named) and given <= named
        if step.gpgcheck and not fits:
            raise BuildError(
                f"{where}: repository {repository.id!r} has other keys than BOOTSTRAP names: "
                f"{', '.join(sorted(named)) or 'none'}",
                hint="`pybuild lock` makes it anew",
            )
    files = {file.sha256 for file in asked.files}
    for package in locked.resolved.packages:
        if not package.repo and package.sha256 not in files:
            raise BuildError(f"{where}: BOOTSTRAP names no file that is package {package.label}")


def find_locked(step: BootstrapStep, settings: Settings) -> LockUse:
    """Look into the lock file; raises BuildError if one is wanted that is not there."""
    locks = settings.locks
    if locks.mode == LOCK_OFF or step.lock == "off":
        return LockUse()
    path, file, inputs = _read(step, settings)
    if locks.mode == LOCK_MADE:
        return LockUse(path=path, pins=_pins(file, step, locks.updated))
    if file is None:
        if step.lock or locks.mode == LOCK_REQUIRED:
            raise BuildError(f"lock file {path}: not there", hint=_MAKE)
        return LockUse(path=path, inputs=inputs)
    entry = file.entries.get(step.name)
    if entry is None:
        raise BuildError(
            f"{path} does not have {step.name}",
            hint="`pybuild lock` adds it; --no-lock goes without",
        )
    return LockUse(path=path, locked=entry, inputs=inputs)


def place_of_lock(step: BootstrapStep, settings: HasLocks) -> str:
    """The path of the lock file of a bootstrap."""
    if step.lock:
        return os.path.join(settings.context, step.lock.lstrip("/"))
    return settings.locks.path


def _read(
    step: BootstrapStep, settings: Settings
) -> tuple[str, LockFile | None, tuple[Input, ...]]:
    """The file that the instruction names, else that of the build."""
    if step.lock:
        path = place_of_lock(step, settings)
        if not os.path.lexists(path):
            return path, None, ()
        reader = Reader(settings.context)
        return path, parse_lock(reader.read(step.lock, "lock file"), path), tuple(reader.inputs)
    path = settings.locks.path
    file = read_lock(path)
    if file is None:
        return path, None, (("absent", path),)
    return path, file, (("file", path, file.digest),)


def _pins(
    file: LockFile | None, step: BootstrapStep, updated: tuple[str, ...] | None
) -> dict[str, str]:
    """What stays as it is when single packages are updated; nothing if all are."""
    if updated is None:
        return {}
    entry = None if file is None else file.entries.get(step.name)
    if entry is None:
        return {}
    return {
        package.slot: package.id
        for package in entry.resolved.packages
        if package.name not in updated and package.repo
    }
