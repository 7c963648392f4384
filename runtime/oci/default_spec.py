"""The configuration that `pyrun oci spec` prints: a shell with our defaults, to be edited."""

from __future__ import annotations

from runtime.oci.resources import DeviceRule, Resources
from runtime.oci.spec import Capabilities, IDMapping, Mount, Namespace, Process, Root, Spec
from runtime.sandbox.capabilities import RUN_DEFAULT
from runtime.sandbox.defaults import PATH, READONLY_PATHS, masked_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import NamespaceType

_NAMESPACES: tuple[NamespaceType, ...] = ("pid", "network", "ipc", "uts", "mount", "cgroup")
_CLOSED = ("nosuid", "noexec", "nodev")


def example_spec(*, rootless: bool, uid: int, gid: int) -> Spec:
    """A shell on a terminal, in the bundle's `rootfs`; `uid` and `gid` are the caller's.

    With `rootless`, the container is in a user namespace where the caller is root and no other
    id exists, and on the caller's network; it has no limits.
    """
    kinds = tuple(kind for kind in _NAMESPACES if not (rootless and kind == "network"))
    namespaces = tuple(Namespace(type=kind) for kind in kinds)
    return Spec(
        process=Process(
            args=("sh",),
            env=(f"PATH={PATH}", "TERM=xterm"),
            terminal=True,
            capabilities=Capabilities.granted(RUN_DEFAULT),
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="pyrun",
        mounts=_mounts(rootless=rootless),
        namespaces=(*namespaces, Namespace(type="user")) if rootless else namespaces,
        uid_mappings=_only(uid) if rootless else (),
        gid_mappings=_only(gid) if rootless else (),
        resources=None if rootless else Resources(devices=(DeviceRule(allow=False),)),
        masked_paths=masked_paths(),
        readonly_paths=READONLY_PATHS,
    )


def _only(identity: int) -> tuple[IDMapping, ...]:
    return (IDMapping(container_id=0, host_id=identity, size=1),)


def _mounts(*, rootless: bool) -> tuple[Mount, ...]:
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    # The kernel makes a new sysfs only for who owns the network namespace.
    sysfs = (
        Mount(destination="/sys", type="none", source="/sys", options=("rbind", "ro", *_CLOSED))
        if rootless
        else Mount(destination="/sys", type="sysfs", source="sysfs", options=("ro", *_CLOSED))
    )
    return (
        Mount(destination="/proc", type="proc", source="proc", options=_CLOSED),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=pts if rootless else (*pts, "gid=5"),  # the group tty
        ),
        Mount(
            destination="/dev/shm",
            type="tmpfs",
            source="shm",
            options=(*_CLOSED, "mode=1777", "size=65536k"),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_CLOSED),
        sysfs,
        Mount(
            destination="/sys/fs/cgroup",
            type="cgroup",
            source="cgroup",
            options=(*_CLOSED, "relatime", "ro"),
        ),
    )
