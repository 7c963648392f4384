"""The `linux` object (config-linux.md), but for limits, system calls and sysctls."""

from __future__ import annotations

from runtime.oci.config_document import MAX_ID, MAX_INT64, MIN_INT64, Table, entry, shown
from runtime.oci.spec import Device, IDMapping, Namespace, TimeOffset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import NamespaceType

NAMESPACES: dict[str, NamespaceType] = {
    "pid": "pid",
    "network": "network",
    "mount": "mount",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
DEVICE_TYPES = ("c", "b", "u", "p")
CLOCKS = ("monotonic", "boottime")
PERSONALITIES = ("LINUX", "LINUX32")
_PROPAGATIONS = (
    *("shared", "slave", "private", "unbindable"),
    # not in the specification, but engines write them and every runtime takes them
    *("rshared", "rslave", "rprivate", "runbindable"),
)
_MAX_MAPPINGS = 340  # UID_GID_MAP_MAX_EXTENTS, include/linux/user_namespace.h
MAX_MAJOR, MAX_MINOR = 2**12 - 1, 2**20 - 1  # include/linux/kdev_t.h


def check_supported(linux: Table) -> None:
    """Refuse what would change the container's meaning or its safety, and is not done here."""
    label = linux.optional_text("mountLabel")
    if label:
        raise linux.error(
            "mountLabel",
            f"is {shown(label)}, but SELinux labels are not supported",
            "--security-opt label=disable, to an engine, asks for none",
        )
    for name in ("intelRdt", "memoryPolicy"):
        if linux.has(name):
            raise linux.error(name, "is not supported")
    devices = linux.tables_by_name("netDevices")
    if devices:
        raise linux.error(entry("netDevices", devices[0][0]), "is not supported")


def namespaces_from(linux: Table) -> tuple[Namespace, ...]:
    """The namespaces to make or to join; none is there twice."""
    found: dict[str, Namespace] = {}
    for table in linux.tables("namespaces"):
        kind = table.choice("type", NAMESPACES, "a type of namespace")
        if kind in found:
            raise table.error("type", f"{shown(kind)} is given twice")
        # Go writes no path as "" where it does not leave it out.
        path = table.path("path") if table.optional_text("path") else None
        found[kind] = Namespace(type=NAMESPACES[kind], path=path)
    return tuple(found.values())


def mappings_from(table: Table, name: str) -> tuple[IDMapping, ...]:
    """Ranges of ids that the kernel would take: not empty, in bounds, without overlaps."""
    mappings = tuple(_mapping(item) for item in table.tables(name))
    if len(mappings) > _MAX_MAPPINGS:
        raise table.error(name, f"has {len(mappings)} entries, at most {_MAX_MAPPINGS} expected")
    for field, member in (("container_id", "containerID"), ("host_id", "hostID")):
        end = 0
        for first, i, size in sorted(
            (getattr(m, field), i, m.size) for i, m in enumerate(mappings)
        ):
            if first < end:
                raise table.error(f"{name}[{i}].{member}", f"{first} is mapped twice")
            end = first + size
    return mappings


def _mapping(table: Table) -> IDMapping:
    container_id = table.integer("containerID", 0, MAX_ID)
    host_id = table.integer("hostID", 0, MAX_ID)
    size = table.integer("size", 1, MAX_ID + 1)
    if max(container_id, host_id) + size - 1 > MAX_ID:
        raise table.error("size", f"is {size}, so that the range ends after {MAX_ID}")
    return IDMapping(container_id=container_id, host_id=host_id, size=size)


def devices_from(linux: Table) -> tuple[Device, ...]:
    """The device nodes to make, beside the default ones."""
    return tuple(_device(table) for table in linux.tables("devices"))


def _device(table: Table) -> Device:
    kind = table.choice("type", DEVICE_TYPES, "a type of device")
    numbers = (0, 0)
    if kind != "p":
        numbers = (
            table.integer("major", 0, MAX_MAJOR),
            table.integer("minor", 0, MAX_MINOR),
        )
    mode = table.optional_integer("fileMode", 0, 0o177777)
    return Device(
        path=table.path("path"),
        type=kind,
        major=numbers[0],
        minor=numbers[1],
        # Engines give stat's st_mode: the bits above say again what type it is.
        file_mode=None if mode is None else mode & 0o7777,
        uid=table.optional_integer("uid", 0, MAX_ID) or 0,
        gid=table.optional_integer("gid", 0, MAX_ID) or 0,
    )


def time_offsets_from(linux: Table) -> tuple[TimeOffset, ...]:
    """What a new time namespace adds to its clocks."""
    offsets = []
    for clock, table in linux.tables_by_name("timeOffsets"):
        if clock not in CLOCKS:
            raise linux.not_known(entry("timeOffsets", clock), clock, CLOCKS, "a clock")
        offsets.append(
            TimeOffset(
                clock=clock,
                seconds=table.optional_integer("secs", MIN_INT64, MAX_INT64) or 0,
                nanoseconds=table.optional_integer("nanosecs", 0, 999_999_999) or 0,
            )
        )
    return tuple(offsets)


def cgroups_path_from(linux: Table) -> str:
    """Where the control group is; how to read a relative one is up to who makes it."""
    path = linux.optional_text("cgroupsPath") or ""
    if ".." in path.split("/") or "\n" in path:
        raise linux.error("cgroupsPath", f"{shown(path)} is not a path below a hierarchy's root")
    return path


def propagation_from(linux: Table) -> str:
    """How mounts of the root propagate; "" if nothing is said."""
    if not linux.optional_text("rootfsPropagation"):
        return ""
    return linux.choice("rootfsPropagation", _PROPAGATIONS, "a kind of mount propagation")


def personality_from(linux: Table) -> str:
    """The execution domain; "" if nothing is said."""
    table = linux.table("personality")
    if table is None:
        return ""
    # config-linux.md "Personality": "Currently no flag values are supported".
    table.choices("flags", (), "a flag of a personality")
    return table.choice("domain", PERSONALITIES, "an execution domain")
