"""Runtime-spec limits of a container (config-linux.md "Control groups"), as values.

None means "not said": the group keeps what it has. -1 means "no limit" where the specification
says so. Units are the specification's: bytes, microseconds, bytes or operations per second.
"""

from __future__ import annotations

from runtime.record import Record


class DeviceRule(Record):
    """Allow or deny access to devices (config-linux.md "Allowed Device list")."""

    allow: bool
    type: str = "a"  # a, c or b
    major: int | None = None  # None: any
    minor: int | None = None
    access: str = "rwm"


class Memory(Record):
    """Memory in bytes (config-linux.md "Memory")."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None  # memory and swap together, as cgroup v1 counts
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool = False


class CPU(Record):
    """Processor time (config-linux.md "CPU"); periods and quotas in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: int | None = None


class WeightDevice(Record):
    """The weight of one block device (config-linux.md "Block IO")."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Record):
    """The rate of one block device, in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(Record):
    """Block devices (config-linux.md "Block IO")."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_devices: tuple[WeightDevice, ...] = ()
    read_bps: tuple[ThrottleDevice, ...] = ()
    write_bps: tuple[ThrottleDevice, ...] = ()
    read_iops: tuple[ThrottleDevice, ...] = ()
    write_iops: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """Bytes of huge pages of one size, such as "2MB" (config-linux.md "Huge page limits")."""

    page_size: str
    limit: int


class NetworkPriority(Record):
    """The priority of traffic by one interface (config-linux.md "Network")."""

    name: str
    priority: int


class Network(Record):
    """Tags on a container's packets (config-linux.md "Network"); cgroup v1 only."""

    class_id: int | None = None
    priorities: tuple[NetworkPriority, ...] = ()


class RdmaLimit(Record):
    """RDMA objects of one device (config-linux.md "RDMA")."""

    device: str
    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(Record):
    """All limits of a container (config-linux.md "Control groups")."""

    devices: tuple[DeviceRule, ...] = ()  # in order; the last that fits counts
    memory: Memory = Memory()
    cpu: CPU = CPU()
    pids_limit: int | None = None
    block_io: BlockIO = BlockIO()
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network = Network()
    rdma: tuple[RdmaLimit, ...] = ()
    unified: tuple[tuple[str, str], ...] = ()  # files of cgroup v2 and what to write to them
