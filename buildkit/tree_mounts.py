"""The mounts of a RUN where nothing can be mounted: what they show is moved to its place in the
tree, and back.

So the step writes to what it should only read (nobody sees it afterwards), and a shared cache is
for one step at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import assert_never

from buildkit.copied_snapshot import Trees
from buildkit.errors import BuildError, LocatedError
from buildkit.mount_sources import (
    cache_source,
    copy_context,
    copy_tree,
    find_secret,
    ssh_source,
    write_secret,
)
from buildkit.preparation import Prepared
from buildkit.processes import call_in_child
from buildkit.state import Settings, State
from buildkit.steps import RunMount, RunStep
from grammar.values.mounts import BindMount, CacheMount, SecretMount, SshMount, TmpfsMount
from runtime.store.store import Store
from runtime.store.workspace import Workspace


class TreeMounts:
    """All that a step's mounts lead to, until `stack` is left."""

    def __init__(
        self,
        step: RunStep,
        prepared: Prepared,
        trees: Trees,
        *,
        settings: Settings,
        store: Store,
        work: Workspace,
        stack: ExitStack,
    ) -> None:
        """Find and make everything; raises BuildError, or LocatedError for one mount."""
        self.given: dict[str, str] = {}  # by target: what is to be moved there
        self.env: list[str] = []
        self._step = step
        self._trees = trees
        self._settings = settings
        self._store = store
        self._work = work
        self._stack = stack
        for number, mounted in enumerate(step.mounts):
            try:
                self._add(number, mounted, prepared)
            except BuildError as error:
                raise LocatedError(error, mounted.span) from error

    def _add(self, number: int, mounted: RunMount, prepared: Prepared) -> None:
        mount, name = mounted.mount, f"mount-{number}"
        match mount:
            case BindMount():
                origin, place = prepared.origins[number], self._work.directory(name)
                if origin is None:
                    paths, within = prepared.bound[number], self._settings.within(mounted.context)
                    copied = copy_context(self._step, paths, within, prepared, place)
                else:
                    copied = self._copy(origin, mount.source, place)
                self.given[mount.target] = copied
            case CacheMount():
                origin = prepared.origins[number]
                parent = origin.parent if origin else ""
                fill = None if origin is None else self._filling(origin, mount, name)
                cache = cache_source(self._store, mount, parent, fill, exclusive=True)
                self.given[mount.target] = self._stack.enter_context(cache)
            case TmpfsMount():
                path = self._work.directory(name)
                os.chmod(path, 0o1777 if mount.mode is None else mount.mode)
                self.given[mount.target] = path
            case SecretMount():
                content = find_secret(mounted, mount, self._settings)
                if content is not None and mount.env is not None:
                    self.env.append(f"{mount.env}={os.fsdecode(content)}")
                if content is not None and mount.target is not None:
                    write_secret(f"{self._work.path}/{name}", content, mount)
                    self.given[mount.target] = f"{self._work.path}/{name}"
            case SshMount():
                path = f"{self._work.path}/{name}"
                agent = ssh_source(mounted, mount, self._settings, path)
                if self._stack.enter_context(agent):
                    assert mount.target is not None
                    self.given[mount.target] = path
                    if not any(text.startswith("SSH_AUTH_SOCK=") for text in self.env):
                        self.env.append(f"SSH_AUTH_SOCK={mount.target}")
            case _:
                assert_never(mount)

    def _copy(self, origin: State, source: str, place: str) -> str:
        root = self._trees.look(origin)
        call_in_child(lambda: copy_tree(self._step, root, source, place))
        return f"{place}/files"

    def _filling(self, origin: State, mount: CacheMount, name: str) -> Callable[[str], None]:
        def fill(path: str) -> None:
            os.rename(self._copy(origin, mount.source, self._work.directory(name)), path)

        return fill
