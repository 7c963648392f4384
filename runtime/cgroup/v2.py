"""Limits in the files of cgroup v2 (cgroup-v2.rst); the specification's are those of v1.

What v2 has no equivalent of is an error that names the field.
"""

from __future__ import annotations

from runtime.cgroup import v1
from runtime.cgroup.settings import THROTTLES, Setting
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.oci.resources import Memory, Resources

    Read = Callable[[str], str]  # the present value of a file of the group

_IO_KEYS = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


def settings(controller: str, resources: Resources, read: Read) -> list[Setting]:
    """The files of one controller (named as in v1) to write, in order.

    `read` is asked for what a limit must be compared or combined with.
    """
    match controller:
        case "memory":
            return _memory(resources.memory, read)
        case "cpu":
            return _cpu(resources, read)
        case "cpuset":
            return v1.cpuset(resources)
        case "blkio":
            return _io(resources)
        case "hugetlb":
            return v1.hugetlb(resources, "max")
        case "rdma":
            return v1.rdma(resources)
    return []


def _missing(field: str) -> ContainerError:
    return ContainerError(f"resources.{field}: cgroup v2 has no such limit")


def _memory(memory: Memory, read: Read) -> list[Setting]:
    for field, is_asked in (
        ("kernel", (memory.kernel or 0) > 0),
        ("kernelTCP", (memory.kernel_tcp or 0) > 0),
        ("swappiness", memory.swappiness is not None),
        ("disableOOMKiller", bool(memory.disable_oom_killer)),
        ("useHierarchy", memory.use_hierarchy is False),
    ):
        if is_asked:
            raise _missing(f"memory.{field}")
    found = []
    swap = swap_alone(memory)
    if swap is not None:
        # No swap, no file; it need not be unlimited then.
        given = bool(memory.swap)
        field = "memory.swap" if given else "memory.limit"
        value = limit_or_max(swap)
        file = "memory.swap.max"
        found.append(Setting(field=field, file=file, value=value, optional=not given))
    if memory.limit:
        if memory.check_before_update and memory.limit > 0:
            _check_usage(memory, swap, read)
        value = limit_or_max(memory.limit)
        found.append(Setting(field="memory.limit", file="memory.max", value=value))
    if memory.reservation:
        value = limit_or_max(memory.reservation)
        found.append(Setting(field="memory.reservation", file="memory.low", value=value))
    return found


def swap_alone(memory: Memory) -> int | None:
    """The specification's swap includes memory (as in v1), that of v2 does not.

    None: as it is. Raises ContainerError if there is nothing to subtract, or too much.
    """
    limit, swap = memory.limit, memory.swap
    if not swap:
        return -1 if limit == -1 else None  # v1 would have lifted both
    if swap == -1 or limit == -1:
        return swap
    if not limit:
        raise ContainerError(
            f"resources.memory.swap: {swap} counts memory as well, but memory.limit is not given"
        )
    if swap < limit:
        raise ContainerError(
            f"resources.memory.swap: {swap} counts memory as well, and is less than "
            f"memory.limit, {limit}"
        )
    return swap - limit


def _check_usage(memory: Memory, swap: int | None, read: Read) -> None:
    """In v1 the kernel refuses a limit that is below the usage; in v2 it kills for it."""
    checks = [("limit", "memory.current", memory.limit)]
    if memory.swap and swap is not None and swap >= 0:
        checks.append(("swap", "memory.swap.current", swap))
    for field, file, limit in checks:
        used = int(read(file))
        if limit is not None and used > limit:
            raise ContainerError(
                f"resources.memory.{field}: {used} bytes are in use already, more than {limit}"
            )


def _cpu(resources: Resources, read: Read) -> list[Setting]:
    cpu = resources.cpu
    if cpu.realtime_period or cpu.realtime_runtime:
        raise _missing("cpu.realtimeRuntime" if cpu.realtime_runtime else "cpu.realtimePeriod")
    found = []
    if cpu.quota or cpu.period:
        # A period can't be written without a quota.
        quota = limit_or_max(cpu.quota) if cpu.quota else read("cpu.max").split()[0]
        value = f"{quota} {cpu.period}" if cpu.period else quota
        field = "cpu.quota" if cpu.quota else "cpu.period"
        found.append(Setting(field=field, file="cpu.max", value=value))
    if cpu.burst is not None:
        found.append(Setting(field="cpu.burst", file="cpu.max.burst", value=str(cpu.burst)))
    if cpu.shares:
        weight = str(cpu_weight(cpu.shares))
        found.append(Setting(field="cpu.shares", file="cpu.weight", value=weight))
    if cpu.idle is not None:
        found.append(Setting(field="cpu.idle", file="cpu.idle", value=str(cpu.idle)))
    return found


def cpu_weight(shares: int) -> int:
    """Translate `cpu.shares` (2 to 262144) to a `cpu.weight` (1 to 10000).

    On a logarithmic scale a parabola through both ends and through both defaults, 1024 and 100:
    10 ** ((x² + 125x) / 612 - 7/34) with x = log2(shares), rounded up. runc (1.3.2) and crun
    (1.23) do the same; the straight line before it made 39 of the default.
    """
    import math

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    x = math.log2(shares)
    return math.ceil(10 ** ((x * x + 125 * x) / 612 - 7 / 34))


def _io(resources: Resources) -> list[Setting]:
    block_io = resources.block_io
    if block_io.leaf_weight or any(d.leaf_weight for d in block_io.weight_devices):
        raise _missing("blockIO.leafWeight")
    found = []
    if block_io.weight:
        found.append(_weight("blockIO.weight", "", block_io.weight))
    for device in block_io.weight_devices:
        if device.weight:
            number = f"{device.major}:{device.minor} "
            found.append(_weight("blockIO.weightDevice", number, device.weight))
    for name, field in THROTTLES.items():
        for throttle in getattr(block_io, name):
            rate = throttle.rate or "max"  # 0 lifts a limit of v1
            value = f"{throttle.major}:{throttle.minor} {_IO_KEYS[name]}={rate}"
            found.append(Setting(field=f"blockIO.{field}", file="io.max", value=value))
    return found


def _weight(field: str, device: str, weight: int) -> Setting:
    """BFQ has v1's scale, 10 to 1000; `io.weight` has 1 to 10000."""
    if not 10 <= weight <= 1000:
        raise ContainerError(f"resources.{field}: {weight}, expected 10 to 1000")
    converted = 1 + (weight - 10) * 9999 // 990
    other = Setting(field=field, file="io.weight", value=f"{device}{converted}")
    return Setting(field=field, file="io.bfq.weight", value=f"{device}{weight}", other=other)


def unified_settings(resources: Resources) -> list[Setting]:
    """Files that the specification's `unified` names, each line of a value written by itself."""
    found = []
    for file, value in resources.unified:
        check_unified(file)
        for line in value.split("\n"):
            if line:
                found.append(Setting(field=f"unified[{file}]", file=file, value=line))
    return found


def check_unified(file: str) -> str:
    """Return the controller of a file that `unified` names; "cgroup" stands for the core."""
    if "/" in file or "\0" in file or file.startswith(".") or "." not in file:
        raise ContainerError(
            f"resources.unified: {file!r} is no file of a group", hint="expected: memory.high"
        )
    return file.partition(".")[0]


def limit_or_max(limit: int) -> str:
    """A limit as v2 writes it: the specification's -1 is `max`."""
    return "max" if limit < 0 else str(limit)
