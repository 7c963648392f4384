"""Who signed the packages: checked with the keys of their repository, before any is installed.

Each set of keys has a database of its own, so that a key that one repository may use is none for
another. That a package's signature is good is remembered by its digest and the fingerprints.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

from buildkit.bootstrap import rpm
from buildkit.bootstrap.full_disk import disk_error, program_error
from buildkit.bootstrap.keys import Key
from buildkit.bootstrap.package_files import (
    PlacedPackage,
    RefusedPackage,
    is_known_signed,
    remember_signed,
)
from buildkit.bootstrap.resolved import AnyPackage
from buildkit.bootstrap.surroundings import Surroundings
from runtime.store.store import Store


def check_signatures(
    placed: Sequence[PlacedPackage],
    keys: Mapping[str, tuple[Key, ...]],
    *,
    names: Callable[[AnyPackage], str],
    surroundings: Surroundings,
    variables: Mapping[str, str],
    store: Store,
) -> None:
    """Raise RefusedPackage for the first package that is not signed with a key of its repository.

    `keys` are by the id of a repository; one without any is not looked at. `names` are paths as
    the programs in the surroundings see them.
    """
    groups: dict[str, list[PlacedPackage]] = {}
    used: dict[str, tuple[Key, ...]] = {}
    for one in placed:
        of_it = keys.get(one.package.repo, ())
        if of_it:
            identity = _identity(of_it)
            used[identity] = of_it
            if not is_known_signed(one.package, identity, store):
                groups.setdefault(identity, []).append(one)
    for identity, unknown in groups.items():
        _check(unknown, identity, used[identity], names, surroundings, variables)
        remember_signed(unknown, identity, store)


def _identity(keys: tuple[Key, ...]) -> str:
    content = hashlib.sha256()
    for key in sorted(keys, key=lambda key: key.fingerprints):
        content.update(hashlib.sha256(key.content).digest())
    return content.hexdigest()[:32]


def _check(
    placed: Sequence[PlacedPackage],
    identity: str,
    keys: tuple[Key, ...],
    names: Callable[[AnyPackage], str],
    surroundings: Surroundings,
    variables: Mapping[str, str],
) -> None:
    database = f"keyring-{identity}"
    os.mkdir(f"{surroundings.state}/{database}")
    files = []
    for number, key in enumerate(keys):
        name = f"{database}.{number}.asc"
        with open(f"{surroundings.state}/{name}", "wb") as file:
            file.write(key.content)
        files.append(f"{surroundings.seen}/{name}")
    said = bytearray()
    seen = f"{surroundings.seen}/{database}"
    status = surroundings.run(rpm.import_arguments(seen, files), variables, said.extend)
    if status:
        text = said.decode("utf-8", "replace").strip()
        raise program_error(f"key {keys[0].name!r}: rpm cannot take it: {text}", text)
    said.clear()
    by_name = {names(one.package): one.package for one in placed}
    surroundings.run(rpm.check_arguments(seen, by_name), variables, said.extend)
    text = said.decode("utf-8", "replace")
    faults = rpm.faults_of(text, by_name)
    if faults and (full := disk_error(text)):
        raise full
    for name, fault in faults.items():
        error = RefusedPackage(f"package {by_name[name].label} {fault}", hint=_hint(fault))
        error.package = by_name[name]
        raise error


def _hint(fault: str) -> str | None:
    if fault == "is not signed":
        return "--nogpgcheck would accept it"
    if "another key" in fault:
        return "--key=FILE or key=FILE of its --repo gives its key"
    return None
