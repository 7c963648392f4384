"""Rules for devices: what they amount to, and that the kernel enforces them in v1 and v2."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.cgroup.devices import (
    DEFAULT_RULES,
    device_program,
    exceptions,
    rules_for,
    set_rules,
    v1_writes,
)
from runtime.cgroup.group import Group
from runtime.errors import ContainerError
from runtime.oci.resources import DeviceRule, Resources
from runtime.oci.spec import Device
from tests.runtime.cgroup.conftest import Groups, hierarchy, v1_only, v2_only

DENY_ALL = DeviceRule(allow=False)


def allow(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)


def deny(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return allow(kind, major, minor, access).replace(allow=False)


def test_no_rules_stay_none() -> None:
    assert rules_for((), (Device(path="/dev/fuse", type="c", major=10, minor=229),)) == ()


def test_the_default_devices_are_permitted_after_the_rules_of_the_specification() -> None:
    assert rules_for((DENY_ALL,), ()) == DEFAULT_RULES


def test_a_listed_device_is_permitted_unless_a_rule_speaks_of_it() -> None:
    fuse = Device(path="/dev/fuse", type="u", major=10, minor=229)
    pipe = Device(path="/dev/fifo", type="p")
    assert allow("c", 10, 229) in rules_for((DENY_ALL,), (fuse, pipe))
    narrow = allow("c", 10, 229, "r")
    assert allow("c", 10, 229) not in rules_for((DENY_ALL, narrow), (fuse,))


def test_an_unknown_type_or_access_is_no_rule(groups: Groups) -> None:
    group = groups.make(None)
    assert group == Group()
    for rule in (allow("x", 1, 1), allow("c", 1, 1, "rx"), allow("c", -1, 1)):
        with pytest.raises(ContainerError, match=r"resources\.devices: allow .* is no rule"):
            groups.make(Resources(devices=(rule,)))


def writes(now: str, *rules: DeviceRule) -> list[tuple[str, str]]:
    return v1_writes(now, exceptions(rules))


def test_v1_starts_by_denying_all() -> None:
    assert writes("a *:* rwm", DENY_ALL, allow("c", 1, 3), allow("c", 136, None, "rw")) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 136:* rw"),
    ]


def test_v1_writes_only_what_differs_so_that_nothing_is_denied_in_between() -> None:
    now = "c 1:3 rwm\nc 1:5 rwm\nb 8:0 r"
    assert writes(now, DENY_ALL, allow("c", 1, 3), allow("b", 8, 0, "w"), allow("c", 5, 0)) == [
        ("devices.allow", "b 8:0 w"),
        ("devices.allow", "c 5:0 rwm"),
        ("devices.deny", "c 1:5 rwm"),
        ("devices.deny", "b 8:0 r"),
    ]


def test_v1_can_allow_all_but_some() -> None:
    rules = (DeviceRule(allow=True), deny("b", None, None, "w"))
    assert writes("c 1:3 rwm", *rules) == [
        ("devices.allow", "a"),
        ("devices.deny", "b *:* w"),
    ]


def test_v1_reading_everything_is_not_doing_everything() -> None:
    assert writes("", DENY_ALL, DeviceRule(allow=True, access="r")) == [
        ("devices.allow", "c *:* r"),
        ("devices.allow", "b *:* r"),
    ]


def test_v1_a_wide_denial_takes_the_narrow_permissions_before_it() -> None:
    rules = (DENY_ALL, allow("c", 1, 3), allow("b", 8, 0), deny("c", None, None, "w"))
    assert writes("", *rules) == [
        ("devices.allow", "c 1:3 rm"),
        ("devices.allow", "b 8:0 rwm"),
    ]


def test_v1_refuses_a_hole_which_its_list_can_not_have() -> None:
    with pytest.raises(ContainerError, match=r"deny c 5:1 rwm makes a hole in c 5:\* rwm"):
        exceptions((DENY_ALL, allow("c", 5, None), deny("c", 5, 1)))


def test_the_program_of_v2_has_no_instruction_that_can_not_be_reached() -> None:
    assert len(device_program((allow("c", 1, 3), DENY_ALL, allow("c", 1, 5)))) == 6 + 5 + 2
    assert len(device_program(())) == 6 + 2


# --- in the kernel ----------------------------------------------------------------------------


def attempt(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
    except OSError as error:
        return str(error.strerror)
    return "opened"


def block_device() -> str:
    """A block device that can be opened here, so that a refusal says something."""
    for path in sorted(Path("/dev").iterdir()):
        if path.is_block_device() and attempt(str(path), os.O_RDONLY) == "opened":
            return str(path)
    pytest.skip("no block device can be opened")


def make_node(folder: Path, major: int, minor: int) -> str:
    path = folder / f"node-{major}-{minor}"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
    except OSError as error:
        return str(error.strerror)
    path.unlink()
    return "made"


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    if request.param == 1 and hierarchy("devices").version != 1:
        pytest.skip("no devices controller of cgroup v1")
    number: int = request.param
    return number


def limited(groups: Groups, version: int, rules: tuple[DeviceRule, ...]) -> Group:
    layout = v1_only() if version == 1 else v2_only()
    return groups.make(Resources(devices=rules), layout=layout)


@pytest.mark.needs_root
def test_by_default_null_can_be_used_and_a_disk_can_not(groups: Groups, version: int) -> None:
    disk = block_device()
    group = limited(groups, version, DEFAULT_RULES)
    assert groups.result(group, lambda: attempt("/dev/null", os.O_RDWR)) == "'opened'"
    assert groups.result(group, lambda: attempt(disk, os.O_RDONLY)) == "'Operation not permitted'"


@pytest.mark.needs_root
def test_by_default_any_node_can_be_made(groups: Groups, version: int, tmp_path: Path) -> None:
    group = limited(groups, version, DEFAULT_RULES)
    assert groups.result(group, lambda: make_node(tmp_path, 7, 77)) == "'made'"


@pytest.mark.needs_root
def test_a_node_is_made_only_where_a_rule_permits_it(
    groups: Groups, version: int, tmp_path: Path
) -> None:
    group = limited(groups, version, (DENY_ALL, allow("c", 1, None, "m"), allow("b", None, None)))
    assert groups.result(group, lambda: make_node(tmp_path, 1, 5)) == "'made'"
    assert groups.result(group, lambda: make_node(tmp_path, 7, 7)) == "'Operation not permitted'"
    assert groups.result(group, lambda: attempt("/dev/zero", os.O_RDONLY)).startswith("'Operation")


@pytest.mark.needs_root
def test_reading_and_writing_are_permitted_each_by_itself(groups: Groups, version: int) -> None:
    rules = (DENY_ALL, allow("c", 1, 5, "r"), allow("c", 1, 3, "w"), allow("c", 1, 3, "r"))
    group = limited(groups, version, rules)
    results = [
        groups.result(group, lambda p=path, f=flags: attempt(p, f))  # type: ignore[misc]
        for path in ("/dev/zero", "/dev/null")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
    ]
    no, yes = "'Operation not permitted'", "'opened'"
    assert results == [yes, no, no, yes, yes, yes]


@pytest.mark.needs_root
def test_a_denial_of_writing_also_denies_reading_and_writing(groups: Groups, version: int) -> None:
    group = limited(groups, version, (DeviceRule(allow=True), deny("c", 1, 3, "w")))
    results = [
        groups.result(group, lambda f=flags: attempt("/dev/null", f))  # type: ignore[misc]
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
    ]
    no = "'Operation not permitted'"
    assert results == ["'opened'", no, no]


@pytest.mark.needs_root
def test_rules_are_replaced_by_an_update(groups: Groups, version: int) -> None:
    group = limited(groups, version, DEFAULT_RULES)
    no, yes = "'Operation not permitted'", "'opened'"
    for rules, expected in (
        ((DENY_ALL, allow("c", 1, 5)), [no, yes]),
        (DEFAULT_RULES, [yes, yes]),
        ((DeviceRule(allow=True), deny("c", 1, 5)), [yes, no]),
    ):
        place = group.place_of("devices")
        assert place is not None
        set_rules(place, rules)
        found = [
            groups.result(group, lambda p=path: attempt(p, os.O_RDONLY))  # type: ignore[misc]
            for path in ("/dev/null", "/dev/zero")
        ]
        assert found == expected


@pytest.mark.needs_root
def test_v2_a_hole_in_a_wide_permission_is_enforced(groups: Groups) -> None:
    group = limited(groups, 2, (DENY_ALL, allow("c", 1, None), deny("c", 1, 5, "r")))
    assert groups.result(group, lambda: attempt("/dev/null", os.O_RDWR)) == "'opened'"
    assert groups.result(group, lambda: attempt("/dev/zero", os.O_WRONLY)) == "'opened'"
    assert groups.result(group, lambda: attempt("/dev/zero", os.O_RDWR)).startswith("'Operation")
