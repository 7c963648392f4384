"""Runtime-spec types (config.md, config-linux.md): what to isolate and how to start the process.

The Go prefix `Linux` is left out where the name is clear without it.
"""

from __future__ import annotations

from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    NamespaceType = Literal["pid", "mount", "uts", "ipc", "network", "cgroup"]


class User(Record):
    """Numeric identity of a process (config.md "User")."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


class Rlimit(Record):
    """One resource limit (config.md "POSIX process")."""

    type: str
    soft: int
    hard: int


class Process(Record):
    """The container's process (config.md "Process").

    `user` may also be the image's own words (`name[:group]`, image-spec config.md "User"): they
    are looked up in the container's passwd and group files once its root is mounted.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User | str = User()
    terminal: bool = False
    capabilities: frozenset[str] = frozenset()  # bounding, permitted and effective
    no_new_privileges: bool = True
    rlimits: tuple[Rlimit, ...] = ()
    umask: int = 0o022


class Mount(Record):
    """One mount inside the container (config.md "Mounts")."""

    destination: str
    type: str
    source: str = ""
    options: tuple[str, ...] = ()


class Namespace(Record):
    """A namespace that the container gets anew, or joins if `path` names one."""

    type: NamespaceType
    path: str | None = None


class Spec(Record):
    """One container's configuration; the root filesystem is given beside it (`sandbox.rootfs`)."""

    process: Process
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    readonly_root: bool = False
