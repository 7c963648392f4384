"""What limits become: files of a group, and the values to write to them; and the writing.

Which files these are is in `v1` and `v2`. Here is what both share: which controllers limits ask
for, and the order of writing that a live update needs.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT

from runtime.cgroup.files import FileError, write_file
from runtime.errors import ContainerError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.oci.resources import Resources


class Setting(Record):
    """A value for a file of a group; `field` is what the specification calls it."""

    field: str
    file: str
    value: str
    other: Setting | None = None  # for a kernel that has no such file
    optional: bool = False  # nobody minds if there is neither


_MEMORY = {
    "limit": "limit",
    "reservation": "reservation",
    "swap": "swap",
    "kernel": "kernel",
    "kernel_tcp": "kernelTCP",
    "swappiness": "swappiness",
    "disable_oom_killer": "disableOOMKiller",
    "use_hierarchy": "useHierarchy",
}
_CPU = {
    "shares": "shares",
    "quota": "quota",
    "burst": "burst",
    "period": "period",
    "realtime_runtime": "realtimeRuntime",
    "realtime_period": "realtimePeriod",
    "idle": "idle",
}
THROTTLES = {
    "read_bps": "throttleReadBpsDevice",
    "write_bps": "throttleWriteBpsDevice",
    "read_iops": "throttleReadIOPSDevice",
    "write_iops": "throttleWriteIOPSDevice",
}
_BLOCK_IO = {
    "weight": "weight",
    "leaf_weight": "leafWeight",
    "weight_devices": "weightDevice",
    **THROTTLES,
}
# Elsewhere 0 is what Go programs write for "not said" (runc and crun read it so).
_ZERO_COUNTS = frozenset({"swappiness", "burst", "idle", "class_id"})


def asked(resources: Resources) -> dict[str, str]:
    """The controllers (named as in v1) that limits need, each with the first field that does."""
    found = {}
    if resources.pids_limit is not None:
        found["pids"] = "pids.limit"
    for controller, prefix, record, fields in (
        ("memory", "memory", resources.memory, _MEMORY),
        ("cpu", "cpu", resources.cpu, _CPU),
        ("cpuset", "cpu", resources.cpu, {"cpus": "cpus", "mems": "mems"}),
        ("blkio", "blockIO", resources.block_io, _BLOCK_IO),
        ("net_cls", "network", resources.network, {"class_id": "classID"}),
        ("net_prio", "network", resources.network, {"priorities": "priorities"}),
    ):
        for name, spelled in fields.items():
            value = getattr(record, name)
            if value or (name in _ZERO_COUNTS and value is not None):
                found[controller] = f"{prefix}.{spelled}"
                break
    if resources.hugepage_limits:
        found["hugetlb"] = "hugepageLimits"
    if resources.rdma:
        found["rdma"] = "rdma"
    if resources.devices:
        found["devices"] = "devices"
    return found


def pids(resources: Resources) -> list[Setting]:
    """The number of tasks, the same in v1 and v2.

    0 is no limit, as -1: so the specification before 1.3, crun, and engines that write it.
    """
    limit = resources.pids_limit
    if limit is None:
        return []
    return [Setting(field="pids.limit", file="pids.max", value=str(limit) if limit > 0 else "max")]


def write_settings(directory: str, settings: Sequence[Setting]) -> None:
    """Write limits; raises ContainerError that names the first field the kernel refuses.

    Some limits bound each other: memory and memory with swap, quota and period and burst. So
    what the kernel refuses (EINVAL) because another value is still the old one is tried again
    after that one. Those before a refused one stay written.
    """
    waiting = list(settings)
    while waiting:
        refused = []
        for setting in waiting:
            try:
                _write(directory, setting)
            except FileError as error:
                if error.errno != EINVAL:
                    raise _explained(setting, error) from error
                refused.append((setting, error))
        if len(refused) == len(waiting):
            raise _explained(*refused[0]) from refused[0][1]
        waiting = [setting for setting, _ in refused]


def _write(directory: str, setting: Setting) -> None:
    try:
        write_file(f"{directory}/{setting.file}", setting.value)
    except FileError as error:
        if error.errno != ENOENT:
            raise
        if setting.other is not None:
            _write(directory, setting.other)
        elif not setting.optional:
            raise


def _explained(setting: Setting, error: FileError) -> ContainerError:
    hint = error.hint
    if error.errno == ENOENT:
        hint = "the kernel here has no such limit"
    elif error.errno == EBUSY and setting.field.startswith("memory."):
        hint = "more than that is in use, and could not be taken back"
    elif error.errno == EINVAL and setting.field == "memory.swap":
        hint = "it counts memory and swap together, so it can't be less than memory.limit"
    return ContainerError(f"resources.{setting.field}: {error.message}", hint=hint)


def word(field: str, text: str) -> str:
    """Check a name of somebody else's that stands in a value or in a file's name."""
    if not text or not text.isprintable() or " " in text or "/" in text:
        raise ContainerError(f"resources.{field}: {text!r} is no name")
    return text
