"""Which files limits are written to, in which order, in v1 and in v2."""

from __future__ import annotations

import pytest

from runtime.cgroup import v1, v2
from runtime.cgroup.settings import Setting, asked, pids
from runtime.errors import ContainerError
from runtime.oci.resources import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    Network,
    NetworkPriority,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

MB = 1 << 20


def in_v1(controller: str, resources: Resources) -> list[tuple[str, str]]:
    return [(s.file, s.value) for s in v1.settings(controller, resources)]


def in_v2(
    controller: str, resources: Resources, now: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    return [(s.file, s.value) for s in v2.settings(controller, resources, (now or {}).__getitem__)]


def test_nothing_is_asked_for_by_empty_limits() -> None:
    assert asked(Resources()) == {}
    zeros = Resources(memory=Memory(limit=0, disable_oom_killer=False), cpu=CPU(shares=0, cpus=""))
    assert asked(zeros) == {}


def test_each_limit_asks_for_its_controller_and_says_so_in_the_words_of_the_specification() -> (
    None
):
    resources = Resources(
        memory=Memory(kernel_tcp=1),
        cpu=CPU(idle=0, mems="0"),
        pids_limit=-1,
        block_io=BlockIO(read_iops=(ThrottleDevice(major=1, minor=2, rate=3),)),
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),),
        network=Network(class_id=0),
        rdma=(RdmaLimit(device="mlx5_1", hca_handles=3),),
    )
    assert asked(resources) == {
        "memory": "memory.kernelTCP",
        "cpu": "cpu.idle",
        "cpuset": "cpu.mems",
        "pids": "pids.limit",
        "blkio": "blockIO.throttleReadIOPSDevice",
        "hugetlb": "hugepageLimits",
        "net_cls": "network.classID",
        "rdma": "rdma",
    }


@pytest.mark.parametrize(("limit", "value"), [(5, "5"), (-1, "max"), (0, "max")])
def test_no_number_of_processes_is_written_as_max(limit: int, value: str) -> None:
    (setting,) = pids(Resources(pids_limit=limit))
    assert (setting.file, setting.value) == ("pids.max", value)


def test_v1_memory() -> None:
    memory = Memory(
        limit=64 * MB, swap=96 * MB, reservation=32 * MB, swappiness=0, disable_oom_killer=True
    )
    assert in_v1("memory", Resources(memory=memory)) == [
        ("memory.limit_in_bytes", str(64 * MB)),
        ("memory.memsw.limit_in_bytes", str(96 * MB)),
        ("memory.soft_limit_in_bytes", str(32 * MB)),
        ("memory.swappiness", "0"),
        ("memory.oom_control", "1"),
    ]


def test_unlimited_memory_is_unlimited_swap_as_well() -> None:
    resources = Resources(memory=Memory(limit=-1))
    assert ("memory.memsw.limit_in_bytes", "-1") in in_v1("memory", resources)
    assert in_v2("memory", resources) == [("memory.swap.max", "max"), ("memory.max", "max")]


@pytest.mark.parametrize(
    ("limit", "swap", "expected"),
    [
        (64 * MB, 96 * MB, str(32 * MB)),
        (64 * MB, 64 * MB, "0"),
        (64 * MB, -1, "max"),
        (-1, 64 * MB, str(64 * MB)),
    ],
)
def test_v2_counts_swap_without_memory(limit: int, swap: int, expected: str) -> None:
    resources = Resources(memory=Memory(limit=limit, swap=swap))
    assert in_v2("memory", resources)[0] == ("memory.swap.max", expected)


@pytest.mark.parametrize("limit", [None, 128 * MB])
def test_v2_refuses_swap_that_can_not_be_translated(limit: int | None) -> None:
    resources = Resources(memory=Memory(limit=limit, swap=64 * MB))
    with pytest.raises(ContainerError, match=r"resources\.memory\.swap: 67108864 counts memory"):
        in_v2("memory", resources)


def test_v2_memory_low_is_the_reservation() -> None:
    resources = Resources(memory=Memory(reservation=MB))
    assert in_v2("memory", resources) == [("memory.low", str(MB))]


def test_v2_checks_the_usage_before_a_limit_if_that_is_asked() -> None:
    memory = Memory(limit=MB, check_before_update=True)
    with pytest.raises(ContainerError, match=r"memory\.limit: 2097152 bytes are in use already"):
        in_v2("memory", Resources(memory=memory), {"memory.current": str(2 * MB)})
    assert in_v2("memory", Resources(memory=memory), {"memory.current": "0"})
    unchecked = memory.replace(check_before_update=False)
    assert in_v2("memory", Resources(memory=unchecked)) == [("memory.max", str(MB))]


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        (Memory(kernel=MB), "kernel"),
        (Memory(kernel_tcp=MB), "kernelTCP"),
        (Memory(swappiness=0), "swappiness"),
        (Memory(disable_oom_killer=True), "disableOOMKiller"),
        (Memory(use_hierarchy=False), "useHierarchy"),
    ],
)
def test_what_v2_does_not_have_is_an_error_that_names_the_field(
    memory: Memory, field: str
) -> None:
    with pytest.raises(ContainerError, match=rf"resources\.memory\.{field}: cgroup v2 has no"):
        in_v2("memory", Resources(memory=memory))


def test_v1_processor_time() -> None:
    cpu = CPU(shares=512, quota=-1, period=50000, burst=0, idle=1, realtime_runtime=5)
    assert in_v1("cpu", Resources(cpu=cpu)) == [
        ("cpu.cfs_period_us", "50000"),
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.cfs_burst_us", "0"),
        ("cpu.shares", "512"),
        ("cpu.rt_runtime_us", "5"),
        ("cpu.idle", "1"),
    ]


def test_v1_refuses_shares_that_the_kernel_would_change() -> None:
    for shares in (1, 262145):
        with pytest.raises(ContainerError, match=rf"cpu\.shares: {shares}, expected 2 to"):
            in_v1("cpu", Resources(cpu=CPU(shares=shares)))


def test_v2_processor_time() -> None:
    cpu = CPU(shares=1024, quota=20000, period=50000, burst=100, idle=0)
    assert in_v2("cpu", Resources(cpu=cpu)) == [
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "100"),
        ("cpu.weight", "100"),
        ("cpu.idle", "0"),
    ]


def test_v2_quota_and_period_stand_for_each_other() -> None:
    assert in_v2("cpu", Resources(cpu=CPU(quota=-1))) == [("cpu.max", "max")]
    period = Resources(cpu=CPU(period=50000))
    now = {"cpu.max": "20000 100000"}
    assert in_v2("cpu", period, now) == [("cpu.max", "20000 50000")]


def test_v2_has_no_limit_for_the_realtime_scheduler() -> None:
    with pytest.raises(ContainerError, match=r"resources\.cpu\.realtimeRuntime"):
        in_v2("cpu", Resources(cpu=CPU(realtime_runtime=1)))


@pytest.mark.parametrize(
    ("shares", "weight"),
    # Of runc's and crun's own tests, and youki's.
    [(2, 1), (3, 2), (1024, 100), (2000, 170), (22000, 1204), (262144, 10000), (10**6, 10000)],
)
def test_shares_become_the_weight_that_other_runtimes_make_of_them(
    shares: int, weight: int
) -> None:
    assert v2.cpu_weight(shares) == weight


def test_processors_and_memory_nodes_are_the_same_in_both() -> None:
    resources = Resources(cpu=CPU(cpus="0-1", mems="0"))
    expected = [("cpuset.mems", "0"), ("cpuset.cpus", "0-1")]
    assert in_v1("cpuset", resources) == in_v2("cpuset", resources) == expected


BLOCK_IO = BlockIO(
    weight=500,
    weight_devices=(WeightDevice(major=8, minor=0, weight=10),),
    read_bps=(ThrottleDevice(major=8, minor=0, rate=600),),
    write_bps=(ThrottleDevice(major=8, minor=0, rate=0),),
    read_iops=(ThrottleDevice(major=8, minor=16, rate=1),),
    write_iops=(ThrottleDevice(major=8, minor=16, rate=300),),
)


def others(settings: list[Setting]) -> list[tuple[str, str]]:
    return [(s.other.file, s.other.value) for s in settings if s.other is not None]


def test_v1_block_devices() -> None:
    assert in_v1("blkio", Resources(block_io=BLOCK_IO)) == [
        ("blkio.weight", "500"),
        ("blkio.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio.throttle.write_bps_device", "8:0 0"),
        ("blkio.throttle.read_iops_device", "8:16 1"),
        ("blkio.throttle.write_iops_device", "8:16 300"),
    ]
    assert others(v1.settings("blkio", Resources(block_io=BLOCK_IO))) == [
        ("blkio.bfq.weight", "500"),
        ("blkio.bfq.weight_device", "8:0 10"),
    ]


def test_v2_block_devices() -> None:
    assert in_v2("blkio", Resources(block_io=BLOCK_IO)) == [
        ("io.bfq.weight", "500"),
        ("io.bfq.weight", "8:0 10"),
        ("io.max", "8:0 rbps=600"),
        ("io.max", "8:0 wbps=max"),
        ("io.max", "8:16 riops=1"),
        ("io.max", "8:16 wiops=300"),
    ]
    # 1 + (weight - 10) * 9999 / 990
    assert others(v2.settings("blkio", Resources(block_io=BLOCK_IO), str)) == [
        ("io.weight", "4950"),
        ("io.weight", "8:0 1"),
    ]


def test_a_leaf_weight_is_of_v1_only() -> None:
    device = WeightDevice(major=8, minor=0, leaf_weight=10)
    resources = Resources(block_io=BlockIO(leaf_weight=20, weight_devices=(device,)))
    assert in_v1("blkio", resources) == [
        ("blkio.leaf_weight", "20"),
        ("blkio.leaf_weight_device", "8:0 10"),
    ]
    with pytest.raises(ContainerError, match=r"blockIO\.leafWeight: cgroup v2 has no such limit"):
        in_v2("blkio", resources)


def test_huge_pages_are_limited_in_use_and_where_it_is_counted_when_promised() -> None:
    resources = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MB),))
    assert in_v1("hugetlb", resources) == [
        ("hugetlb.2MB.limit_in_bytes", str(4 * MB)),
        ("hugetlb.2MB.rsvd.limit_in_bytes", str(4 * MB)),
    ]
    assert in_v2("hugetlb", resources) == [
        ("hugetlb.2MB.max", str(4 * MB)),
        ("hugetlb.2MB.rsvd.max", str(4 * MB)),
    ]


def test_network_and_rdma() -> None:
    network = Network(class_id=1048577, priorities=(NetworkPriority(name="eth0", priority=500),))
    assert in_v1("net_cls", Resources(network=network)) == [("net_cls.classid", "1048577")]
    assert in_v1("net_prio", Resources(network=network)) == [("net_prio.ifpriomap", "eth0 500")]
    rdma = Resources(rdma=(RdmaLimit(device="mlx5_1", hca_handles=3, hca_objects=9),))
    expected = [("rdma.max", "mlx5_1 hca_handle=3 hca_object=9")]
    assert in_v1("rdma", rdma) == in_v2("rdma", rdma) == expected


@pytest.mark.parametrize("name", ["../x", "a b", "a\nb", ""])
def test_a_name_can_not_lead_to_another_file_or_add_a_word(name: str) -> None:
    pages = Resources(hugepage_limits=(HugepageLimit(page_size=name, limit=0),))
    with pytest.raises(ContainerError, match=r"hugepageLimits\.pageSize"):
        in_v1("hugetlb", pages)
    network = Network(priorities=(NetworkPriority(name=name, priority=1),))
    with pytest.raises(ContainerError, match=r"network\.priorities"):
        in_v1("net_prio", Resources(network=network))


def test_unified_writes_each_line_by_itself() -> None:
    resources = Resources(unified=(("io.max", "8:0 rbps=1\n8:16 wiops=2"), ("memory.high", "5")))
    assert [(s.file, s.value) for s in v2.unified_settings(resources)] == [
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 wiops=2"),
        ("memory.high", "5"),
    ]


@pytest.mark.parametrize("file", ["../x/memory.max", ".memory", "sub/memory.max", "memory", ""])
def test_unified_names_only_files_of_the_group(file: str) -> None:
    with pytest.raises(ContainerError, match="is no file of a group"):
        v2.check_unified(file)
