"""The same bundle on runc and on our runtime: what its process sees and is must be the same.

What differs for a reason is made alike in `_normal`, which says the reason.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.observing import GROUPS, Runtime, with_probe
from tests.runtime.oci_configs import CONFIGS
from tests.support import Caller, command, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]
    Seen = dict[str, Any]

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("runc")]

STATUS = (
    "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters "
    "SigBlk SigIgn SigCgt Umask Cpus_allowed_list Mems_allowed_list "
    "Speculation_Store_Bypass NSpgid NSsid"
).split()
MQUEUE = "/dev/mqueue directory 1777 0:0"


@pytest.fixture(scope="module")
def place(public_root: Path) -> Iterator[Path]:
    """A directory for the bundles; the groups above the containers' go with it."""
    path = public_root / "differential"
    path.mkdir()
    yield path
    for folder in Path("/sys/fs/cgroup").glob(f"*{GROUPS}"):
        subprocess.run(["rmdir", folder], check=False)


@pytest.fixture(scope="module")
def runc(place: Path) -> Runtime:
    """The reference, where it can run its own example."""
    made = Runtime("runc", [which("runc")], place)
    status, _ = made.status(_with_command(_base(made), "true"))
    if status:
        pytest.skip("runc cannot run its own example here")
    return made


@pytest.fixture(scope="module")
def ours(place: Path) -> Runtime:
    """Our runtime."""
    return Runtime("ours", command("pyrun-oci"), place)


def _base(runc: Runtime) -> Config:
    """What `runc spec` writes, without a terminal, and in a group of ours."""
    file = runc.bundle / "config.json"
    file.unlink(missing_ok=True)
    assert runc.call("spec").returncode == 0
    config: Config = json.loads(file.read_text())
    config["process"]["terminal"] = False
    config["linux"]["cgroupsPath"] = f"{GROUPS}/container"
    return config


def _with_command(config: Config, *command: str) -> Config:
    return config | {"process": config["process"] | {"args": list(command)}}


# --- the configurations -----------------------------------------------------------------------


def _user(config: Config) -> None:
    config["process"]["user"] = {
        "uid": 1000,
        "gid": 1000,
        "umask": 0o027,
        "additionalGids": [50, 10, 4242],
    }
    config["process"]["cwd"] = "/tmp"


def _ambient(config: Config) -> None:
    _user(config)
    names = ["CAP_NET_BIND_SERVICE", "CAP_SYS_PTRACE"]
    config["process"]["capabilities"] = {
        "bounding": [*names, "CAP_CHOWN"],
        "permitted": names,
        "effective": names[:1],
        "inheritable": names,
        "ambient": names[:1],
    }


def _without_capabilities(config: Config) -> None:
    config["process"]["capabilities"] = {}
    config["process"]["noNewPrivileges"] = False


def _user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 200000, "size": 5000}]
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = maps
    config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}


def _writable(config: Config) -> None:
    config["root"]["readonly"] = False
    config["mounts"] += [
        _bind("/read-only", "rbind", "ro"),
        _bind("/writable", "bind", "rw", "nosuid", "noexec"),
        _bind("/link/deep", "bind"),
        _bind("/file", "bind", "ro", source="@BUNDLE@/volume/file"),
        {"destination": "/t", "type": "tmpfs", "source": "x", "options": ["size=1m", "mode=0700"]},
        {
            "destination": "/frozen",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["tmpcopyup", "nodev", "strictatime"],
        },
    ]


def _bind(destination: str, *options: str, source: str = "@BUNDLE@/volume") -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": list(options),
    }


def _propagation(config: Config) -> None:
    config["root"]["readonly"] = False
    # Not "rslave": we apply that to all mounts, those included that say something else.
    config["linux"]["rootfsPropagation"] = "slave"
    config["mounts"] += [
        _bind("/slave", "rbind", "rslave"),
        _bind("/shared", "rbind", "rshared"),
        _bind("/private", "rbind", "rprivate"),
        _bind("/unbindable", "bind", "unbindable"),
    ]


def _limits(config: Config) -> None:
    config["linux"]["resources"] |= {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "blockIO": {"throttleReadBpsDevice": [_root_rate()]},
    }


def _root_rate() -> dict[str, int]:
    device = os.stat("/").st_dev
    for name in os.listdir("/sys/block"):
        text = Path(f"/sys/block/{name}/dev").read_text().strip()
        if name.startswith(("vd", "sd", "nvme")):
            device = os.makedev(*map(int, text.split(":")))
    return {"major": os.major(device), "minor": os.minor(device), "rate": 1 << 20}


def _process_limits(config: Config) -> None:
    config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 500, "hard": 600},
    ]
    config["process"]["oomScoreAdj"] = 321


def _names_and_sysctls(config: Config) -> None:
    config["hostname"] = "named"
    config["linux"]["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/ping_group_range": "5 6",
        "kernel.msgmax": "4096",
    }


def _devices(config: Config) -> None:
    config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600},
        {
            "path": "/dev/null",
            "type": "c",
            "major": 1,
            "minor": 3,
            "fileMode": 0o644,
            "uid": 5,
            "gid": 6,
        },
        {"path": "/dev/sub/block", "type": "b", "major": 7, "minor": 0, "gid": 6},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
    ]
    config["linux"]["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 7, "minor": 0, "access": "r"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    ]


def _hidden(config: Config) -> None:
    config["root"]["readonly"] = False
    config["linux"]["maskedPaths"] = ["/hidden", "/hidden-file", "/nosuch", "/proc/keys"]
    config["linux"]["readonlyPaths"] = ["/frozen", "/nosuch", "/proc/sys"]


def _filtered(config: Config) -> None:
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["getrlimit", "prlimit64"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
        ],
    }


def _shares_with_the_host(config: Config) -> None:
    config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    del config["hostname"]


def _of_podman(config: Config) -> None:
    """As podman 4.3 wrote it, with places of ours for what lay elsewhere."""
    table = json.loads((CONFIGS / "podman-4.3.json").read_text())
    table["root"]["path"] = "rootfs"
    table["linux"]["cgroupsPath"] = config["linux"]["cgroupsPath"]
    del table["linux"]["resources"]["memory"]["swap"]  # not every kernel counts it
    for mount in table["mounts"]:
        if mount["type"] == "bind":
            is_file = mount["destination"].startswith(("/etc", "/run"))
            mount["source"] = "@BUNDLE@/volume" + ("/file" if is_file else "")
    config.clear()
    config.update(table)


CONFIGURATIONS = {
    "as runc spec writes it": lambda config: None,
    "as podman writes it": _of_podman,
    "a user with groups and a umask": _user,
    "ambient capabilities of a user": _ambient,
    "no capabilities": _without_capabilities,
    "a user namespace": _user_namespace,
    "volumes and a writable root": _writable,
    "propagation": _propagation,
    "limits": _limits,
    "limits of the process": _process_limits,
    "names and sysctls": _names_and_sysctls,
    "devices": _devices,
    "hidden and read-only paths": _hidden,
    "a filter of system calls": _filtered,
    "namespaces of the host": _shares_with_the_host,
}


# --- what is compared -------------------------------------------------------------------------


def _normal(seen: Seen, runtime: Runtime, config: Config) -> Seen:
    """What two runtimes must agree on."""
    found = dict(seen)
    fields = dict(line.split(":", 1) for line in seen["status"].splitlines())
    found["status"] = {name: fields[name].strip() for name in STATUS if name in fields}
    found["mounts"] = _normal_mounts(seen["mounts"], runtime, config)
    found["descriptors"] = [line.split(":[")[0] for line in seen["descriptors"].splitlines()]
    found["namespaces"] = {
        line.split()[0]: line.split()[1] == os.readlink(f"/proc/self/ns/{line.split()[0]}")
        for line in seen["namespaces"].splitlines()
    }
    found["environment"] = sorted(seen["environment"].splitlines())
    # The root of a queue's filesystem belongs to who made the namespace: runc, having taken id 0
    # in a new user namespace, has kept the group of the host's root.
    found["dev"] = seen["dev"].replace("/dev/mqueue directory 1777 0:65534", MQUEUE)
    # We mount a view of cgroup v2 beside those of v1, as the host has.
    found["cgroup-mount"] = [n for n in seen["cgroup-mount"].split() if n != "unified"]
    if "limits of the group" in seen:
        found["limits of the group"] = dict(seen["limits of the group"])
        rules = set(found["limits of the group"].get("devices.list", "").splitlines())
        # runc 1.1 allows /dev/net/tun unasked (no more since 1.2), we the console that
        # config-linux.md "Default Devices" lists.
        found["limits of the group"]["devices.list"] = rules - {"c 10:200 rwm", "c 5:1 rwm"}
    return found


def _normal_mounts(text: str, runtime: Runtime, config: Config) -> dict[str, list[object]]:
    """Mount point -> what is there, without numbers, and with options in no order."""
    found: dict[str, list[object]] = {}
    for line in text.replace(str(runtime.bundle), "@BUNDLE@").splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, root, point, options, *propagation = left.split()
        fstype, source, *rest = right.split()
        superblock = set(",".join(rest).split(","))
        if fstype == "tmpfs" and point in config["linux"].get("maskedPaths", ()):
            # Empty and read-only is what is asked for; nosuid, nodev and no room are ours.
            found[point] = [fstype, "ro" in options.split(",")]
            continue
        if point.startswith("/sys/fs/cgroup/unified"):
            continue
        if point == "/sys/fs/cgroup" and fstype == "tmpfs":
            # runc leaves it writable in a cgroup namespace though "ro" is asked for.
            options = options.replace("rw,", "ro,")
        if fstype == "sysfs":
            # The mount is read-only for both; runc makes the superblock so as well.
            superblock -= {"ro", "rw"}
        label = sorted(item.split(":")[0] for item in propagation)
        found[point] = [root, set(options.split(",")), label, fstype, source, superblock]
    return found


def _differences(one: Seen, other: Seen) -> list[str]:
    lines = []
    for name in sorted({*one, *other}):
        first, second = one.get(name), other.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            lines += [f"{name}: {line}" for line in _differences(first, second)]
        elif first != second:
            lines.append(f"{name}: {first!r} != {second!r}")
    return lines


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_process_sees_and_is_the_same_as_with_runc(
    runc: Runtime, ours: Runtime, name: str
) -> None:
    config = _base(runc)
    CONFIGURATIONS[name](config)
    config = with_probe(config)
    theirs = _normal(runc.observe(copy.deepcopy(config)), runc, config)
    mine = _normal(ours.observe(copy.deepcopy(config)), ours, config)
    found = _differences(theirs, mine)
    assert not found, "\n".join(found)


# --- how it ends, terminals, and without root -------------------------------------------------

_SETUID = {"value": 0o4000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ"}
_FORBIDDEN = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"},
        {
            "names": ["kill"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 3,
            "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
        },
        *(
            {
                "names": [name],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": index, **_SETUID}],
            }
            for name, index in (("chmod", 1), ("fchmodat", 2))
        ),
    ],
}


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("sh -c 'kill -9 $$'; exit $?", 137),
        ("mkdir /tmp/x; exit $?", 1),
        ("sync; exit $?", 159),
        ("sleep 9 & kill -USR1 $!; echo $?; kill -USR2 $!; echo $?", 0),
        (": >/dev/shm/x; chmod 755 /dev/shm/x || exit 5; chmod 4755 /dev/shm/x; exit $?", 1),
        ('read x; echo "<$x>"; exit 1', 1),
    ],
)
def test_a_process_under_a_filter_ends_as_with_runc(
    runc: Runtime, ours: Runtime, script: str, status: int
) -> None:
    config = _with_command(_base(runc), "sh", "-c", script)
    config["linux"]["seccomp"] = _FORBIDDEN
    theirs = runc.status(config)
    assert ours.status(config) == theirs
    assert theirs[0] == status


def test_a_terminal_is_as_with_runc(runc: Runtime, ours: Runtime) -> None:
    script = """
    until stty size 2>/dev/null | grep -qv '^0 0'; do sleep 0.02; done
    stty -a; tty; ls -l /dev/console; stat -c '%u %g %a %t' /dev/pts/0
    grep console /proc/self/mountinfo
    read -r _ _ _ _ group session terminal rest </proc/1/stat; echo $group $session $terminal
    """
    config = _with_command(_base(runc), "sh", "-c", script)
    config["process"]["terminal"] = True
    theirs, mine = runc.in_terminal(config), ours.in_terminal(config)
    assert _terminal(mine) == _terminal(theirs)
    assert "33 rows" in mine or "rows 33" in mine


def _terminal(text: str) -> list[str]:
    """Without what has a number or a time of its own."""
    # runc turns this off, and counts on the caller's terminal to be as it was.
    lines = text.replace(" -onlcr", " onlcr").splitlines()
    mounted = [line.split()[3:6] for line in lines if " - devpts " in line]
    made = [line.split()[:6] for line in lines if line.startswith("crw")]
    others = [x for x in lines if " - " not in x and not x.startswith(("crw", "/proc/"))]
    return [*others, repr(mounted), repr(made)]


@pytest.mark.needs_userns
def test_a_bundle_for_a_user_without_rights_is_as_with_runc(public: Path, user: Caller) -> None:
    theirs = Runtime("runc", [which("runc")], public, user)
    mine = Runtime("ours", command("pyrun-oci"), public, user)
    assert theirs.call("spec", "--rootless").returncode == 0
    config = json.loads((theirs.bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    if theirs.status(_with_command(config, "true"))[0]:
        pytest.skip("runc cannot run its own example without root here")
    config = with_probe(config)
    expected = _normal(theirs.observe(config, group=False), theirs, config)
    found = _differences(expected, _normal(mine.observe(config, group=False), mine, config))
    assert not found, "\n".join(found)
