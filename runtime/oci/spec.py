"""Runtime-spec types (config.md, config-linux.md): what to isolate and how to start the process.

The Go prefix `Linux` is left out where the name is clear without it. Limits are in `resources`,
filters of system calls in `seccomp`, the JSON form in `config`.
"""

from __future__ import annotations

from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from runtime.oci.resources import Resources
    from runtime.oci.seccomp import Seccomp

    NamespaceType = Literal["pid", "mount", "uts", "ipc", "network", "cgroup", "user", "time"]

VERSION = "1.2.0"  # of the specification that we implement


class User(Record):
    """Numeric identity of a process (config.md "User")."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class Rlimit(Record):
    """One resource limit (config.md "POSIX process"); `type` is RLIMIT_NOFILE and the like."""

    type: str
    soft: int
    hard: int


class Capabilities(Record):
    """The five sets of capabilities(7) (config.md "Linux Process"); names without CAP_."""

    bounding: frozenset[str] = frozenset()
    permitted: frozenset[str] = frozenset()
    effective: frozenset[str] = frozenset()
    inheritable: frozenset[str] = frozenset()
    ambient: frozenset[str] = frozenset()

    @classmethod
    def granted(cls, names: frozenset[str]) -> Capabilities:
        """What an engine gives: bounding, permitted and effective; nothing is inheritable.

        A non-empty inheritable set was CVE-2022-24769 and three more.
        """
        return cls(bounding=names, permitted=names, effective=names)


class Scheduler(Record):
    """How the kernel schedules a process (config.md "Linux Process"; sched(7))."""

    policy: str  # SCHED_OTHER, …
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0  # nanoseconds, as the two below; of SCHED_DEADLINE
    deadline: int = 0
    period: int = 0


class IOPriority(Record):
    """Class and level (0-7) of a process's block I/O (config.md "Linux Process")."""

    io_class: str  # IOPRIO_CLASS_RT, …_BE, …_IDLE
    priority: int = 0


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
    console_size: tuple[int, int] | None = None  # height, width in characters
    capabilities: Capabilities = Capabilities()
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    # Of exec: before, and after it joins the cgroup; lists such as "0-3,7", without blanks.
    cpu_affinity: tuple[str, str] | None = None


class Root(Record):
    """The root filesystem (config.md "Root"); `path` is relative to the bundle."""

    path: str
    readonly: bool = False


class IDMapping(Record):
    """A range of ids in a user namespace and outside of it (config-linux.md)."""

    container_id: int
    host_id: int
    size: int


class Mount(Record):
    """One mount inside the container (config.md "Mounts")."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class Namespace(Record):
    """A namespace that the container gets anew, or joins if `path` names one."""

    type: NamespaceType
    path: str | None = None


class Device(Record):
    """A device node to make (config-linux.md "Devices")."""

    path: str
    type: str  # c, u (the same), b, p
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int = 0
    gid: int = 0


class TimeOffset(Record):
    """What a time namespace adds to one clock: "monotonic" or "boottime"."""

    clock: str
    seconds: int = 0
    nanoseconds: int = 0


class Hook(Record):
    """A program to run at one point of a container's life (config.md "POSIX-platform Hooks")."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


class Hooks(Record):
    """The hooks of each point, in order (config.md "POSIX-platform Hooks")."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Spec(Record):
    """One container's configuration; its root may also be given beside it (`sandbox.rootfs`)."""

    process: Process
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: tuple[TimeOffset, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: Seccomp | None = None
    # Names with dots; a slash in one is a dot of its file's name (an interface eth0.5: eth0/5).
    sysctl: tuple[tuple[str, str], ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    personality: str = ""  # LINUX, LINUX32
