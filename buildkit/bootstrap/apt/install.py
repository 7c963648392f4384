"""BOOTSTRAP --manager=apt from outside a root filesystem: resolve, fetch, install, clean up."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType

from buildkit.bootstrap.apt import cleaning, transcript
from buildkit.bootstrap.apt.mirror import LocalDeb, read_local, write_mirror
from buildkit.bootstrap.apt.mmdebstrap import install_arguments, write_hooks
from buildkit.bootstrap.apt.programs import INSTALLERS, PROGRAMS, check_programs
from buildkit.bootstrap.apt.resolving import place_of, resolve
from buildkit.bootstrap.installer import Installer, environment, proxies
from buildkit.bootstrap.ownership import Ownership
from buildkit.bootstrap.package_files import RefusedPackage
from buildkit.bootstrap.resolved import AnyPackage, Resolved
from buildkit.bootstrap.transcript import Log
from buildkit.errors import BuildError, LocatedError

_MIRROR = "mirror"
# What mmdebstrap does as it is told to; what apt says of a mirror that was made for it; steps of
# dpkg before the last.
_NOISE = re.compile(
    rb"^(?:I: (?:skipping|automatically|running --\w+-hook|(?:running|executing) \S*dpkg) "
    rb"|W: skipping creation of \./dev/|(?:Ign|Err|Get|Hit):\d+ copy:|  |[A-Z][a-z]+ed packages:$"
    rb"|Fetched |Reading package lists|Building dependency tree|The following |\d+ upgraded, "
    rb"|Need to get |After this operation|Selecting previously |\(Reading database |Preparing to "
    rb"|Unpacking |/usr/bin/dpkg |dpkg: (?:warning: ignoring pre-depend|regarding )"
    rb"| \S+ (?:pre-depends on|is unpacked,) |\S+ is already the newest |debconf: delaying "
    rb"|update-alternatives: (?:using|warning: skip creation) |Chrooting into ).*\n|^\n",
    re.MULTILINE,
)
_SETTING_UP = re.compile(rb"^Setting up ", re.MULTILINE)


class AptInstaller(Installer):
    """By apt and mmdebstrap."""

    _files: Mapping[str, LocalDeb] = MappingProxyType({})  # once they were looked into

    def resolve(self, pins: Mapping[str, str]) -> Resolved:
        # When a package was built only its file tells, so all of them are fetched.
        if self._locked is not None:
            check_programs(self._tools, INSTALLERS)
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
        self._say_found(found)
        files = self._read(found)
        return found.replace(
            packages=tuple(
                package.replace(
                    buildtime=files[package.id].file.built, source=_source(files[package.id])
                )
                for package in found.packages
            )
        )

    def install(self, resolved: Resolved, epoch: int) -> int:
        surroundings, step = self._surroundings, self._step
        files = self._read(resolved)
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
        counted = self._counted(_SETTING_UP, len(files))
        log = Log(lambda chunk: counted(_NOISE.sub(b"", chunk)))
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
        return 0  # no file is newer than the newest package

    def _read(self, resolved: Resolved) -> Mapping[str, LocalDeb]:
        """The files of all packages by their ids, each looked into, once."""
        if self._files:
            return self._files
        files = {}
        try:
            for one in self._place(resolved):
                files[one.package.id] = read_local(one.path, one.package.sha256)
                _check_is(one.package, files[one.package.id])
        except RefusedPackage as error:
            package = error.package
            at = place_of((package.name,), package.repo, self._step, self._asked)
            raise LocatedError(error, at) from error
        self._files = files
        return files

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
