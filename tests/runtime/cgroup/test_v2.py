"""Groups of cgroup v2 in the kernel: what its core does without any controller."""

from __future__ import annotations

import mmap
import os
import select
import time
from pathlib import Path

import pytest

from runtime.cgroup.group import Group
from runtime.cgroup.oom import watched_file
from runtime.errors import ContainerError
from runtime.oci.resources import Memory, Resources
from tests.runtime.cgroup.conftest import Groups, v2_only
from tests.runtime.cgroup.test_v1 import count_forever, fork_forever, stands_still

pytestmark = pytest.mark.needs_root


def make(groups: Groups, resources: Resources | None = None) -> Group:
    return groups.make(resources, controllers=("freezer",), layout=v2_only())


def directory_of(group: Group) -> Path:
    assert group.unified is not None
    return Path(group.unified.directory)


def test_a_frozen_container_stands_still_until_it_is_thawed(groups: Groups) -> None:
    group = make(groups)
    counter = mmap.mmap(-1, 8)
    groups.spawn(group, lambda: count_forever(counter))
    assert not stands_still(counter)
    group.freeze()
    assert group.is_frozen()
    assert stands_still(counter)
    group.thaw()
    assert not group.is_frozen()
    assert not stands_still(counter)


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_ends_all_processes_at_once(groups: Groups, *, frozen: bool) -> None:
    group = make(groups, Resources(unified=(("cgroup.max.depth", "3"),)))
    below = directory_of(group) / "below"
    below.mkdir()
    first = groups.spawn(group, lambda: time.sleep(30))
    second = groups.spawn(group, lambda: time.sleep(30))
    (below / "cgroup.procs").write_text(str(second))
    assert group.processes() == tuple(sorted((first, second)))
    if frozen:
        group.freeze()
    group.kill()
    assert [os.WTERMSIG(groups.wait(pid)) for pid in (first, second)] == [9, 9]
    group.remove()
    assert not below.parent.exists()


def test_kill_ends_what_forks_all_the_time(groups: Groups) -> None:
    resources = Resources(pids_limit=8)
    group = groups.make(resources, controllers=("freezer",))
    if group.unified is None:
        pytest.skip("no hierarchy of cgroup v2")
    first = groups.spawn(group, fork_forever)
    group.kill()
    groups.wait(first)
    assert group.processes() == ()


def test_files_of_the_core_are_unified_settings(groups: Groups) -> None:
    group = make(groups, Resources(unified=(("cgroup.max.descendants", "5"),)))
    assert (directory_of(group) / "cgroup.max.descendants").read_text() == "5\n"
    group.apply(Resources(unified=(("cgroup.max.descendants", "max"),)))
    assert (directory_of(group) / "cgroup.max.descendants").read_text() == "max\n"


def test_an_impossible_unified_value_names_the_file(groups: Groups) -> None:
    with pytest.raises(
        ContainerError, match=r"resources\.unified\[cgroup\.max\.depth\]: .*: no: "
    ):
        make(groups, Resources(unified=(("cgroup.max.depth", "no"),)))


def test_events_wake_who_polls_for_them(groups: Groups) -> None:
    group = make(groups)
    fd, events = watched_file(str(directory_of(group) / "cgroup.events"))
    poll = select.poll()
    poll.register(fd, events)
    assert poll.poll(0) == []
    groups.spawn(group, lambda: time.sleep(30))
    assert poll.poll(5000)
    assert b"populated 1" in os.pread(fd, 4096, 0)
    assert poll.poll(0) == []
    os.close(fd)


def test_pressure_and_time_are_among_the_figures(groups: Groups) -> None:
    group = make(groups)
    groups.result(group, lambda: sum(range(2_000_000)))
    found = group.stats()
    assert found["cpu"]["usage"]["total"] > 1_000_000
    if (directory_of(group) / "cpu.pressure").exists():
        psi = found["cpu"]["psi"]
        assert set(psi["some"]) == {"avg10", "avg60", "avg300", "total"}
        assert "psi" in found["memory"]
        assert "psi" in found["blkio"]


def test_a_controller_of_v1_is_not_there_for_v2_alone(groups: Groups) -> None:
    layout = v2_only()
    if layout.unified is not None and "memory" in layout.unified.controllers:
        pytest.skip("the memory controller is in cgroup v2 here")
    with pytest.raises(ContainerError, match=r"resources\.memory\.limit: this machine has no mem"):
        groups.make(Resources(memory=Memory(limit=1 << 25)), layout=layout)


def test_who_can_not_join_goes_where_the_first_process_is(groups: Groups) -> None:
    layout = v2_only()
    if layout.unified is None or not layout.unified.controllers:
        pytest.skip("no controller in cgroup v2 that a container could give on")
    controller = layout.unified.controllers[0]
    group = groups.make(None, controllers=("freezer", controller), layout=layout)
    inner = directory_of(group) / "init"
    inner.mkdir()
    first = groups.spawn(group, lambda: time.sleep(30))
    (inner / "cgroup.procs").write_text(str(first))
    (directory_of(group) / "cgroup.subtree_control").write_text(f"+{controller}")
    second = groups.spawn(Group(), lambda: time.sleep(30))
    with pytest.raises(ContainerError, match="resource busy"):
        group.attach(second)
    group.attach(second, beside=first)
    assert (inner / "cgroup.procs").read_text().split() == [str(first), str(second)]


def test_a_group_is_given_to_a_user_with_the_files_of_delegation_only(groups: Groups) -> None:
    group = make(groups)
    group.delegate(12345)
    owned = {path.name for path in directory_of(group).iterdir() if path.stat().st_uid == 12345}
    assert owned == {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
    assert directory_of(group).stat().st_uid == 12345
