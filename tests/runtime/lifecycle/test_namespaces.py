"""Namespaces that are new, shared or joined, and the maps of ids (config-linux.md)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.conftest import subordinate_range
from tests.runtime.lifecycle.edits import (
    linux,
    namespace,
    process,
    user_namespace,
    without,
    without_mounts,
    writable,
)
from tests.runtime.lifecycle.runtime_calls import Runtime, as_root, as_user, give_away, until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]

NAMES = {"network": "net", "mount": "mnt"}
KINDS = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
LINKS = "for n in pid net mnt ipc uts user cgroup time; do readlink /proc/self/ns/$n; done"


def _inside(output: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in output.splitlines())


def _ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{NAMES.get(kind, kind)}").partition(":")[2]


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A process in namespaces of its own, all but the user namespace; its pid."""
    argv = ["unshare", "--fork", "--kill-child", "-pmuinCT", "--mount-proc", "sleep", "1000"]
    with subprocess.Popen(argv, start_new_session=True) as started:
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
        assert until(lambda: children.read_text().strip())
        pid = int(children.read_text())
        assert until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        try:
            yield pid
        finally:
            os.kill(pid, 9)


def test_the_examples_namespaces_are_new_and_the_others_shared(
    oci: Runtime, bundle: Bundle
) -> None:
    inside = _inside(oci.output_of(bundle(LINKS)))
    new = {kind for kind in KINDS if inside[NAMES.get(kind, kind)] != _ours(kind)}
    expected = {"pid", "mount", "ipc", "uts", "cgroup"}
    assert new == expected | ({"network"} if oci.caller.is_root else {"user"})


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
@as_root
def test_a_namespace_that_is_left_out_is_shared(kind: str, oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        if kind == "uts":
            del config["hostname"]

    # The kernel refuses a new mqueue in somebody else's IPC namespace only to users.
    inside = _inside(oci.output_of(bundle(LINKS, without(kind), edit)))
    assert inside[NAMES.get(kind, kind)] == _ours(kind)
    assert inside["mnt"] != _ours("mount")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "time", "pid"])
@as_root
def test_a_namespace_is_joined_by_its_path(
    kind: str, neighbour: int, oci: Runtime, bundle: Bundle
) -> None:
    name = NAMES.get(kind, kind)

    def edit(config: Config) -> None:
        if kind == "uts":
            del config["hostname"]

    joins = namespace(kind, f"/proc/{neighbour}/ns/{name}")
    inside = _inside(oci.output_of(bundle(LINKS, joins, edit)))
    assert inside[name] == os.readlink(f"/proc/{neighbour}/ns/{name}").partition(":")[2]


@as_root
def test_several_namespaces_are_joined_beside_a_new_user_namespace(
    neighbour: int, oci: Runtime, bundle: Bundle
) -> None:
    joins = [
        namespace("network", f"/proc/{neighbour}/ns/net"),
        namespace("ipc", f"/proc/{neighbour}/ns/ipc"),
    ]
    # It owns neither: a sysfs or mqueue of those cannot be made.
    path = bundle(LINKS, *joins, user_namespace(), without_mounts("/sys", "/dev/mqueue"))
    give_away(path)
    inside = _inside(oci.output_of(path))
    assert inside["net"] == os.readlink(f"/proc/{neighbour}/ns/net").partition(":")[2]
    assert inside["ipc"] == os.readlink(f"/proc/{neighbour}/ns/ipc").partition(":")[2]
    assert inside["user"] != _ours("user")


@as_root
def test_a_second_container_joins_all_namespaces_of_a_first(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("sleep 1000", user_namespace())
    give_away(path)
    pid = oci.state(oci.started(path))["pid"]
    kinds = ("user", "network", "ipc", "uts", "pid")
    joins = [namespace(kind, f"/proc/{pid}/ns/{NAMES.get(kind, kind)}") for kind in kinds]

    def edit(config: Config) -> None:
        del config["hostname"]

    other = bundle(LINKS + "; id -u; hostname", *joins, edit)
    give_away(other)
    *links, uid, host = oci.output_of(other).splitlines()
    inside = _inside("\n".join(links))
    for kind in kinds:
        name = NAMES.get(kind, kind)
        assert inside[name] == os.readlink(f"/proc/{pid}/ns/{name}").partition(":")[2]
    assert (uid, host) == ("0", "pyrun")


@as_user
def test_a_users_containers_share_namespaces(oci: Runtime, bundle: Bundle) -> None:
    pid = oci.state(oci.started(bundle("sleep 1000")))["pid"]
    kinds = ("user", "ipc", "uts", "pid")

    def edit(config: Config) -> None:
        del config["hostname"]
        for name in ("uidMappings", "gidMappings"):
            del config["linux"][name]

    joins = [namespace(kind, f"/proc/{pid}/ns/{kind}") for kind in kinds]
    inside = _inside(oci.output_of(bundle(LINKS, *joins, edit)))
    for kind in kinds:
        assert inside[kind] == os.readlink(f"/proc/{pid}/ns/{kind}").partition(":")[2]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nothing", "network namespace /nothing: No such file or directory"),
        ("/etc/passwd", "network namespace /etc/passwd: is no network namespace"),
        ("/proc/self/ns/uts", "network namespace /proc/self/ns/uts: is no network namespace"),
        ("relative", "relative"),
    ],
)
@as_root
def test_a_path_that_is_no_namespace_of_its_kind_is_named(
    path: str, words: str, oci: Runtime, bundle: Bundle
) -> None:
    said = oci.refused("run", "-b", bundle("true", namespace("network", path)), oci.new_id())
    assert words in said


def test_a_time_namespace_is_ahead_by_its_offsets(oci: Runtime, bundle: Bundle) -> None:
    offsets = {"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 5, "nanosecs": 7}}
    path = bundle(
        "cat /proc/uptime; cat /proc/self/timens_offsets; " + LINKS,
        namespace("time"),
        linux(timeOffsets=offsets),
    )
    uptime, one, two, *links = oci.output_of(path).splitlines()
    ours = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= float(uptime.split()[0]) - 1_000_000 - ours + 10 < 20
    assert sorted((one.split(), two.split())) == [
        ["boottime", "1000000", "0"],
        ["monotonic", "5", "7"],
    ]
    assert _inside("\n".join(links))["time"] != _ours("time")


@as_root
def test_ids_are_mapped_as_the_maps_say(oci: Runtime, bundle: Bundle) -> None:
    maps = [
        {"containerID": 0, "hostID": 300_000, "size": 10},
        {"containerID": 100, "hostID": 300_100, "size": 1},
    ]
    path = bundle(
        "cat /proc/self/uid_map; touch /tmp/new; id -u",
        user_namespace(),
        linux(uidMappings=maps, gidMappings=maps),
        process(user={"uid": 100, "gid": 5}),
        writable,
    )
    give_away(path)
    out = oci.output_of(path).split()
    assert out == ["0", "300000", "10", "100", "300100", "1", "100"]
    status = (path / "rootfs/tmp/new").stat()
    assert (status.st_uid, status.st_gid) == (300_100, 300_005)


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_a_user_has_its_subordinate_ids(oci: Runtime, bundle: Bundle) -> None:
    found = subordinate_range(oci.caller)
    assert found is not None, "the test account has no subordinate ids"
    path = bundle(
        "cat /proc/self/uid_map; id -u; id -g; touch /tmp/new",
        process(user={"uid": 1000, "gid": 7}),
        writable,
    )
    expected = f"0 {oci.caller.uid} 1 1 {found[0]} {found[1]} 1000 7".split()
    assert oci.output_of(path).split() == expected
    assert (path / "rootfs/tmp/new").stat().st_uid == found[0] + 999


@as_user
def test_ids_that_are_not_the_users_are_refused(oci: Runtime, bundle: Bundle) -> None:
    maps = [{"containerID": 0, "hostID": 5, "size": 10}]
    path = bundle("true", linux(uidMappings=maps, gidMappings=maps))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "newuidmap" in said
    assert list(oci.root.iterdir()) == []


@pytest.mark.parametrize("caller", ["lone_user"], indirect=True)
def test_an_id_that_is_not_mapped_cannot_be_the_process_user(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", process(user={"uid": 5, "gid": 5}))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "user 5:5 does not exist in this user namespace" in said


def test_host_and_domain_name_are_the_containers_own(oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        config |= {"hostname": "a-host", "domainname": "a.domain"}

    path = bundle("hostname; cat /proc/sys/kernel/domainname", edit)
    assert oci.output_of(path) == "a-host\na.domain\n"


def test_the_loopback_interface_of_a_new_network_is_up(oci: Runtime, bundle: Bundle) -> None:
    out = oci.output_of(bundle("ip -o link", namespace("network")))
    assert len(out.splitlines()) == 1
    assert "LOOPBACK,UP" in out


@as_root
def test_without_a_mount_namespace_the_root_is_changed_only(oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
        config["root"]["readonly"] = False

    path = bundle("ls /; echo; exec sleep 1000", without("mount"), without_mounts(), edit)
    box = oci.started(path)
    oci.wait_written(box, "\n\n")
    assert "etc" in oci.written(box).split()
    assert "var" not in oci.written(box).split()
    # exec must get the same root, though there is no namespace to join for it.
    assert oci.ok("exec", box, "ls", "/").split() == oci.written(box).split()
    assert str(path) not in Path("/proc/self/mountinfo").read_text()


@as_root
def test_mounts_without_a_mount_namespace_are_refused(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", without("mount"))
    assert "linux.maskedPaths: needs a mount" in oci.refused("run", "-b", path, oci.new_id())
    path = bundle("true", without("mount"), linux(maskedPaths=[], readonlyPaths=[]))
    assert "need a new mount namespace" in oci.refused("run", "-b", path, oci.new_id())
