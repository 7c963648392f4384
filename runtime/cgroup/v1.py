"""Limits in the files of cgroup v1 (cgroup-v1/*.rst)."""

from __future__ import annotations

from runtime.cgroup.settings import THROTTLES, Setting, word
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.resources import Resources

# kernel/sched/sched.h: what is outside of it, the kernel changes without a word.
_SHARES = range(2, 262144 + 1)


def settings(controller: str, resources: Resources) -> list[Setting]:
    """The files of one controller to write, in order."""
    make = {
        "memory": _memory,
        "cpu": _cpu,
        "cpuset": cpuset,
        "blkio": _blkio,
        "hugetlb": _hugetlb,
        "net_cls": _net_cls,
        "net_prio": _net_prio,
        "rdma": rdma,
    }.get(controller)
    return make(resources) if make is not None else []


def _memory(resources: Resources) -> list[Setting]:
    memory = resources.memory
    found = []
    for field, file, value in (
        ("limit", "limit_in_bytes", memory.limit),
        ("swap", "memsw.limit_in_bytes", memory.swap),
        ("reservation", "soft_limit_in_bytes", memory.reservation),
        # Kernels from 5.16 on accept a limit for kernel memory and do nothing about it.
        ("kernel", "kmem.limit_in_bytes", memory.kernel),
        ("kernelTCP", "kmem.tcp.limit_in_bytes", memory.kernel_tcp),
    ):
        if value:
            found.append(Setting(field=f"memory.{field}", file=f"memory.{file}", value=str(value)))
    if memory.limit == -1 and not memory.swap:
        file = "memory.memsw.limit_in_bytes"
        found.append(Setting(field="memory.limit", file=file, value="-1", optional=True))
    for field, file, number in (
        ("swappiness", "swappiness", memory.swappiness),
        ("disableOOMKiller", "oom_control", memory.disable_oom_killer),
        ("useHierarchy", "use_hierarchy", memory.use_hierarchy),
    ):
        if number is not None:
            value = int(number)
            found.append(Setting(field=f"memory.{field}", file=f"memory.{file}", value=str(value)))
    return found


def _cpu(resources: Resources) -> list[Setting]:
    cpu = resources.cpu
    if cpu.shares and cpu.shares not in _SHARES:
        raise ContainerError(f"resources.cpu.shares: {cpu.shares}, expected 2 to 262144")
    found = []
    for field, file, value in (
        ("period", "cfs_period_us", cpu.period or None),
        ("quota", "cfs_quota_us", cpu.quota or None),
        ("burst", "cfs_burst_us", cpu.burst),
        ("shares", "shares", cpu.shares or None),
        ("realtimePeriod", "rt_period_us", cpu.realtime_period or None),
        ("realtimeRuntime", "rt_runtime_us", cpu.realtime_runtime or None),
        ("idle", "idle", cpu.idle),
    ):
        if value is not None:
            found.append(Setting(field=f"cpu.{field}", file=f"cpu.{file}", value=str(value)))
    return found


def cpuset(resources: Resources) -> list[Setting]:
    """Processors and memory nodes."""
    return [
        Setting(field=f"cpu.{name}", file=f"cpuset.{name}", value=value)
        for name, value in (("mems", resources.cpu.mems), ("cpus", resources.cpu.cpus))
        if value
    ]


def _blkio(resources: Resources) -> list[Setting]:
    block_io = resources.block_io
    found = []
    if block_io.weight:
        found.append(_weight("weight", "weight", str(block_io.weight)))
    if block_io.leaf_weight:
        found.append(_weight("leafWeight", "leaf_weight", str(block_io.leaf_weight)))
    for device in block_io.weight_devices:
        number = f"{device.major}:{device.minor}"
        if device.weight:
            found.append(_weight("weightDevice", "weight_device", f"{number} {device.weight}"))
        if device.leaf_weight:
            value = f"{number} {device.leaf_weight}"
            found.append(_weight("weightDevice", "leaf_weight_device", value))
    for name, field in THROTTLES.items():
        for throttle in getattr(block_io, name):
            value = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            file = f"blkio.throttle.{name}_device"
            found.append(Setting(field=f"blockIO.{field}", file=file, value=value))
    return found


def _weight(field: str, file: str, value: str) -> Setting:
    field = f"blockIO.{field}"
    # The first went with the CFQ scheduler (5.0), the second is there with BFQ.
    bfq = Setting(field=field, file=f"blkio.bfq.{file}", value=value)
    return Setting(field=field, file=f"blkio.{file}", value=value, other=bfq)


def _hugetlb(resources: Resources) -> list[Setting]:
    return hugetlb(resources, "limit_in_bytes")


def hugetlb(resources: Resources, suffix: str) -> list[Setting]:
    """Huge pages in use, and promised ones where the kernel counts these (5.7)."""
    found = []
    for limit in resources.hugepage_limits:
        size = word("hugepageLimits.pageSize", limit.page_size)
        for file, optional in ((f"hugetlb.{size}", False), (f"hugetlb.{size}.rsvd", True)):
            found.append(
                Setting(
                    field=f"hugepageLimits[{size}]",
                    file=f"{file}.{suffix}",
                    value=str(limit.limit),
                    optional=optional,
                )
            )
    return found


def _net_cls(resources: Resources) -> list[Setting]:
    if resources.network.class_id is None:
        return []
    value = str(resources.network.class_id)
    return [Setting(field="network.classID", file="net_cls.classid", value=value)]


def _net_prio(resources: Resources) -> list[Setting]:
    return [
        Setting(
            field="network.priorities",
            file="net_prio.ifpriomap",
            value=f"{word('network.priorities', priority.name)} {priority.priority}",
        )
        for priority in resources.network.priorities
    ]


def rdma(resources: Resources) -> list[Setting]:
    """Handles and objects of RDMA devices; the same file in v1 and v2 (rdma.rst)."""
    found = []
    for limit in resources.rdma:
        counts = (("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects))
        words = [f"{name}={count}" for name, count in counts if count is not None]
        value = " ".join((word("rdma", limit.device), *words))
        found.append(Setting(field=f"rdma[{limit.device}]", file="rdma.max", value=value))
    return found
