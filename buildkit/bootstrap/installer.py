"""What carrying out a BOOTSTRAP has of its own whoever installs: packages, their keys, a count."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.keys import Key
from buildkit.bootstrap.locked import LockedBootstrap
from buildkit.bootstrap.package_files import PlacedPackage, UnfetchedPackage
from buildkit.bootstrap.placing import place
from buildkit.bootstrap.resolved import Resolved
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.counting import Count
from buildkit.errors import LocatedError
from buildkit.owners import Owners
from buildkit.scope import PROXIES
from buildkit.steps import BootstrapStep
from runtime.store.store import Store


class Installer:
    """Carries one BOOTSTRAP out in its surroundings."""

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
        """`tools` are the layers of the image with the programs; empty: this machine has them."""
        self._step = step
        self._asked = asked
        self._surroundings = surroundings
        self._locked = locked
        self._tools = tools
        self._store = store
        self._owners = owners
        self._output = output
        self._count = count
        self._urls: Mapping[str, tuple[str, ...]] = {}  # of repositories, with what is secret

    def resolve(self, pins: Mapping[str, str]) -> Resolved:
        """What is to be installed; raises LocatedError, BuildError, NetworkError or HostError."""
        raise NotImplementedError

    def install(self, resolved: Resolved, epoch: int) -> int:
        """Install that; returns the newest time of a file in a package, in seconds, or 0.

        `epoch` is the install time.
        """
        raise NotImplementedError

    @property
    def keys(self) -> Mapping[str, tuple[Key, ...]]:
        """Those that count, by repository; files of the context are not looked at."""
        if not self._step.gpgcheck:
            return {}
        if self._locked is not None:
            return self._locked.keys
        return {section.id: section.keys for section in self._asked.repositories.sections}

    def _place(self, resolved: Resolved) -> tuple[PlacedPackage, ...]:
        try:
            placed = place(
                resolved,
                self._asked,
                f"{self._surroundings.state}/own",
                self._store,
                locked=self._locked,
                count=self._count,
                urls=self._urls,
            )
        except UnfetchedPackage as error:
            spans = {section.id: section.span for section in self._asked.repositories.sections}
            at = spans.get(error.package.repo, self._step.about.span)
            raise LocatedError(error, at) from error
        if self._count is not None:
            self._count.set(0)
        return placed

    def _counted(self, installing: re.Pattern[bytes], total: int) -> Callable[[bytes], None]:
        """What takes output, and counts the packages in it: what each is announced by."""
        done = 0

        def listen(chunk: bytes) -> None:
            nonlocal done
            done += len(installing.findall(chunk))
            if self._count is not None and done:
                self._count.set(0, packages=min(done, total))
            self._output(chunk)

        return listen

    def _say_found(self, found: Resolved) -> None:
        count, size = len(found.packages), found.size / 1e6
        self._output(f"{count} packages to install, {size:.1f} MB\n".encode())


def environment() -> dict[str, str]:
    """What programs and scriptlets get, whatever we have."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def proxies() -> dict[str, str]:
    """What is for the one that speaks to servers alone."""
    return {name: os.environ[name] for name in PROXIES if name in os.environ}
