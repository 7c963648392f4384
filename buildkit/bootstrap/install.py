"""BOOTSTRAP from outside a root filesystem: resolve, fetch, verify, install by rpm, clean up.

dnf only says what is to be installed; rpm does it. So what a lock file holds is enough, every
package is looked at before the first of them is unpacked, and packages that are the same lead to
the same layer, whatever else has changed in their repositories.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

from buildkit.bootstrap import cleaning, rpm, transcript
from buildkit.bootstrap.full_disk import disk_error, program_error
from buildkit.bootstrap.installer import Installer, environment, proxies
from buildkit.bootstrap.managers import check_rpm, find_manager
from buildkit.bootstrap.ownership import Ownership
from buildkit.bootstrap.package_files import PlacedPackage, RefusedPackage
from buildkit.bootstrap.private_urls import without_secrets
from buildkit.bootstrap.requirements import check_requirements
from buildkit.bootstrap.resolved import Resolved
from buildkit.bootstrap.resolving import place_of, resolve, span_of
from buildkit.bootstrap.signatures import check_signatures
from buildkit.bootstrap.transcript import Log
from buildkit.errors import BuildError, LocatedError
from buildkit.owners import Owner

DEFAULT_DBPATH = "/usr/lib/sysimage/rpm"


class RpmInstaller(Installer):
    """By dnf and rpm."""

    @cached_property
    def _present(self) -> str | None:
        """Where the system below has its database."""
        return rpm.present_database(*self._surroundings.lowers, dbpath=self._step.dbpath)

    @property
    def _dbpath(self) -> str:
        return self._step.dbpath or self._present or DEFAULT_DBPATH

    def resolve(self, pins: Mapping[str, str]) -> Resolved:
        check_rpm(self._tools)
        if self._locked is not None:
            return self._locked.resolved
        manager = find_manager(self._step.manager, self._tools)
        found = resolve(
            manager,
            self._step,
            self._asked,
            self._surroundings,
            dbpath=self._dbpath if self._present else None,
            pins=pins,
            variables={**environment(), **proxies()},
            store=self._store,
            log=Log(self._output, self._asked.repositories.secrets),
        )
        self._say_found(found)
        self._urls = {repository.id: repository.baseurls for repository in found.repositories}
        return without_secrets(found, self._asked.repositories)

    def install(self, resolved: Resolved, epoch: int) -> int:
        step = self._step
        try:
            placed = self._place(resolved)
            names = self._link(placed)
            self._check(placed, names)
        except RefusedPackage as error:
            raise LocatedError(error, span_of(error.package, self._asked, step)) from error
        before = cleaning.present(*self._surroundings.lowers)
        log = Log(self._counted(rpm.INSTALLING, len(placed)))
        variables = {**environment(), "SOURCE_DATE_EPOCH": str(epoch)}
        root = self._surroundings.root
        if imported := self._key_files(resolved):
            arguments = rpm.import_arguments(self._dbpath, imported, root)
            if self._surroundings.run(arguments, variables, log.listen):
                message = f"rpm cannot take the keys: {log.text.strip()}"
                raise program_error(message, log.text)
        with open(f"{self._surroundings.state}/manifest", "w", encoding="utf-8") as file:
            file.writelines(f"{names[one.package.id]}\n" for one in placed)
        arguments = rpm.install_arguments(
            step,
            root=root,
            dbpath=self._dbpath,
            manifest=f"{self._surroundings.seen}/manifest",
            replaces=bool(resolved.removed) or self._locked is not None or bool(self._present),
            arch=os.uname().machine,
        )
        with self._surroundings.owned(self._owners) as ownership:
            status = 0
            if placed:
                status = self._surroundings.run(
                    arguments, variables, log.listen, ownership=ownership
                )
        self._judge(log.text, status)
        return self._finish(resolved, before, ownership)

    def _link(self, placed: tuple[PlacedPackage, ...]) -> dict[str, str]:
        """Make packages visible under their names; where programs see them, by NEVRA."""
        names = {}
        for one in placed:
            name = f"packages/{one.package.label}.rpm"
            here = f"{self._surroundings.state}/{name}"
            try:
                os.link(one.path, here)
            except OSError:  # another filesystem, or another's file: it is visible at its place
                os.symlink(os.path.realpath(one.path), here)
            names[one.package.id] = f"{self._surroundings.seen}/{name}"
        return names

    def _check(self, placed: tuple[PlacedPackage, ...], names: Mapping[str, str]) -> None:
        check_signatures(
            placed,
            self.keys,
            names=lambda package: names[package.id],
            surroundings=self._surroundings,
            variables=environment(),
            store=self._store,
        )
        check_requirements(placed, surroundings=self._surroundings, variables=environment())

    def _key_files(self, resolved: Resolved) -> list[str]:
        """The keys that are new to the system, as files for the programs."""
        used = {package.repo for package in resolved.packages}
        content = {
            key.content: None
            for repo, keys in sorted(self.keys.items())
            if repo in used
            for key in keys
        }
        names = []
        for number, key in enumerate(content):
            name = f"import.{number}.asc"
            with open(f"{self._surroundings.state}/{name}", "wb") as file:
                file.write(key)
            names.append(f"{self._surroundings.seen}/{name}")
        return names

    def _judge(self, text: str, status: int) -> None:
        """Raise for what went wrong, also if rpm itself thought nothing of it."""
        if status:
            failure = transcript.failure(text, status)
            raise LocatedError(failure.error, place_of(failure, self._step, self._asked))
        scriptlets = transcript.failed_scriptlets(text)
        if scriptlets and not self._step.allow_scriptlet_failure:
            raise disk_error(text) or BuildError(
                "; ".join(scriptlets),
                hint="--allow-scriptlet-failure accepts the result as it is",
            )
        owners = transcript.unknown_owners(text)
        if owners:
            raise BuildError(
                f"files belong to {', '.join(owners)}, which the system does not have",
                hint="packages that count on rpm >= 4.19 to make users need a newer rpm: "
                "--tools=IMAGE takes that of an image",
            )

    def _finish(self, resolved: Resolved, before: frozenset[str], ownership: Ownership) -> int:
        step, dbpath = self._step, self._dbpath

        def finish(root: str) -> tuple[int, Mapping[str, Owner]]:
            newest = cleaning.newest_file(f"{root}{dbpath}")
            packaged = ownership.note_packaged(root, dbpath)
            cleaning.clean(root, dbpath=dbpath, before=before, how=step.clean)
            cleaning.write_modules(resolved.modules)
            if not step.dbpath and step.clean != "all":
                cleaning.move_database(dbpath)
            return newest, packaged

        found, packaged = self._surroundings.call(finish)
        ownership.settle(packaged)
        self._surroundings.close()
        return found
