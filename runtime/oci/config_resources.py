"""The `resources` object (config-linux.md "Control groups") -> `Resources`; also for `update`."""

from __future__ import annotations

from runtime.oci.config_document import (
    MAX_INT64,
    MAX_UINT32,
    MAX_UINT64,
    MIN_INT64,
    Table,
    entry,
    shown,
)
from runtime.oci.config_linux import MAX_MAJOR, MAX_MINOR
from runtime.oci.resources import (
    CPU,
    BlockIO,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    NetworkPriority,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

_RULE_TYPES = ("a", "c", "b")
_MAX_UINT16 = 2**16 - 1


def parse_resources(document: object, where: str) -> Resources:
    """Check one document of limits; raises ConfigError that names `where` and the member."""
    return resources_from(Table(document, where))


def resources_from(table: Table) -> Resources:
    """As `parse_resources`, for the member of a larger document."""
    pids = table.table("pids")
    return Resources(
        devices=tuple(_device_rule(rule) for rule in table.tables("devices")),
        memory=_memory(table),
        cpu=_cpu(table),
        pids_limit=None if pids is None else pids.optional_integer("limit", -1, MAX_INT64),
        block_io=_block_io(table),
        hugepage_limits=tuple(_hugepage_limit(item) for item in table.tables("hugepageLimits")),
        network=_network(table),
        rdma=tuple(_rdma(name, item) for name, item in table.tables_by_name("rdma")),
        unified=_unified(table),
    )


def _device_rule(rule: Table) -> DeviceRule:
    allow = rule.optional_flag("allow")
    if allow is None:
        raise rule.error("allow", "is missing")
    access = rule.optional_text("access") or "rwm"
    if set(access) - set("rwm"):
        raise rule.error("access", f"{shown(access)} has other letters than r, w and m")
    # -1 is the wildcard of Go's own types.
    major = rule.optional_integer("major", -1, MAX_MAJOR)
    minor = rule.optional_integer("minor", -1, MAX_MINOR)
    typed = bool(rule.optional_text("type"))
    return DeviceRule(
        allow=allow,
        type=rule.choice("type", _RULE_TYPES, "a type of device") if typed else "a",
        major=None if major == -1 else major,
        minor=None if minor == -1 else minor,
        access="".join(letter for letter in "rwm" if letter in access),
    )


def _memory(resources: Table) -> Memory:
    table = resources.table("memory")
    if table is None:
        return Memory()

    def limit(name: str) -> int | None:
        return table.optional_integer(name, -1, MAX_INT64)

    return Memory(
        limit=limit("limit"),
        reservation=limit("reservation"),
        swap=limit("swap"),
        kernel=limit("kernel"),
        kernel_tcp=limit("kernelTCP"),
        swappiness=table.optional_integer("swappiness", 0, 100),
        disable_oom_killer=table.optional_flag("disableOOMKiller"),
        use_hierarchy=table.optional_flag("useHierarchy"),
        check_before_update=table.flag("checkBeforeUpdate"),
    )


def _cpu(resources: Table) -> CPU:
    table = resources.table("cpu")
    if table is None:
        return CPU()
    return CPU(
        shares=table.optional_integer("shares", 0, MAX_UINT64),
        quota=table.optional_integer("quota", MIN_INT64, MAX_INT64),
        burst=table.optional_integer("burst", 0, MAX_UINT64),
        period=table.optional_integer("period", 0, MAX_UINT64),
        realtime_runtime=table.optional_integer("realtimeRuntime", MIN_INT64, MAX_INT64),
        realtime_period=table.optional_integer("realtimePeriod", 0, MAX_UINT64),
        # An engine that does not limit them writes "" as well.
        cpus=table.optional_text("cpus") or None,
        mems=table.optional_text("mems") or None,
        idle=table.optional_integer("idle", 0, 1),
    )


def _block_io(resources: Table) -> BlockIO:
    table = resources.table("blockIO")
    if table is None:
        return BlockIO()

    def rates(name: str) -> tuple[ThrottleDevice, ...]:
        return tuple(
            ThrottleDevice(
                major=device.integer("major", 0, MAX_MAJOR),
                minor=device.integer("minor", 0, MAX_MINOR),
                rate=device.integer("rate", 0, MAX_UINT64),
            )
            for device in table.tables(name)
        )

    return BlockIO(
        weight=table.optional_integer("weight", 0, _MAX_UINT16),
        leaf_weight=table.optional_integer("leafWeight", 0, _MAX_UINT16),
        weight_devices=tuple(_weight_device(device) for device in table.tables("weightDevice")),
        read_bps=rates("throttleReadBpsDevice"),
        write_bps=rates("throttleWriteBpsDevice"),
        read_iops=rates("throttleReadIOPSDevice"),
        write_iops=rates("throttleWriteIOPSDevice"),
    )


def _weight_device(device: Table) -> WeightDevice:
    weight = device.optional_integer("weight", 0, _MAX_UINT16)
    leaf_weight = device.optional_integer("leafWeight", 0, _MAX_UINT16)
    if weight is None and leaf_weight is None:
        raise device.error("weight", "is missing, and so is leafWeight")
    return WeightDevice(
        major=device.integer("major", 0, MAX_MAJOR),
        minor=device.integer("minor", 0, MAX_MINOR),
        weight=weight,
        leaf_weight=leaf_weight,
    )


def _hugepage_limit(item: Table) -> HugepageLimit:
    size = item.text("pageSize")
    number = size[:-2]
    # It becomes part of a file's name.
    if size[-2:] not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()):
        raise item.error("pageSize", f'{shown(size)} is not a size such as "2MB"')
    return HugepageLimit(page_size=size, limit=item.integer("limit", 0, MAX_UINT64))


def _network(resources: Table) -> Network:
    table = resources.table("network")
    if table is None:
        return Network()
    return Network(
        class_id=table.optional_integer("classID", 0, MAX_UINT32),
        priorities=tuple(
            NetworkPriority(
                name=_one_word(item, "name", item.text("name")),
                priority=item.integer("priority", 0, MAX_UINT32),
            )
            for item in table.tables("priorities")
        ),
    )


def _rdma(name: str, item: Table) -> RdmaLimit:
    handles = item.optional_integer("hcaHandles", 0, MAX_UINT32)
    objects = item.optional_integer("hcaObjects", 0, MAX_UINT32)
    if handles is None and objects is None:
        raise item.error("hcaHandles", "is missing, and so is hcaObjects")
    device = _one_word(item, "hcaHandles", name)
    return RdmaLimit(device=device, hca_handles=handles, hca_objects=objects)


def _one_word(item: Table, member: str, word: str) -> str:
    """What is written to a cgroup's file in one line with other words."""
    if word.split() != [word]:
        raise item.error(member, f"{shown(word)} is not the name of a device")
    return word


def _unified(table: Table) -> tuple[tuple[str, str], ...]:
    files = table.texts_by_name("unified")
    for name, _ in files:
        # config-linux.md "Unified": names of files in the group's directory; none is without a
        # dot after its controller's name.
        if "/" in name or not name.partition(".")[0] or "." not in name:
            raise table.error(entry("unified", name), "is not a file of a control group")
    return files
