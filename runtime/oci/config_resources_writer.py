"""`Resources` -> plain data for JSON: what `config_resources` reads, written."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.resources import BlockIO, DeviceRule, Network, Resources, ThrottleDevice


def resources_to_json(resources: Resources) -> dict[str, object]:
    """The limits, for `json.dumps`; what is not said is left out."""
    memory, cpu = resources.memory, resources.cpu
    return _said(
        devices=[_device_rule(rule) for rule in resources.devices],
        memory=_said(
            limit=memory.limit,
            reservation=memory.reservation,
            swap=memory.swap,
            kernel=memory.kernel,
            kernelTCP=memory.kernel_tcp,
            swappiness=memory.swappiness,
            disableOOMKiller=memory.disable_oom_killer,
            useHierarchy=memory.use_hierarchy,
            checkBeforeUpdate=memory.check_before_update or None,
        ),
        cpu=_said(
            shares=cpu.shares,
            quota=cpu.quota,
            burst=cpu.burst,
            period=cpu.period,
            realtimeRuntime=cpu.realtime_runtime,
            realtimePeriod=cpu.realtime_period,
            cpus=cpu.cpus,
            mems=cpu.mems,
            idle=cpu.idle,
        ),
        pids=_said(limit=resources.pids_limit),
        blockIO=_block_io(resources.block_io),
        hugepageLimits=[
            {"pageSize": limit.page_size, "limit": limit.limit}
            for limit in resources.hugepage_limits
        ],
        network=_network(resources.network),
        rdma={
            limit.device: _said(hcaHandles=limit.hca_handles, hcaObjects=limit.hca_objects)
            for limit in resources.rdma
        },
        unified=dict(resources.unified),
    )


def _said(**members: object) -> dict[str, object]:
    """The members that say something; 0 and false do."""
    return {
        name: value
        for name, value in members.items()
        if value is not None and value not in ([], {})
    }


def _device_rule(rule: DeviceRule) -> dict[str, object]:
    return _said(
        allow=rule.allow,
        type=None if rule.type == "a" else rule.type,
        major=rule.major,
        minor=rule.minor,
        access=rule.access,
    )


def _block_io(block_io: BlockIO) -> dict[str, object]:
    return _said(
        weight=block_io.weight,
        leafWeight=block_io.leaf_weight,
        weightDevice=[
            _said(
                major=device.major,
                minor=device.minor,
                weight=device.weight,
                leafWeight=device.leaf_weight,
            )
            for device in block_io.weight_devices
        ],
        throttleReadBpsDevice=_rates(block_io.read_bps),
        throttleWriteBpsDevice=_rates(block_io.write_bps),
        throttleReadIOPSDevice=_rates(block_io.read_iops),
        throttleWriteIOPSDevice=_rates(block_io.write_iops),
    )


def _rates(devices: tuple[ThrottleDevice, ...]) -> list[dict[str, int]]:
    return [
        {"major": device.major, "minor": device.minor, "rate": device.rate} for device in devices
    ]


def _network(network: Network) -> dict[str, object]:
    return _said(
        classID=network.class_id,
        priorities=[
            {"name": priority.name, "priority": priority.priority}
            for priority in network.priorities
        ],
    )
