"""Groups of cgroup v1 in the kernel: limits that bite, and limits that change."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from runtime.cgroup.group import Group
from runtime.cgroup.oom import OOMWatch
from runtime.errors import ContainerError
from runtime.oci.resources import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    Resources,
    ThrottleDevice,
)
from tests.runtime.cgroup.conftest import Groups, hierarchy, left_of, v1_only

pytestmark = pytest.mark.needs_root
MB = 1 << 20
OPERATIONS = {"Read", "Write", "Sync", "Async", "Discard", "Total"}


def v1(controller: str) -> None:
    """Skip where a controller is not in cgroup v1."""
    if hierarchy(controller).version != 1:
        pytest.skip(f"{controller} is in cgroup v2 here")


def value(group: Group, file: str) -> str:
    place = group.place_of(file.partition(".")[0])
    assert place is not None
    return Path(place.directory, file).read_text().strip()


def fork_until_refused() -> int:
    count = 0
    try:
        while count < 50:
            if os.fork() == 0:
                os.closerange(3, 1 << 10)  # the pipe must end with the first process
                time.sleep(30)
                os._exit(0)
            count += 1
    except BlockingIOError:
        pass
    return count


def test_a_container_that_reaches_its_number_of_processes_can_not_fork(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=4))
    assert groups.result(group, fork_until_refused) == "3"
    group.kill()


def test_more_memory_than_the_limit_is_killed_counted_and_told(groups: Groups) -> None:
    v1("memory")
    group = groups.make(Resources(memory=Memory(limit=32 * MB)))
    with OOMWatch(group) as watch:
        assert not watch.wait(0)
        assert group.oom_count() == 0
        assert groups.result(group, lambda: len(bytearray(b"x") * 256 * MB)) == "signal 9"
        assert watch.wait(5)
        assert watch.read() == 1
        assert not watch.wait(0)
        assert groups.result(group, lambda: len(bytearray(b"x") * 256 * MB)) == "signal 9"
        assert watch.wait(5)
        assert watch.read() == 1
    assert group.oom_count() == 2


def test_the_end_of_a_group_wakes_who_waits_for_oom(groups: Groups) -> None:
    v1("memory")
    group = groups.make(Resources(memory=Memory(limit=32 * MB)))
    with OOMWatch(group) as watch:
        group.remove()
        assert watch.wait(5)
        assert watch.read() == 0


def test_memory_and_swap_can_be_raised_and_lowered_together(groups: Groups) -> None:
    v1("memory")
    group = groups.make(Resources(memory=Memory(limit=32 * MB, swap=40 * MB)))
    for limit, swap in ((400, 500), (64, 64), (-1, None), (64, 80)):
        total = None if swap is None else swap * MB
        memory = Memory(limit=limit * MB if limit > 0 else limit, swap=total)
        assert group.apply(Resources(memory=memory)) == group
        if limit > 0 and total is not None:
            assert value(group, "memory.limit_in_bytes") == str(limit * MB)
            assert value(group, "memory.memsw.limit_in_bytes") == str(total)
        else:
            assert int(value(group, "memory.memsw.limit_in_bytes")) > 1 << 60


def test_memory_limits_that_contradict_each_other_name_the_field_and_the_value(
    groups: Groups,
) -> None:
    v1("memory")
    with pytest.raises(ContainerError) as refused:
        groups.make(Resources(memory=Memory(limit=64 * MB, swap=32 * MB)))
    assert "resources.memory.swap: /" in refused.value.message
    assert refused.value.message.endswith(
        "memory.memsw.limit_in_bytes: 33554432: Invalid argument"
    )
    assert "counts memory and swap together" in (refused.value.hint or "")


def test_a_memory_limit_below_what_is_in_use_is_refused(groups: Groups) -> None:
    v1("memory")
    group = groups.make(Resources(memory=Memory(limit=64 * MB, disable_oom_killer=True)))

    def hold() -> None:
        held = mmap.mmap(-1, 24 * MB)
        held.write(b"x" * 24 * MB)
        os.write(full_write, b".")
        time.sleep(30)

    full_read, full_write = os.pipe()
    groups.spawn(group, hold)
    os.read(full_read, 1)
    os.close(full_read)
    os.close(full_write)
    with pytest.raises(
        ContainerError, match=r"resources\.memory\.limit: .*: 1048576: .*busy"
    ) as e:
        group.apply(Resources(memory=Memory(limit=MB)))
    assert "in use" in (e.value.hint or "")
    assert value(group, "memory.limit_in_bytes") == str(64 * MB)


def test_other_memory_limits_are_in_their_files(groups: Groups) -> None:
    v1("memory")
    memory = Memory(reservation=8 * MB, kernel_tcp=4 * MB, swappiness=7, disable_oom_killer=True)
    group = groups.make(Resources(memory=memory))
    assert value(group, "memory.soft_limit_in_bytes") == str(8 * MB)
    assert value(group, "memory.kmem.tcp.limit_in_bytes") == str(4 * MB)
    assert value(group, "memory.swappiness") == "7"
    assert "oom_kill_disable 1" in value(group, "memory.oom_control")
    group.apply(Resources(memory=Memory(reservation=MB, disable_oom_killer=False)))
    assert "oom_kill_disable 0" in value(group, "memory.oom_control")


def test_quota_period_and_burst_can_be_changed_in_any_direction(groups: Groups) -> None:
    v1("cpu")
    group = groups.make(Resources(cpu=CPU(quota=50000, period=100000, burst=50000, shares=512)))
    for cpu in (
        CPU(quota=10000, period=20000, burst=5000),
        CPU(quota=900000, period=1000000, burst=900000),
        CPU(quota=20000, burst=0),
        CPU(quota=-1),
    ):
        group.apply(Resources(cpu=cpu))
        assert value(group, "cpu.cfs_quota_us") == str(cpu.quota)
        if cpu.period:
            assert value(group, "cpu.cfs_period_us") == str(cpu.period)
        if cpu.burst is not None:
            assert value(group, "cpu.cfs_burst_us") == str(cpu.burst)
    assert value(group, "cpu.shares") == "512"


def test_an_idle_group_can_get_shares_and_be_busy_again(groups: Groups) -> None:
    v1("cpu")
    group = groups.make(Resources(cpu=CPU(idle=1)))
    assert value(group, "cpu.idle") == "1"
    group.apply(Resources(cpu=CPU(shares=2048, idle=0)))
    assert (value(group, "cpu.idle"), value(group, "cpu.shares")) == ("0", "2048")


def test_an_impossible_quota_names_the_field_and_the_value(groups: Groups) -> None:
    v1("cpu")
    with pytest.raises(ContainerError, match=r"resources\.cpu\.quota: /.*: 5: Invalid argument"):
        groups.make(Resources(cpu=CPU(quota=5)))


def test_processors_are_those_asked_for_and_memory_nodes_those_of_the_parent(
    groups: Groups,
) -> None:
    v1("cpuset")
    groups.path += "/inner"
    group = groups.make(Resources(cpu=CPU(cpus="0")))
    assert groups.result(group, lambda: os.sched_getaffinity(0)) == "{0}"
    parent = Path(hierarchy("cpuset").mount, "cpuset.mems").read_text().strip()
    assert value(group, "cpuset.mems") == parent


def test_processors_that_the_machine_does_not_have_are_refused(groups: Groups) -> None:
    v1("cpuset")
    with pytest.raises(ContainerError, match=r"resources\.cpu\.cpus: .*cpuset\.cpus: 4000: "):
        groups.make(Resources(cpu=CPU(cpus="4000")))


def block_device() -> tuple[int, int]:
    for folder in sorted(Path("/sys/block").iterdir()):
        if int((folder / "size").read_text()):
            major, minor = (folder / "dev").read_text().split(":")
            return int(major), int(minor)
    pytest.skip("no block device")


def test_rates_of_block_devices_are_in_their_files_and_are_lifted_by_0(groups: Groups) -> None:
    v1("blkio")
    major, minor = block_device()

    def block_io(rate: int) -> Resources:
        throttles = (ThrottleDevice(major=major, minor=minor, rate=rate),)
        limits = BlockIO(read_bps=throttles, write_bps=throttles, read_iops=throttles)
        return Resources(block_io=limits.replace(write_iops=throttles))

    group = groups.make(block_io(1 << 20))
    files = [
        f"blkio.throttle.{n}_device" for n in "read_bps write_bps read_iops write_iops".split()
    ]
    for file in files:
        assert value(group, file) == f"{major}:{minor} {1 << 20}"
    group.apply(block_io(0))
    assert [value(group, file) for file in files] == [""] * 4


def test_a_weight_goes_to_the_scheduler_that_is_there(groups: Groups) -> None:
    v1("blkio")
    group = groups.make(None, controllers=("blkio",))
    place = group.place_of("blkio")
    assert place is not None
    found = [f for f in ("weight", "bfq.weight") if Path(place.directory, f"blkio.{f}").exists()]
    if not found:
        with pytest.raises(ContainerError, match=r"resources\.blockIO\.weight: "):
            group.apply(Resources(block_io=BlockIO(weight=300)))
        return
    group.apply(Resources(block_io=BlockIO(weight=300)))
    assert value(group, f"blkio.{found[0]}").split()[-1] == "300"


def test_huge_pages_are_limited_wherever_the_controller_is(groups: Groups) -> None:
    where = hierarchy("hugetlb")
    size = HugepageLimit(page_size="2MB", limit=2 * MB)
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        pytest.skip("no pages of 2 MB")
    group = groups.make(Resources(hugepage_limits=(size,)))
    suffix = "limit_in_bytes" if where.version == 1 else "max"
    for file in (f"hugetlb.2MB.{suffix}", f"hugetlb.2MB.rsvd.{suffix}"):
        assert value(group, file) == str(2 * MB)
    # Without a single huge page the limit still counts: a promise of more is refused at once.
    assert groups.result(group, lambda: huge(2 * MB)) == "Cannot allocate memory"
    assert group.stats()["hugetlb"]["2MB"]["usage"] == 0


def huge(size: int) -> int:
    return len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))


def test_a_page_size_that_is_not_there_is_named(groups: Groups) -> None:
    hierarchy("hugetlb")
    with pytest.raises(ContainerError, match=r"hugepageLimits\[3MB\]: .*hugetlb\.3MB\."):
        groups.make(Resources(hugepage_limits=(HugepageLimit(page_size="3MB", limit=0),)))


def count_forever(counter: mmap.mmap) -> None:
    while True:
        counter[0:8] = (int.from_bytes(counter[0:8], "little") + 1).to_bytes(8, "little")
        time.sleep(0.0005)


def stands_still(counter: mmap.mmap) -> bool:
    before = counter[0:8]
    time.sleep(0.05)
    return counter[0:8] == before


def test_a_frozen_container_stands_still_until_it_is_thawed(groups: Groups) -> None:
    v1("freezer")
    group = groups.make(None, controllers=("freezer",), layout=v1_only())
    counter = mmap.mmap(-1, 8)
    groups.spawn(group, lambda: count_forever(counter))
    assert not stands_still(counter)
    group.freeze()
    assert group.is_frozen()
    assert stands_still(counter)
    group.thaw()
    assert not group.is_frozen()
    assert not stands_still(counter)


def fork_forever() -> None:
    while True:
        try:
            if os.fork() > 0:
                time.sleep(0.001)
        except BlockingIOError:
            time.sleep(0.001)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("controllers", [("pids",), ("pids", "freezer")])
def test_kill_ends_what_forks_all_the_time(
    groups: Groups, controllers: tuple[str, ...], *, frozen: bool
) -> None:
    v1("freezer")
    layout = v1_only()
    group = groups.make(Resources(pids_limit=8), controllers=controllers, layout=layout)
    first = groups.spawn(group, fork_forever)
    if frozen and "freezer" in controllers:
        group.freeze()
    group.kill()
    assert os.WTERMSIG(groups.wait(first)) == 9
    assert group.processes() == ()
    assert not group.is_frozen()


def test_remove_takes_groups_that_the_container_made_and_parents_that_we_made(
    groups: Groups,
) -> None:
    v1("pids")
    top = groups.path
    groups.path += "/pod/id"
    group = groups.make(Resources(pids_limit=8))
    place = group.place_of("pids")
    assert place is not None
    os.makedirs(place.directory + "/own/deep")
    group.remove()
    assert left_of(top) == []
    group.remove()


def test_remove_leaves_a_parent_that_another_container_uses(groups: Groups) -> None:
    v1("pids")
    top = groups.path
    groups.path = top + "/one"
    one = groups.make(Resources(pids_limit=8))
    groups.path = top + "/two"
    two = groups.make(Resources(pids_limit=8))
    one.remove()
    assert left_of(top + "/one") == []
    assert left_of(top + "/two") != []
    two.remove()
    for directory in left_of(top):
        os.rmdir(directory)  # made for the first, and in use when that went


def test_remove_leaves_a_group_that_was_there_before(groups: Groups) -> None:
    v1("pids")
    directory = hierarchy("pids").mount + groups.path
    os.mkdir(directory)
    try:
        groups.make(Resources(pids_limit=8)).remove()
        assert os.path.exists(directory)
    finally:
        os.rmdir(directory)


def test_remove_waits_for_processes_and_names_those_that_stay(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8))
    groups.spawn(group, lambda: time.sleep(0.2))
    group.remove()
    group = groups.make(Resources(pids_limit=8))
    pid = groups.spawn(group, lambda: time.sleep(30))
    with pytest.raises(ContainerError, match="Device or resource busy") as refused:
        group.remove(timeout_s=0.05)
    assert refused.value.hint == f"processes in it: {pid}"


def test_a_group_can_be_joined_from_outside_and_from_inside(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8))
    inside = groups.spawn(group, lambda: time.sleep(30))
    outside = groups.spawn(Group(), lambda: time.sleep(30))
    assert group.processes() == (inside,)
    group.attach(outside)
    assert group.processes() == (inside, outside)


def test_one_thread_joins_without_waiting_for_a_grace_period(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8))
    (entry,) = group.entries()
    # Only here the kernel lets a thread that moves itself pass the lock of all forks.
    assert os.readlink(f"/proc/self/fd/{entry}").endswith(groups.path + "/tasks")
    os.close(entry)


def test_a_process_that_is_gone_can_not_be_attached(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8))
    pid = groups.spawn(group, lambda: None)
    groups.wait(pid)
    with pytest.raises(ContainerError, match=rf"cgroup\.procs: {pid}: No such process"):
        group.attach(pid)


def test_an_update_brings_a_controller_that_the_group_did_not_have(groups: Groups) -> None:
    v1("pids")
    v1("cpu")
    group = groups.make(Resources(pids_limit=8))
    pid = groups.spawn(group, lambda: time.sleep(30))
    changed = group.apply(Resources(cpu=CPU(shares=77)))
    groups.made.append(changed)
    assert value(changed, "cpu.shares") == "77"
    assert value(changed, "pids.max") == "8"
    place = changed.place_of("cpu")
    assert place is not None
    assert Path(place.directory, "cgroup.procs").read_text() == f"{pid}\n"


def test_a_group_is_the_same_for_a_process_that_comes_later(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8), controllers=("freezer",))
    pid = groups.spawn(group, lambda: time.sleep(30))
    import json

    later = Group.from_json(json.loads(json.dumps(group.to_json())))
    assert later == group
    assert later.processes() == (pid,)
    with pytest.raises(ContainerError, match="state of a control group is damaged"):
        Group.from_json({"path": "x", "places": [{}], "notes": []})


def test_all_kinds_are_all_hierarchies(groups: Groups) -> None:
    v1("pids")
    group = groups.make(Resources(pids_limit=8), kinds="all")
    names = {name for place in group.places for name in place.controllers}
    expected = {name for h in v1_only().hierarchies for name in h.controllers}
    assert expected <= names
    pid = groups.spawn(group, lambda: time.sleep(30))
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as membership:
        rows = [line.rstrip().split(":", 2) for line in membership]
    # The kernel may have a hierarchy that is mounted nowhere: who mounted it has gone.
    mounted = [path for _, which, path in rows if not which or expected & set(which.split(","))]
    assert set(mounted) == {groups.path}


def test_figures_are_those_of_the_container(groups: Groups) -> None:
    for controller in ("cpuacct", "memory", "pids", "cpuset", "blkio"):
        v1(controller)
    resources = Resources(memory=Memory(limit=64 * MB), pids_limit=8, cpu=CPU(cpus="0"))
    group = groups.make(resources, controllers=("cpuacct", "cpu", "blkio"))

    def work() -> None:
        held = bytearray(b"x") * 8 * MB
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        os.write(ready_write, bytes(held[:1]))
        time.sleep(30)

    ready_read, ready_write = os.pipe()
    groups.spawn(group, work)
    os.read(ready_read, 1)
    os.close(ready_read)
    os.close(ready_write)
    found = group.stats()
    assert found["pids"] == {"current": 1, "limit": 8}
    assert found["memory"]["usage"]["limit"] == 64 * MB
    assert 8 * MB <= found["memory"]["usage"]["usage"] <= 64 * MB
    assert found["memory"]["raw"]["total_rss"] >= 8 * MB
    assert found["cpu"]["usage"]["total"] >= 50_000_000
    assert sum(found["cpu"]["usage"]["percpu"]) >= 50_000_000
    assert found["cpuset"]["cpus"] == [0]
    assert {entry["op"] for entry in found["blkio"]["ioServicedRecursive"]} <= OPERATIONS
