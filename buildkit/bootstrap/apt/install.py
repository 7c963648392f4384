"""BOOTSTRAP --manager=apt from outside a root filesystem: resolve, fetch, install, clean up."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from buildkit.bootstrap.apt import cleaning, transcript
from buildkit.bootstrap.apt.mirror import LocalDeb, read_local, write_mirror
from buildkit.bootstrap.apt.mmdebstrap import install_arguments, write_hooks
from buildkit.bootstrap.apt.programs import INSTALLER, PROGRAMS, check_programs
from buildkit.bootstrap.apt.resolving import place_of, resolve
from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.install import environment, proxies
from buildkit.bootstrap.keys import Key
from buildkit.bootstrap.locked import LockedBootstrap
from buildkit.bootstrap.ownership import Ownership
from buildkit.bootstrap.package_files import RefusedPackage
from buildkit.bootstrap.placing import place
from buildkit.bootstrap.resolved import AnyPackage, Resolved
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.bootstrap.transcript import Log
from buildkit.counting import Count
from buildkit.errors import BuildError, LocatedError
from buildkit.owners import Owners
from buildkit.steps import BootstrapStep
from runtime.store.store import Store

_MIRROR = "mirror"
# What mmdebstrap does as it is told to.
_NOISE = re.compile(
    rb"^(?:I: skipping |I: running --\w+-hook |W: skipping creation of \./dev/).*\n", re.MULTILINE
)
_SETTING_UP = re.compile(rb"^Setting up ", re.MULTILINE)


class AptInstaller:
    """Carries one BOOTSTRAP out in its surroundings; what `Installer` is for rpm."""

    def __init__(
        self,
        step: BootstrapStep,
        asked: Asked,
        surroundings: Surroundings,
        *,
        locked: LockedBootstrap | None,
        tools: tuple[str, ...],
        store: Store,
        owners: Owners | None,
        output: Callable[[bytes], None],
        count: Count | None,
    ) -> None:
        self._step = step
        self._asked = asked
        self._surroundings = surroundings
        self._locked = locked
        self._tools = tools
        self._store = store
        self._owners = owners
        self._output = output
        self._count = count
        self._files: dict[str, LocalDeb] = {}

    def resolve(self, pins: Mapping[str, str]) -> Resolved:
        """What is to be installed; raises LocatedError, BuildError, NetworkError or HostError.

        When a package was built only its file tells, so all of them are fetched.
        """
        if self._locked is not None:
            check_programs(self._tools, (INSTALLER,))
            return self._locked.resolved
        check_programs(self._tools, PROGRAMS)
        found = resolve(
            self._step,
            self._asked,
            self._surroundings,
            pins=pins,
            variables={**environment(), **proxies()},
            output=self._output,
        )
        size = f"{found.size / 1e6:.1f} MB"
        self._output(f"{len(found.packages)} packages to install, {size}\n".encode())
        files = self._place(found)
        return found.replace(
            packages=tuple(
                package.replace(
                    buildtime=files[package.id].file.built, source=_source(files[package.id])
                )
                for package in found.packages
            )
        )

    @property
    def keys(self) -> Mapping[str, tuple[Key, ...]]:
        """Those that count, by repository."""
        if not self._step.gpgcheck:
            return {}
        if self._locked is not None:
            return self._locked.keys
        return {section.id: section.keys for section in self._asked.repositories.sections}

    def install(self, resolved: Resolved, epoch: int) -> int:
        """Install that; returns 0: no file is newer than the newest package.

        `epoch` is what scripts take for the time, in seconds.
        """
        surroundings, step = self._surroundings, self._step
        files = self._place(resolved)
        mirror = f"{surroundings.state}/{_MIRROR}"
        os.mkdir(mirror)
        write_mirror(mirror, files.values())
        names = [
            package.file.fields["package"]
            for package in files.values()
            if package.file.fields.get("essential") != "yes"
        ]
        devices = "mounts" if self._owners is None else "binds"
        devices = devices if surroundings.mounts else "files"
        write_hooks(step, state=surroundings.state, seen=surroundings.seen, devices=devices)
        arguments = install_arguments(
            step,
            root=surroundings.root,
            seen=surroundings.seen,
            mirror=f"{surroundings.seen}/{_MIRROR}",
            names=names,
            devices=devices,
        )
        log = Log(self._listen(len(files)))
        variables = {
            **environment(),
            "SOURCE_DATE_EPOCH": str(epoch),
            "DEBIAN_FRONTEND": "noninteractive",
            "DEBCONF_NONINTERACTIVE_SEEN": "true",
            # Read until mmdebstrap has a configuration of its own.
            "APT_CONFIG": f"{surroundings.seen}/empty/apt.conf",
        }
        empty = f"{surroundings.state}/empty"
        for folder in ("etc/apt/apt.conf.d", "var/lib/apt/lists/partial"):
            os.makedirs(f"{empty}/{folder}")
        with open(f"{empty}/apt.conf", "w", encoding="utf-8") as file:
            file.write(f'Dir "{surroundings.seen}/empty";\n')
        with surroundings.owned(self._owners) as ownership:
            status = surroundings.run(arguments, variables, log.listen, ownership=ownership)
        if status:
            failed = transcript.failure(log.text, status, {})
            at = place_of(failed.words, None, step, self._asked)
            raise LocatedError(failed.error, at)
        self._finish(resolved, ownership)
        return 0

    def _place(self, resolved: Resolved) -> dict[str, LocalDeb]:
        """The files of all packages by their ids, each looked into, once."""
        if self._files:
            return self._files
        try:
            placed = place(
                resolved,
                self._asked,
                f"{self._surroundings.state}/own",
                self._store,
                locked=self._locked,
                count=self._count,
            )
            if self._count is not None:
                self._count.set(0)
            for one in placed:
                found = read_local(one.path, one.package.sha256)
                _check_is(one.package, found)
                self._files[one.package.id] = found
        except RefusedPackage as error:
            package = error.package
            at = place_of((package.name,), package.repo, self._step, self._asked)
            raise LocatedError(error, at) from error
        return self._files

    def _listen(self, total: int) -> Callable[[bytes], None]:
        """Hand output on, and count the packages in it."""
        done = 0

        def listen(chunk: bytes) -> None:
            nonlocal done
            done += len(_SETTING_UP.findall(chunk))
            if self._count is not None and done:
                self._count.set(0, files=min(done, total))
            self._output(_NOISE.sub(b"", chunk))

        return listen

    def _finish(self, resolved: Resolved, ownership: Ownership) -> None:
        how = self._step.clean

        def finish(root: str) -> None:
            cleaning.enter(root)
            cleaning.check_installed(resolved.packages)
            cleaning.clean(resolved.packages, how)

        self._surroundings.call(finish)
        if ownership.attendant is not None and ownership.attendant.unheard:
            why = os.strerror(ownership.attendant.unheard)
            raise BuildError(
                "owners of files cannot be followed here, and no database of dpkg's has them: "
                f"seccomp(2) with a listener: {why}",
                hint="subordinate ids need no listener: see subuid(5) and newuidmap(1)",
            )
        ownership.settle({})
        self._surroundings.close()


def _source(package: LocalDeb) -> str:
    """Name and version of the source package (deb-control(5))."""
    fields = package.file.fields
    name, _, version = fields.get("source", fields["package"]).partition(" ")
    return f"{name} {version.strip(' ()') or fields['version']}"


def _check_is(package: AnyPackage, found: LocalDeb) -> None:
    """Raise RefusedPackage if a file is of another package than its repository says."""
    if found.id != package.id:
        error = RefusedPackage(
            f"package {package.label} of repository {package.repo!r} is in fact {found.id}"
        )
        error.package = package
        raise error
