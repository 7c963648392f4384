"""What a container gets when nobody says otherwise: podman's and docker's defaults of 2026."""

from __future__ import annotations

import os

from runtime.oci.spec import Mount, Namespace
from runtime.sandbox.userns import gid_is_mapped, in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import NamespaceType

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHM_BYTES = 64 << 20

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
_CPUS = "/sys/devices/system/cpu"
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_ALL_NAMESPACES: tuple[NamespaceType, ...] = ("pid", "mount", "uts", "ipc", "network", "cgroup")


def masked_paths() -> tuple[str, ...]:
    """What a container must not see: the fixed places, and counters of each processor's heat.

    Those tell a container what others compute, as the powercap counters do.
    """
    if not os.path.isdir(f"{_CPUS}/cpu0/thermal_throttle"):  # as on every virtual machine
        return MASKED_PATHS
    processors = (name for name in os.listdir(_CPUS) if name[3:].isdigit())
    heat = (f"{_CPUS}/{name}/thermal_throttle" for name in sorted(processors))
    return (*MASKED_PATHS, *heat)


def namespaces(*, host_network: bool) -> tuple[Namespace, ...]:
    """The namespaces of a container: all of its own, but perhaps the network."""
    return tuple(
        Namespace(type=kind)
        for kind in _ALL_NAMESPACES
        if not (kind == "network" and host_network)
    )


def mounts(*, host_network: bool, shm_bytes: int = SHM_BYTES) -> tuple[Mount, ...]:
    """The filesystems of a container beside its root."""
    closed = ("nosuid", "noexec", "nodev")
    pts: tuple[str, ...] = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    if gid_is_mapped(5):  # the group tty, where the user namespace has it
        pts = (*pts, "gid=5")
    if host_network and in_user_namespace():
        # The kernel makes a new sysfs only for who owns the network namespace.
        sysfs = Mount(
            destination="/sys", type="bind", source="/sys", options=("rbind", "rro", *closed)
        )
    else:
        sysfs = Mount(destination="/sys", type="sysfs", source="sysfs", options=("ro", *closed))
    return (
        Mount(destination="/proc", type="proc", source="proc", options=closed),
        dev(),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=pts),
        Mount(
            destination="/dev/shm",
            type="tmpfs",
            source="shm",
            options=(*closed, "mode=1777", f"size={shm_bytes}"),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=closed),
        sysfs,
    )


def dev(destination: str = "/dev") -> Mount:
    """A tmpfs for device nodes; the default ones are made there (`sandbox.devices`)."""
    options = ("nosuid", "noexec", "strictatime", "mode=0755", "size=65536k")
    return Mount(destination=destination, type="tmpfs", source="tmpfs", options=options)
