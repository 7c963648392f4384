"""Which hierarchies there are, read from texts of many machines."""

from __future__ import annotations

import os

from runtime.cgroup.layout import Hierarchy, find_layout, parse_layout

V2_SYSTEMD = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
25 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 23 0:27 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:29 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
37 31 0:33 / /sys/fs/cgroup/pids rw shared:16 - cgroup cgroup rw,pids
"""


def test_on_pure_v2_the_callers_group_is_below_the_only_mount() -> None:
    layout = parse_layout(V2_SYSTEMD, "0::/user.slice/session-2.scope\n")
    assert layout.hierarchies == (
        Hierarchy(
            version=2,
            controllers=(),
            mount="/sys/fs/cgroup",
            own="/sys/fs/cgroup/user.slice/session-2.scope",
        ),
    )


def test_on_pure_v1_the_caller_can_be_in_another_group_of_each_hierarchy() -> None:
    mounts = "".join(line + "\n" for line in HYBRID.splitlines() if "cgroup2" not in line)
    layout = parse_layout(mounts, "5:pids:/a\n4:cpu,cpuacct:/b/c\n1:name=systemd:/\n")
    owns = {h.controllers: h.own for h in layout.hierarchies}
    assert owns == {
        ("pids",): "/sys/fs/cgroup/pids/a",
        ("cpu", "cpuacct"): "/sys/fs/cgroup/cpu,cpuacct/b/c",
        ("name=systemd",): "/sys/fs/cgroup/systemd",
    }
    assert layout.unified is None


def test_a_hybrid_has_each_controller_where_it_is_mounted() -> None:
    layout = parse_layout(HYBRID, "3:pids:/\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n")
    cpuacct, pids = layout.hierarchy_of("cpuacct"), layout.hierarchy_of("pids")
    assert cpuacct is not None
    assert cpuacct.mount == "/sys/fs/cgroup/cpu,cpuacct"
    assert pids is not None
    assert pids.mount == "/sys/fs/cgroup/pids"
    assert layout.unified is not None
    assert layout.unified.mount == "/sys/fs/cgroup/unified"
    assert layout.hierarchy_of("freezer") == layout.unified
    assert layout.hierarchy_of("memory") is None


def test_the_controllers_of_v2_are_found_by_their_names_in_v1() -> None:
    (unified,) = parse_layout(V2_SYSTEMD, "0::/\n").hierarchies
    unified = unified.replace(controllers=("io", "pids"))
    layout = parse_layout("", "").replace(hierarchies=(unified,))
    assert layout.hierarchy_of("blkio") == unified
    assert layout.hierarchy_of("memory") is None
    assert layout.describe() == "cgroup v2 has: io, pids"


def test_a_controller_whose_name_begins_another_one_is_not_taken_for_it() -> None:
    mounts = "32 31 0:29 / /cpuset rw - cgroup cgroup rw,cpuset\n"
    assert parse_layout(mounts, "1:cpu:/\n").hierarchies == ()


def test_in_a_container_the_mount_shows_only_a_part_of_the_tree() -> None:
    mounts = "40 31 0:33 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n"
    (inside,) = parse_layout(mounts, "3:pids:/docker/abc/sub\n").hierarchies
    assert inside.own == "/sys/fs/cgroup/pids/sub"
    assert not inside.writable
    (beside,) = parse_layout(mounts, "3:pids:/docker/abcdef\n").hierarchies
    assert beside.own is None


def test_a_group_outside_of_the_cgroup_namespace_has_no_directory() -> None:
    for group in ("/..", "/../other", "/gone (deleted)"):
        (unified,) = parse_layout(V2_SYSTEMD, f"0::{group}\n").hierarchies
        assert unified.own is None, group


def test_a_mount_from_outside_of_the_cgroup_namespace_says_nothing_about_our_group() -> None:
    mounts = V2_SYSTEMD.replace(" / /sys", " /../.. /sys")
    (unified,) = parse_layout(mounts, "0::/\n").hierarchies
    assert unified.own is None


def test_of_two_mounts_the_one_that_shows_our_group_and_can_be_written_is_taken() -> None:
    mounts = """\
1 0 0:33 /other /a rw - cgroup cgroup rw,pids
2 0 0:33 / /b ro - cgroup cgroup rw,pids
3 0 0:33 / /c rw - cgroup cgroup rw,pids
"""
    (pids,) = parse_layout(mounts, "3:pids:/x\n").hierarchies
    assert pids.own == "/c/x"


def test_blanks_in_a_mount_point_are_unescaped() -> None:
    mounts = "1 0 0:33 / /my\\040cgroups\\134pids rw - cgroup cgroup rw,pids\n"
    (pids,) = parse_layout(mounts, "3:pids:/x:y\n").hierarchies
    assert pids.own == "/my cgroups\\pids/x:y"


def test_this_machine_has_the_groups_that_proc_says() -> None:
    for hierarchy in find_layout().hierarchies:
        if hierarchy.own is not None:
            with open(hierarchy.own + "/cgroup.procs", encoding="ascii") as procs:
                assert str(os.getpid()) in procs.read().split()


def test_another_process_can_be_looked_up() -> None:
    assert find_layout(os.getpid()) == find_layout()
