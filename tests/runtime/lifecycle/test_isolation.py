"""Namespaces: new, shared, joined; user and time namespaces (config-linux.md "Namespaces")."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.conftest import subordinate_range
from tests.runtime.lifecycle.runtime_calls import (
    Runtime,
    as_root,
    as_user,
    groups_of,
    marked,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]
    Edit = Callable[[Config], object]

# The wider matrix: test_namespaces, test_mounts and test_process are in the default tier.
pytestmark = pytest.mark.slow

PROC_NAMES = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts",
    "cgroup": "cgroup", "time": "time", "user": "user",
}  # fmt: skip
SHOW = "cd /proc/self/ns; for n in pid net mnt ipc uts cgroup time user; do readlink $n; done"


def linux(**members: Any) -> Edit:
    """An edit that sets members of `linux`."""
    return lambda config: config["linux"].update(members)


def namespaces(*entries: str | tuple[str, Any]) -> Edit:
    """An edit that replaces namespaces: a kind alone is new, a path None is left out."""

    def edit(config: Config) -> None:
        found = {n["type"]: n for n in config["linux"]["namespaces"]}
        for entry in entries:
            kind, path = (entry, "") if isinstance(entry, str) else entry
            found[kind] = {"type": kind} | ({"path": str(path)} if path else {})
            if path is None:
                del found[kind]
        config["linux"]["namespaces"] = list(found.values())

    return edit


def no_names(config: Config) -> None:
    """An edit: no host name, which a shared UTS namespace cannot have."""
    config.pop("hostname", None)


def sysfs_of_the_host(config: Config) -> None:
    """An edit: the host's /sys, which a user namespace may have with any network."""
    for mount in config["mounts"]:
        if mount["destination"] == "/sys":
            mount.update(type="none", source="/sys", options=["rbind", "rro"])


def only_id_0(config: Config) -> None:
    """An edit: no group that a user namespace with a single id lacks."""
    for mount in config["mounts"]:
        mount["options"] = [o for o in mount["options"] if not o.startswith("gid=")]


def ours(kind: str) -> str:
    """Our own namespace of a kind."""
    return os.readlink(f"/proc/self/ns/{PROC_NAMES[kind]}")


def seen(text: str) -> dict[str, str]:
    """The namespaces that `SHOW` found."""
    return dict(zip(PROC_NAMES, text.split(), strict=True))


@pytest.fixture
def other(oci: Runtime) -> Iterator[Callable[..., int]]:
    """Start a process of the caller's in new namespaces; returns its pid."""
    started: list[subprocess.Popen[bytes]] = []
    pids: list[int] = []

    def start(*options: str) -> int:
        argv = ["unshare", *options, "sh", "-c", "echo ready; exec sleep 1000"]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=oci.env, **oci.caller.switch)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pids.append(int(children[0]) if children else process.pid)
        return pids[-1]

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


# --- new, shared, joined -----------------------------------------------------------------------


def test_every_kind_is_new_that_the_configuration_lists(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(SHOW, namespaces("network", "time", "cgroup"), sysfs_of_the_host)
    found = seen(oci.output_of(path))
    same = {kind for kind in PROC_NAMES if found[kind] == ours(kind)}
    assert same == ({"user"} if oci.caller.is_root else set())


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time"])
def test_a_kind_that_is_left_out_is_the_callers(kind: str, oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        if oci.caller.is_root:
            return
        # New ones belong to who owns the namespace that they show.
        if kind == "pid":
            config["mounts"][0].update(type="none", source="/proc", options=["rbind"])
            config["linux"].update(maskedPaths=[], readonlyPaths=[])
        if kind == "ipc":
            config["mounts"] = [m for m in config["mounts"] if m["type"] != "mqueue"]

    path = bundle(SHOW, namespaces((kind, None) if kind != "time" else "mount"), no_names, edit)
    found = seen(oci.output_of(path))
    assert found[kind] == ours(kind)
    assert found["mount"] != ours("mount")


@as_root
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time", "user"])
def test_a_namespace_is_joined_by_path(
    kind: str, oci: Runtime, bundle: Bundle, other: Callable[..., int]
) -> None:
    options = {
        "pid": ["--pid", "--fork"], "network": ["--net"], "ipc": ["--ipc"], "uts": ["--uts"],
        "cgroup": ["--cgroup"], "time": ["--time", "--monotonic", "5000", "--fork"],
        "user": ["--user", "--map-root-user"],
    }  # fmt: skip
    pid = other(*options[kind])
    place = f"/proc/{pid}/ns/{PROC_NAMES[kind]}"
    edits = [namespaces((kind, place)), no_names]
    if kind == "user":
        edits += [sysfs_of_the_host, only_id_0, linux(resources=None)]
    found = seen(oci.output_of(bundle(SHOW, *edits)))
    assert found[kind] == os.readlink(place) != ours(kind)


@as_user
def test_a_user_joins_a_user_namespace_and_what_it_owns(
    oci: Runtime, bundle: Bundle, other: Callable[..., int]
) -> None:
    pid = other("--user", "--map-root-user", "--net", "--ipc", "--uts")
    places = {k: f"/proc/{pid}/ns/{PROC_NAMES[k]}" for k in ("user", "network", "ipc", "uts")}
    found = seen(oci.output_of(bundle(SHOW, namespaces(*places.items()), no_names, no_maps)))
    assert {k: found[k] for k in places} == {k: os.readlink(v) for k, v in places.items()}


def no_maps(config: Config) -> None:
    """An edit: no id maps, which a joined user namespace has already."""
    for name in ("uidMappings", "gidMappings"):
        config["linux"].pop(name, None)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self/ns/uts", "ipc namespace /proc/self/ns/uts: is no ipc namespace"),
        ("/dev/null", "ipc namespace /dev/null: is no ipc namespace"),
        ("/nothing", "ipc namespace /nothing: No such file or directory"),
    ],
)
def test_a_path_that_is_no_such_namespace_is_named(
    path: str, words: str, oci: Runtime, bundle: Bundle
) -> None:
    said = oci.refused("run", "-b", bundle("true", namespaces(("ipc", path))), oci.new_id())
    assert said == f"pyrun: {words}\n"
    assert list(oci.root.iterdir()) == []


@as_user
def test_what_may_not_be_joined_is_said(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", namespaces(("network", "/proc/1/ns/net")))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert said.startswith("pyrun: network namespace /proc/1/ns/net: Permission denied")
    assert list(oci.root.iterdir()) == []


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("clocks", [("monotonic",), ("boottime",), ("monotonic", "boottime")])
def test_clocks_are_ahead_by_their_offsets(
    clocks: tuple[str, ...], oci: Runtime, bundle: Bundle
) -> None:
    offsets = {clock: {"secs": 90_000 + len(clock), "nanosecs": 5} for clock in clocks}
    path = bundle(
        "cat /proc/self/timens_offsets; cat /proc/uptime",
        namespaces("time"),
        linux(timeOffsets=offsets),
    )
    *lines, uptime = oci.output_of(path).splitlines()
    found = {line.split()[0]: line.split()[1:] for line in lines}
    for clock in ("monotonic", "boottime"):
        if clock in clocks:
            assert found[clock] == [str(90_000 + len(clock)), "5"]
        else:
            assert found[clock] == ["0", "0"]
    host = float(Path("/proc/uptime").read_text().split()[0])
    ahead = 90_008 if "boottime" in clocks else 0
    assert abs(float(uptime.split()[0]) - host - ahead) < 5


def test_an_offset_that_the_kernel_refuses_is_named(oci: Runtime, bundle: Bundle) -> None:
    offsets = {"monotonic": {"secs": -(2**40)}}
    path = bundle("true", namespaces("time"), linux(timeOffsets=offsets))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert said.startswith("pyrun: time offset 'monotonic -1099511627776 0': ")
    assert list(oci.root.iterdir()) == []
    assert groups_of(oci.room.mark) == []


# --- user ----------------------------------------------------------------------------------------


def maps(*ranges: tuple[int, int, int]) -> Edit:
    """An edit: the same maps for users and groups; (inside, outside, size)."""
    entries = [{"containerID": a, "hostID": b, "size": c} for a, b, c in ranges]
    return linux(uidMappings=entries, gidMappings=entries)


def give_root(path: Path, owner: int) -> Path:
    """Let the root of a bundle belong to an id of the host."""
    os.chown(path / "rootfs", owner, owner)
    return path


@as_root
@pytest.mark.parametrize("more", ["", "time", "network"])
def test_root_maps_any_ids(
    more: str, oci: Runtime, bundle: Bundle, other: Callable[..., int]
) -> None:
    script = f"{SHOW}; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/a; stat -c %u /tmp/a"
    extra: list[Any] = [more] if more == "time" else []
    if more == "network":
        extra = [("network", f"/proc/{other('--net')}/ns/net"), "user"]
    path = bundle(
        script,
        namespaces("user", *extra),
        maps((0, 300_000, 1000), (1000, 500_000, 10)),
        lambda c: c["root"].update(readonly=False),
        *([sysfs_of_the_host] if more == "network" else []),
        linux(resources=None),
    )
    lines = oci.output_of(give_root(path, 300_000)).splitlines()
    found = seen("\n".join(lines[:8]))
    assert found["user"] != ours("user")
    if more == "network":
        assert found["network"] == os.readlink(extra[0][1])
    if more == "time":
        assert found["time"] != ours("time")
    expected = [["0", "300000", "1000"], ["1000", "500000", "10"]]
    assert [line.split() for line in lines[8:12]] == expected * 2
    assert lines[12] == "0"
    assert (path / "rootfs/tmp/a").stat().st_uid == 300_000


@as_user
def test_a_user_maps_its_own_ids(oci: Runtime, bundle: Bundle) -> None:
    own, granted = oci.caller.uid, subordinate_range(oci.caller)
    path = bundle(["cat", "/proc/self/uid_map"], namespaces("time"))
    expected = [["0", str(own), "1"]]
    if granted is not None:
        expected += [["1", str(granted[0]), str(granted[1])]]
    assert [line.split() for line in oci.output_of(path).splitlines()] == expected


@as_user
def test_ids_of_others_cannot_be_mapped(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", maps((0, oci.caller.uid, 1), (1, 2_000_000_000, 5)))
    result = oci("run", "-b", path, oci.new_id())
    assert result.status == 125
    first, hint = result.stderr.splitlines()
    assert first.startswith("pyrun: newuidmap ")
    assert hint == "hint: /etc/subuid and /etc/subgid say which ids a user may map (subuid(5))"
    assert list(oci.root.iterdir()) == []


@as_user
def test_that_newuidmap_is_missing_is_said(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", maps((0, oci.caller.uid, 1), (1, 2_000_000_000, 5)))
    python = Path(oci.argv[0]).parent
    said = oci.refused("run", "-b", path, oci.new_id(), env=oci.env | {"PATH": str(python)})
    assert said == (
        "pyrun: mapping more ids than one's own needs newuidmap\n"
        "hint: install it (Debian: uidmap, Fedora: shadow-utils), or map only one id\n"
    )
    assert list(oci.root.iterdir()) == []


@as_user
def test_a_user_without_a_user_namespace_is_told_to_have_one(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", namespaces(("user", None)), no_maps)
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "hint: without root, the configuration needs a user namespace" in said
    assert until(lambda: not marked(oci.room.mark))
