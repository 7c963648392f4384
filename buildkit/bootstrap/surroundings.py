"""Where the programs of a bootstrap run: what they see, and what of that they can change.

They have one directory of their own, the state: configuration, caches, logs, packages. The host is
as it is otherwise, and the new root is what they are there for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from buildkit.bootstrap.ownership import Ownership
from buildkit.copied_snapshot import Tree
from buildkit.furniture import Furniture
from buildkit.owners import Owners
from buildkit.processes import call_in_child, call_in_mount_namespace, run_container, run_in_chroot
from buildkit.snapshot import Snapshot
from runtime.oci.spec import Capabilities, Mount, Namespace, Process, Spec
from runtime.sandbox import capabilities, defaults
from runtime.sandbox.rootfs import Bind, Directory, Overlay
from runtime.store.store import Store
from runtime.store.workspace import Workspace, remove_tree

_STATE = "/dev/pybuild"  # where contained programs have the state
_CLOSED = ("nosuid", "noexec", "nodev")
# What programs read of the machine whatever they are told, and what they find instead.
_CONFIGURATION = {
    **{f"/etc/{name}": "none" for name in ("rpm", "dnf", "yum", "yum.repos.d", "popt.d")},
    **{f"/etc/{name}": "nothing" for name in ("rpmrc", "popt")},
}
_FOLDERS = ("own", "home", "log", "persist", "tmp", "vars", "none", "packages")

Output = Callable[[bytes], None]
_T = TypeVar("_T")


class Surroundings(Protocol):
    """What a bootstrap needs of the place where it happens."""

    state: str  # the directory, for us
    seen: str  # the same for the programs
    root: str  # the new root for the programs
    lowers: tuple[str, ...]  # directories below the new root, for us; highest first
    mounts: bool  # whether programs can mount something

    def run(
        self,
        arguments: tuple[str, ...],
        variables: Mapping[str, str],
        output: Output,
        *,
        ownership: Ownership | None = None,
    ) -> int:
        """Run a program to its end; returns its exit status.

        `ownership` is for the one that installs: it hears who shall own the files.
        """

    def owned(self, owners: Owners | None) -> Ownership:
        """What `run` takes while files are given to owners."""

    def call(self, function: Callable[[str], _T]) -> _T:
        """Call a function with our path of the new root, in a child."""

    def close(self) -> None:
        """Take away what must not be part of the new root."""


def make_state(work: Workspace, name: str) -> str:
    """The directory for all that is read and written beside the new root."""
    state = work.directory(f"{name}.bootstrap")
    for folder in _FOLDERS:
        os.mkdir(f"{state}/{folder}")
    os.close(os.open(f"{state}/nothing", os.O_CREAT | os.O_CLOEXEC, 0o644))
    return state


def make_mount_points(root: str) -> None:
    """Make what a new root is mounted on."""
    # Not what the filesystem package would make them: it cannot, they are mounted on.
    for name, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555)):
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", mode)


class Contained:
    """In a container whose root is the host's, or that of an image with the tools.

    It is read-only but for the new root and the state below /dev: an own PID namespace (a kill
    leaves no scriptlet running), a private /dev and /proc for the scriptlets, nothing of the
    host's /etc/rpm. What is written below the root at a path that is also the state's is in a
    tmpfs, which goes away.
    """

    mounts = True

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        store: Store,
        work: Workspace,
        tools: tuple[str, ...] = (),
        visible: tuple[str, ...] = (),
        cache: str,
        furnished: bool = True,
    ) -> None:
        """`tools` are the layers of the image with the tools; empty: the host is the root.

        `visible` are paths of the host that the programs read, `cache` is a directory that is kept
        between builds. What is not `furnished` is empty: no /dev, /proc and /sys in the new root.
        """
        self.state = make_state(work, os.path.basename(snapshot.made))
        os.mkdir(f"{self.state}/cache")
        os.mkdir(f"{self.state}/root")
        self.seen = _STATE
        self.root = f"{_STATE}/root"
        self.lowers = snapshot.lowers
        self._snapshot = snapshot
        self._store = store
        self._tools = tools
        self._visible = visible
        self._cache = cache
        self._scratch = ""
        self._furnished = furnished
        if not snapshot.lowers:
            if furnished:
                make_mount_points(snapshot.upper)
        else:
            self._scratch = work.directory(f"{os.path.basename(snapshot.made)}.install")

    def run(
        self,
        arguments: tuple[str, ...],
        variables: Mapping[str, str],
        output: Output,
        *,
        ownership: Ownership | None = None,
    ) -> int:
        return run_container(
            Spec(
                process=_process(arguments, variables),
                mounts=self._mounts(),
                namespaces=(
                    Namespace(type="pid"),
                    Namespace(type="mount"),
                    Namespace(type="ipc"),
                ),
            ),
            self._rootfs(),
            scratch=self._store.scratch,
            devices=("/dev", f"{self.root}/dev") if self._furnished else ("/dev",),
            prepare=self._attach if self._scratch else None,
            output=output,
            final=None if ownership is None else ownership.entry,
            attendant=None if ownership is None else ownership.attendant,
        )

    def owned(self, owners: Owners | None) -> Ownership:
        upper = self._snapshot.upper
        return Ownership(owners, root=self.root, upper=upper, fresh=not self.lowers)

    def call(self, function: Callable[[str], _T]) -> _T:
        def call() -> _T:
            if self._scratch:
                self._attach()
            return function(self._host_root)

        return call_in_mount_namespace(call)

    def close(self) -> None:
        pass

    @property
    def _host_root(self) -> str:
        return f"{self._scratch}/root" if self._scratch else self._snapshot.upper

    def _attach(self) -> None:
        self._snapshot.rootfs().attach(self._scratch)

    def _rootfs(self) -> Directory | Overlay:
        if self._tools:
            return Overlay(lowers=self._tools)
        # libdnf takes /tmp whatever TMPDIR says.
        tmp = Bind(destination="/tmp", source=f"{self.state}/tmp")
        hidden = (
            Bind(destination=p, source=f"{self.state}/{empty}", readonly=True)
            for p, empty in _CONFIGURATION.items()
            if os.path.lexists(p)
        )
        visible = (Bind(destination=p, source=p, readonly=True) for p in self._visible)
        return Directory(path="/", readonly=True, binds=(tmp, *hidden, *visible))

    def _mounts(self) -> tuple[Mount, ...]:
        state, root = self.state, self.root
        furniture = (
            Mount(destination=f"{root}/proc", type="proc", source="proc", options=_CLOSED),
            defaults.dev(f"{root}/dev"),
            Mount(destination=f"{root}/sys", type="bind", source="/sys", options=("rbind", "rro")),
        )
        return (
            Mount(destination="/proc", type="proc", source="proc", options=_CLOSED),
            defaults.dev(),
            Mount(destination=_STATE, type="bind", source=state),
            Mount(destination=f"{_STATE}/cache", type="bind", source=self._cache),
            Mount(destination="/root", type="bind", source=f"{state}/home"),
            *self._mounts_of_tools(),
            Mount(destination=root, type="bind", source=self._host_root),
            *(furniture if self._furnished else ()),
        )

    def _mounts_of_tools(self) -> tuple[Mount, ...]:
        """What of the host an image with the tools must have: names, paths that are read."""
        if not self._tools:
            return ()
        names = tuple(p for p in ("/etc/resolv.conf", "/etc/hosts") if os.path.exists(p))
        return tuple(
            Mount(destination=path, type="bind", source=os.path.realpath(path), options=("ro",))
            for path in (*names, *self._visible)
        )


class Uncontained:
    """Where nothing can be mounted: the host is as it is, and programs are told about every place.

    What is private all the same: configuration, cache, logs, packages, temporary files, and the
    devices of the new root. What is not: what libdnf puts into /tmp whatever it is told, the
    machine's processes; and the new root has no /proc.
    """

    mounts = False

    def __init__(self, tree: Tree, *, work: Workspace, cache: str, furnished: bool = True) -> None:
        """As `Contained`, for a copied tree."""
        self.state = make_state(work, os.path.basename(tree.root))
        os.symlink(cache, f"{self.state}/cache")
        self.seen = self.state
        self.root = tree.root
        self.lowers: tuple[str, ...] = (tree.root,)
        self._below = bool(tree.layers)
        if not self._below and furnished:
            make_mount_points(tree.root)
        self._furniture = None
        if furnished:
            self._furniture = Furniture(tree.state, tree.root, work.directory("aside"), {})

    def run(
        self,
        arguments: tuple[str, ...],
        variables: Mapping[str, str],
        output: Output,
        *,
        ownership: Ownership | None = None,
    ) -> int:
        # Not for scriptlets, which would find it nowhere.
        own = {} if ownership is not None else {"TMPDIR": f"{self.state}/tmp"}
        return run_in_chroot(
            _process(arguments, {**variables, **own}),
            "/",
            output=output,
            final=None if ownership is None else ownership.entry,
            attendant=None if ownership is None else ownership.attendant,
        )

    def owned(self, owners: Owners | None) -> Ownership:
        fresh = not self._below
        return Ownership(owners, root=self.root, upper=self.root, fresh=fresh)

    def call(self, function: Callable[[str], _T]) -> _T:
        return call_in_child(lambda: function(self.root))

    def close(self) -> None:
        if self._furniture is not None:
            self._furniture.remove()
        remove_tree(self.state)


def _process(arguments: tuple[str, ...], variables: Mapping[str, str]) -> Process:
    """A program that may do all that rpm does."""
    return Process(
        args=arguments,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        # rpm owns files to everybody, makes devices, changes the root, sets capabilities.
        capabilities=Capabilities.granted(capabilities.ALL),
        no_new_privileges=False,
    )
