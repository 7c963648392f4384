"""What this machine and its user's rights allow, what is missing, and what works all the same.

Nothing is guessed from versions: a container is started, a control group made, a program of a
foreign platform executed, as in a build.
"""

from __future__ import annotations

import os
import pwd
import sys
from typing import TYPE_CHECKING

from buildkit.bootstrap.access import default_ca
from buildkit.bootstrap.apt.programs import check_programs as check_apt
from buildkit.bootstrap.managers import check_rpm, find_manager
from buildkit.errors import BuildError, HostError
from buildkit.human import size_text
from buildkit.inputs import find_program
from buildkit.isolation import refusal_of_namespaces
from buildkit.platforms import check_programs, runnable_platforms
from runtime import VERSION
from runtime.cgroup.group import make_group
from runtime.cgroup.layout import find_layout
from runtime.cgroup.unasked import group_name, remove_group
from runtime.errors import ContainerError, StoreError
from runtime.oci.platform import this_platform
from runtime.oci.resources import Memory, Resources
from runtime.record import Record
from runtime.sandbox.userns import has_single_id, subordinate_ids
from runtime.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, LESS, MISSING = "ok", "less", "missing"
_ROOM = 2 << 30  # bytes that a build of some packages takes


class Finding(Record):
    """One thing that was looked at."""

    what: str
    state: str  # OK; LESS: it works, in a weaker way; MISSING
    said: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """The finding as a JSON object."""
        return {name: getattr(self, name) for name in type(self)._fields if getattr(self, name)}


def look(root: str) -> Iterator[Finding]:
    """Look at everything, with the store at `root`.

    In the course of it this process becomes root, perhaps of a user namespace.
    """
    system = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    versions = f"pybuild {VERSION}, Python {python}, Linux {system.release} {system.machine}"
    yield Finding(what="versions", state=OK, said=versions)
    yield _caller()
    try:
        store = Store(root)
    except StoreError as error:
        yield _from_error("store", error)
        return
    yield _store(store)
    steps = _steps(store)
    yield steps
    if steps.state == OK:
        yield _limits()
    yield _owners(steps)
    yield from _programs()
    yield _platforms()
    yield _network()


def _from_error(what: str, error: BuildError | StoreError | ContainerError) -> Finding:
    return Finding(what=what, state=MISSING, said=error.message, hint=error.hint or "")


def _caller() -> Finding:
    uid = os.geteuid()
    if uid == 0:
        return Finding(what="user", state=OK, said="root")
    said = f"user {uid}"
    if subordinate_ids(uid) is None:
        return Finding(
            what="user",
            state=LESS,
            said=f"{said}, without subordinate ids: owners of files are noted, and some programs "
            "that change them fail",
            hint=f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {_name(uid)}",
        )
    if find_program("newuidmap") is None:
        return Finding(
            what="user",
            state=LESS,
            said=f"{said}, with subordinate ids and without newuidmap, which maps them",
            hint="install it (Debian: apt-get install uidmap; Fedora: dnf install shadow-utils)",
        )
    return Finding(what="user", state=OK, said=f"{said}, with subordinate ids")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "NAME"


def _store(store: Store) -> Finding:
    status = os.statvfs(store.root)
    free = status.f_bavail * status.f_frsize
    said = f"{store.root}, {size_text(free)} free"
    if free < _ROOM:
        hint = "PYBUILD_ROOT or --root names another place; pybuild du says what takes how much"
        return Finding(what="store", state=LESS, said=said, hint=hint)
    return Finding(what="store", state=OK, said=said)


def _steps(store: Store) -> Finding:
    try:
        why = refusal_of_namespaces(store)
    except BuildError as error:
        return _from_error("RUN", error)
    if why is None:
        return Finding(what="RUN", state=OK, said="in namespaces of its own")
    return Finding(
        what="RUN",
        state=LESS,
        said=f"by chroot only: it shares processes and network with pybuild, and has no /proc; "
        f"--network=none, limits and --tools are refused: {why.message}",
        hint=why.hint or "",
    )


def _limits() -> Finding:
    what = "RUN --memory, --cpus"
    try:
        group = make_group(
            f"pybuild/{group_name()}", Resources(memory=Memory(limit=1 << 30), pids_limit=100)
        )
    except ContainerError as error:
        return _from_error(what, error)
    remove_group(group)
    return Finding(what=what, state=OK, said=find_layout().describe())


def _owners(steps: Finding) -> Finding:
    what = "owners of files"
    if steps.state == MISSING or not has_single_id():
        return Finding(what=what, state=OK, said="any")
    return Finding(
        what=what,
        state=LESS,
        said="one id: those of packages and of COPY --chown are noted; chown in a RUN fails",
        hint="subuid(5) and newuidmap(1) give more",
    )


def _programs() -> Iterator[Finding]:
    try:
        check_rpm(())
        manager = find_manager("auto", ())
        yield Finding(what="BOOTSTRAP", state=OK, said=f"{manager.program} and rpm")
    except HostError as error:
        if find_program("rpm") is None:
            yield _from_error("BOOTSTRAP", error)
        else:
            said = f"rpm alone, which is enough for what is locked: {error.message}"
            yield Finding(what="BOOTSTRAP", state=LESS, said=said, hint=error.hint or "")
    try:
        check_apt(())
        yield Finding(what="BOOTSTRAP --manager=apt", state=OK, said="apt-get and mmdebstrap")
    except HostError as error:
        yield _from_error("BOOTSTRAP --manager=apt", error)
    for what, program, package in (
        ("ADD of git repositories", "git", "git"),
        ("--ssh with a key", "ssh-agent", "openssh-client"),
    ):
        found = find_program(program)
        if found is None:
            hint = f"install it (Debian: apt-get install {package})"
            yield Finding(what=what, state=MISSING, said=f"no {program}", hint=hint)
        else:
            yield Finding(what=what, state=OK, said=found)


def _platforms() -> Finding:
    here = this_platform()
    found, refused = runnable_platforms(here)
    said = ", ".join(found)
    if not refused:
        return Finding(what="platforms", state=OK, said=said)
    hint = ""
    try:
        check_programs(refused[0], here)
    except HostError as error:
        hint = error.hint or ""
    return Finding(
        what="platforms",
        state=LESS,
        said=f"{said}; without programs: {', '.join(refused)}",
        hint=hint,
    )


def _network() -> Finding:
    names = ("http_proxy", "https_proxy", "no_proxy")
    proxies = [n for n in names if os.environ.get(n) or os.environ.get(n.upper())]
    said = f"by {', '.join(proxies)}" if proxies else "no proxy"
    ca = default_ca()
    if ca and not os.path.isfile(ca):
        return Finding(
            what="servers", state=MISSING, said=f"{said}; certificates of {ca}, which is no file"
        )
    return Finding(
        what="servers", state=OK, said=f"{said}; certificates of {ca or 'this machine'}"
    )
