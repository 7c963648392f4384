"""The mounts of a RUN in a container (Dockerfile reference, "RUN --mount").

What is only seen by the step is mounted in the container's own mount namespace (`prepare`), below
the step's workspace, and bound from there to its target.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import assert_never

from buildkit.applying import apply_layers
from buildkit.errors import BuildError, LocatedError
from buildkit.merged import Merged
from buildkit.mount_sources import (
    cache_source,
    copy_context,
    copy_tree,
    find_secret,
    missing,
    ssh_source,
    write_secret,
)
from buildkit.preparation import Prepared
from buildkit.processes import call_in_mount_namespace
from buildkit.state import Settings, State
from buildkit.steps import RunMount, RunStep
from grammar.values.mounts import BindMount, CacheMount, SecretMount, SshMount, TmpfsMount
from runtime.oci.spec import Mount
from runtime.sandbox import syscalls
from runtime.sandbox.rootfs import Overlay
from runtime.store.store import Store
from runtime.store.workspace import Workspace


class RunMounts:
    """All that a step's mounts lead to, until `stack` is left."""

    def __init__(
        self,
        step: RunStep,
        prepared: Prepared,
        *,
        settings: Settings,
        store: Store,
        work: Workspace,
        stack: ExitStack,
    ) -> None:
        """Find and make everything; raises BuildError, or LocatedError for one mount."""
        self.mounts: list[Mount] = []
        self.env: list[str] = []
        self.points: list[tuple[str, bool]] = []  # targets, and whether each is a directory
        self._preparations: list[Callable[[], None]] = []
        self._step = step
        self._settings = settings
        self._store = store
        self._work = work
        self._stack = stack
        self._secrets: list[tuple[SecretMount, bytes]] = []
        for number, mounted in enumerate(step.mounts):
            try:
                self._add(number, mounted, prepared)
            except BuildError as error:
                raise LocatedError(error, mounted.span) from error
        if self._secrets:
            self._preparations.append(self._write_secrets)

    def prepare(self) -> None:
        """Mount what the container's mounts are bound from, in its mount namespace."""
        for prepare in self._preparations:
            prepare()

    def bind(self, target: str, source: str, *options: str, directory: bool) -> None:
        """Show a file or directory at a place in the container."""
        self.points.append((target, directory))
        self.mounts.append(
            Mount(destination=target, type="bind", source=source, options=("bind", *options))
        )

    def _add(self, number: int, mounted: RunMount, prepared: Prepared) -> None:
        mount, name = mounted.mount, f"mount-{number}"
        match mount:
            case BindMount():
                origin = prepared.origins[number]
                if origin is None:
                    place = self._work.directory(name)
                    paths, within = prepared.bound[number], self._settings.within(mounted.context)
                    source = copy_context(self._step, paths, within, prepared, place)
                    directory = os.path.isdir(source)
                else:
                    source, directory = self._show(origin, mount, name)
                words = [w for w in ("nosuid", "noexec") if getattr(mount, w)]
                access = "ro" if mount.readonly else "rw"
                self.bind(mount.target, source, access, "nodev", *words, directory=directory)
            case CacheMount():
                origin = prepared.origins[number]
                parent = origin.parent if origin else ""
                fill = None if origin is None else self._filling(origin, mount, name)
                cache = cache_source(self._store, mount, parent, fill)
                source = self._stack.enter_context(cache)
                access = "ro" if mount.readonly else "rw"
                self.bind(mount.target, source, access, "nodev", directory=True)
            case TmpfsMount():
                self._add_tmpfs(mount)
            case SecretMount():
                self._add_secret(mounted, mount)
            case SshMount():
                path = f"{self._work.path}/{name}"
                agent = ssh_source(mounted, mount, self._settings, path)
                if self._stack.enter_context(agent):
                    assert mount.target is not None
                    self.bind(mount.target, path, directory=False)
                    if not any(text.startswith("SSH_AUTH_SOCK=") for text in self.env):
                        self.env.append(f"SSH_AUTH_SOCK={mount.target}")
            case _:
                assert_never(mount)

    def _show(self, origin: State, mount: BindMount, name: str) -> tuple[str, bool]:
        """Mount another root filesystem; the path of the mount's source in it, and its kind."""
        lowers = apply_layers(self._store, origin, self._work)
        found = Merged(lowers).find(mount.source)
        if not found.layers:
            raise missing(mount.source)
        place = self._work.directory(name)
        upper = work = None
        if not mount.readonly:  # what is written is discarded with the workspace
            upper, work = (self._work.directory(f"{name}.{part}") for part in ("upper", "work"))
        overlay = Overlay(lowers=lowers, upper=upper, work=work)
        self._preparations.append(lambda: _attach(overlay, place))
        return f"{place}/root{found.path}", found.is_directory

    def _filling(self, origin: State, mount: CacheMount, name: str) -> Callable[[str], None]:
        def fill(path: str) -> None:
            scratch, place = (self._work.directory(f"{name}.{part}") for part in ("root", "copy"))
            lowers = apply_layers(self._store, origin, self._work)

            def copy() -> None:
                root = Overlay(lowers=lowers).attach(scratch)
                copy_tree(self._step, root, mount.source, place)

            call_in_mount_namespace(copy)
            os.rename(f"{place}/files", path)

        return fill

    def _add_tmpfs(self, mount: TmpfsMount) -> None:
        options = ["nosuid", "nodev", "ro" if mount.readonly else "rw"]
        options += [] if mount.size is None else [f"size={mount.size}"]
        options += [] if mount.mode is None else [f"mode={mount.mode:o}"]
        options += ["tmpcopyup"] if mount.copy_up else []
        self.points.append((mount.target, True))
        self.mounts.append(
            Mount(destination=mount.target, type="tmpfs", source="tmpfs", options=tuple(options))
        )

    def _add_secret(self, mounted: RunMount, mount: SecretMount) -> None:
        content = find_secret(mounted, mount, self._settings)
        if content is None:
            return
        if mount.env is not None:
            self.env.append(f"{mount.env}={os.fsdecode(content)}")
        if mount.target is not None:
            if not self._secrets:
                self._work.directory("secrets")
            source = f"{self._work.path}/secrets/{len(self._secrets)}"
            self._secrets.append((mount, content))
            self.bind(mount.target, source, "ro", directory=False)

    def _write_secrets(self) -> None:
        """In memory, and out of sight of everybody else: never on a disk."""
        place = f"{self._work.path}/secrets"
        syscalls.mount("tmpfs", place, "tmpfs", 0, "mode=0700")
        for number, (mount, content) in enumerate(self._secrets):
            write_secret(f"{place}/{number}", content, mount)


def _attach(overlay: Overlay, place: str) -> None:
    overlay.attach(place)
