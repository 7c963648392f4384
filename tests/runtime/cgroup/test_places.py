"""Where a group goes, and what is written on the way in cgroup v2, in trees of plain files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.cgroup import files, places, settings
from runtime.cgroup.group import Group, make_group
from runtime.cgroup.layout import Hierarchy, Layout
from runtime.cgroup.places import place_of, relative_path
from runtime.errors import ContainerError
from runtime.oci.resources import CPU, BlockIO, Memory, Resources, ThrottleDevice
from tests.support import make_tree

MB = 1 << 20
V1 = Hierarchy(version=1, controllers=("pids",), mount="/p", own="/p/user/me")
V2 = Hierarchy(version=2, controllers=("pids",), mount="/u", own="/u/user/me")


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/a/b", "", ("a/b", True)),
        ("//a/./b/", "", ("a/b", True)),
        ("a/b", "id", ("a/b", False)),
        ("", "id", ("id", False)),
        ("/machine:a:b", "", ("machine:a:b", True)),
    ],
)
def test_a_path_loses_what_means_nothing(path: str, name: str, expected: tuple[str, bool]) -> None:
    assert relative_path(path, name) == expected


@pytest.mark.parametrize("path", ["..", "/a/../../b", "a/..", "/a\0b", "a\nb", "/", "//", "./"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ContainerError, match="cgroupsPath"):
        relative_path(path, "id")


@pytest.mark.parametrize("path", ["system.slice:runc:id", ":libpod:id", "::id"])
def test_a_path_in_the_form_of_systemd_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(ContainerError, match="systemd's form") as refused:
        relative_path(path, "id")
    assert "cgroupfs" in (refused.value.hint or "")


def test_an_absolute_path_counts_from_the_top_and_a_relative_one_from_our_own_group() -> None:
    assert place_of(V1, "x", absolute=True) == "/p/x"
    assert place_of(V1, "x", absolute=False) == "/p/user/me/x"
    assert place_of(V2, "x", absolute=True) == "/u/x"
    assert place_of(V2, "x", absolute=False) == "/u/user/x"  # ours has a process: us


def test_without_a_group_of_our_own_a_relative_path_counts_from_the_top() -> None:
    for hierarchy in (V1, V2):
        top = hierarchy.mount
        assert place_of(hierarchy.replace(own=None), "x", absolute=False) == f"{top}/x"
        assert place_of(hierarchy.replace(own=top), "x", absolute=False) == f"{top}/x"


class FakeV2:
    """A tree that looks like cgroup v2, in which writes are noted and remembered."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.writes: list[tuple[str, str]] = []
        self.refuse: dict[str, int] = {}
        for module in (places, settings):
            monkeypatch.setattr(module, "write_file", self.write)

    def group(self, path: str, *, enabled: str = "", procs: str = "", **more: str) -> None:
        """Add a group with its core files."""
        core = {
            "cgroup.controllers": "cpu io memory pids",
            "cgroup.subtree_control": enabled,
            "cgroup.procs": procs,
            "cgroup.events": "populated 0\nfrozen 0\n",
        }
        tree = core | {name.replace("__", "."): text for name, text in more.items()}
        make_tree(self.root / path, tree)

    def layout(self, own: str = "") -> Layout:
        """The tree as the only hierarchy."""
        unified = Hierarchy(
            version=2,
            controllers=("cpu", "io", "memory", "pids"),
            mount=str(self.root),
            own=str(self.root / own),
        )
        return Layout(hierarchies=(unified,))

    def write(self, path: str, value: str) -> None:
        """What `write_file` is during the test."""
        name = os.path.relpath(path, self.root)
        if not os.path.exists(path):
            raise files.FileError(path, OSError(errno.ENOENT, "No such file"), value)
        self.writes.append((name, value))
        if code := self.refuse.get(name):
            raise files.FileError(path, OSError(code, os.strerror(code)), value)
        if name.endswith("subtree_control"):
            value = Path(path).read_text() + " " + value[1:]
        Path(path).write_text(value)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeV2:
    tree = FakeV2(tmp_path / "unified", monkeypatch)
    tree.group("", enabled="cpu pids")
    tree.group("user", enabled="pids", procs="")
    tree.group("user/me", procs="77\n")
    return tree


def test_controllers_are_enabled_from_the_top_down_where_they_are_not_yet(fake: FakeV2) -> None:
    fake.group("user/id", memory__max="", memory__swap__max="", pids__max="")
    resources = Resources(memory=Memory(limit=64 * MB, swap=96 * MB), pids_limit=9)
    group = make_group("", resources, name="id", layout=fake.layout("user/me"))
    assert fake.writes == [
        ("cgroup.subtree_control", "+memory"),
        ("user/cgroup.subtree_control", "+memory"),
        ("user/id/pids.max", "9"),
        ("user/id/memory.swap.max", str(32 * MB)),
        ("user/id/memory.max", str(64 * MB)),
    ]
    assert group.place_of("memory") == group.place_of("pids") == group.unified


def test_what_is_enabled_already_costs_one_look(fake: FakeV2) -> None:
    fake.group("user/id", pids__max="")
    make_group("", Resources(pids_limit=9), name="id", layout=fake.layout("user/me"))
    assert fake.writes == [("user/id/pids.max", "9")]


def test_the_group_beside_ours_is_said_to_be_there(fake: FakeV2) -> None:
    fake.group("user/id", pids__max="")
    fake.group("id", pids__max="")
    resources = Resources(pids_limit=9)
    beside = make_group("", resources, name="id", layout=fake.layout("user/me"))
    assert "user/id is beside the group of pyrun" in beside.notes[0]
    assert make_group("/id", resources, layout=fake.layout("user/me")).notes == ()


def test_limits_of_v2_reach_their_files(fake: FakeV2) -> None:
    fake.group("", enabled="cpu io memory pids")
    names = "cpu.max cpu.max.burst cpu.weight io.max io.weight memory.high memory.low".split()
    fake.group("id", **{name.replace(".", "__"): "" for name in names})
    device = ThrottleDevice(major=8, minor=0, rate=9)
    resources = Resources(
        memory=Memory(reservation=5),
        cpu=CPU(shares=1024, quota=10, period=100, burst=3),
        block_io=BlockIO(weight=1000, write_bps=(device,)),
        unified=(("memory.high", "max"),),
    )
    make_group("/id", resources, layout=fake.layout())
    assert fake.writes == [
        ("id/memory.low", "5"),
        ("id/cpu.max", "10 100"),
        ("id/cpu.max.burst", "3"),
        ("id/cpu.weight", "100"),
        ("id/io.weight", "10000"),  # there is no io.bfq.weight
        ("id/io.max", "8:0 wbps=9"),
        ("id/memory.high", "max"),
    ]


def test_a_group_with_processes_that_can_not_give_controllers_is_named(fake: FakeV2) -> None:
    fake.group("user/me/id", pids__max="")
    fake.refuse["user/me/cgroup.subtree_control"] = errno.EBUSY
    with pytest.raises(ContainerError, match="resource busy; 1 processes are in this") as refused:
        make_group("/user/me/id", Resources(pids_limit=9), layout=fake.layout("user/me"))
    assert refused.value.message.startswith("resources.pids.limit: ")
    assert "cgroupsPath" in (refused.value.hint or "")


def test_a_controller_that_was_not_delegated_is_named(fake: FakeV2) -> None:
    fake.group("user", enabled="pids", cgroup__controllers="pids")
    fake.group("user/id")
    fake.refuse["user/cgroup.subtree_control"] = errno.ENOENT
    resources = Resources(memory=Memory(limit=MB))
    with pytest.raises(ContainerError, match="user: the memory controller is not available"):
        make_group("", resources, name="id", layout=fake.layout("user/me"))


def test_a_limit_that_the_kernel_does_not_have_is_named(fake: FakeV2) -> None:
    fake.group("id", pids__max="")
    with pytest.raises(ContainerError, match=r"resources\.cpu\.burst: .*cpu\.max\.burst: 5: "):
        make_group("/id", Resources(cpu=CPU(burst=5)), layout=fake.layout())


def test_what_was_made_for_a_group_that_fails_is_gone(fake: FakeV2) -> None:
    # The new directories have no files in them, which no real ones would be without.
    with pytest.raises(ContainerError, match=r"pod/cgroup\.subtree_control: No such file"):
        make_group("/pod/id", Resources(memory=Memory(limit=MB)), layout=fake.layout())
    assert not (fake.root / "pod").exists()


def test_a_controller_that_is_nowhere_is_named_with_those_that_are_there(fake: FakeV2) -> None:
    with pytest.raises(ContainerError) as refused:
        make_group("/id", Resources(cpu=CPU(cpus="0")), layout=fake.layout())
    assert refused.value.message == (
        "resources.cpu.cpus: this machine has no cpuset controller "
        "(cgroup v2 has: cpu, io, memory, pids)"
    )


def test_unified_needs_its_controller_in_v2(fake: FakeV2) -> None:
    with pytest.raises(ContainerError, match=r"unified: hugetlb\.2MB\.max: cgroup v2 has no huge"):
        make_group("/id", Resources(unified=(("hugetlb.2MB.max", "0"),)), layout=fake.layout())
    v1 = Layout(hierarchies=(V1,))
    with pytest.raises(ContainerError, match=r"unified: memory\.high: cgroup v2 has no memory"):
        make_group("/id", Resources(unified=(("memory.high", "0"),)), layout=v1)


def test_nothing_asked_is_nothing_made(fake: FakeV2) -> None:
    assert make_group("/id", None, layout=fake.layout()) == Group()
    assert make_group("", Resources(), layout=fake.layout()) == Group()
    assert fake.writes == []
    assert not (fake.root / "id").exists()


def test_a_group_with_processes_is_not_taken(fake: FakeV2) -> None:
    with pytest.raises(ContainerError, match="there are processes in this group already"):
        make_group("/user/me", Resources(pids_limit=9), layout=fake.layout())


def test_a_frozen_group_is_not_taken(fake: FakeV2) -> None:
    fake.group("id", cgroup__events="populated 0\nfrozen 1\n")
    with pytest.raises(ContainerError, match="this group is frozen"):
        make_group("/id", Resources(pids_limit=9), layout=fake.layout())


def test_an_error_of_a_file_says_path_value_and_reason_and_what_helps() -> None:
    readonly = files.FileError("/x", OSError(errno.EROFS, os.strerror(errno.EROFS)), "5\n")
    assert readonly.message == "/x: 5: Read-only file system"
    assert "mounted read-only" in (readonly.hint or "")
