"""What a good config.json says: every member is read, engines' own files are taken as they are."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.oci.config import parse_config, read_config
from runtime.oci.config_document import MAX_ID, read_document
from runtime.oci.config_process import parse_process
from runtime.oci.config_resources import parse_resources
from runtime.oci.resources import (
    CPU,
    BlockIO,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    NetworkPriority,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.oci.spec import (
    Capabilities,
    Device,
    Hook,
    Hooks,
    IDMapping,
    IOPriority,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    TimeOffset,
    User,
)
from tests.runtime.oci_configs import CONFIGS, FULL, MINIMAL, REMOVED, changed
from tests.support import CHECKOUT, environment, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.runtime.oci_configs import Path_

_MAPPINGS = (
    IDMapping(container_id=0, host_id=1000, size=1),
    IDMapping(container_id=1, host_id=100000, size=65536),
)
_RATES = (ThrottleDevice(major=8, minor=0, rate=600),)


def _parse(document: object) -> Spec:
    return parse_config(document, "config.json")


def _hook(point: str) -> tuple[Hook, ...]:
    return (Hook(path="/bin/hook", args=("hook", point), env=("A=1",), timeout_s=5),)


def test_the_smallest_configuration_is_a_process_and_a_root() -> None:
    assert _parse(MINIMAL) == Spec(process=Process(args=("true",)), root=Root(path="rootfs"))


def test_every_member_of_a_process_is_read() -> None:
    assert _parse(FULL).process == Process(
        args=("sh", "-c", "exit 3"),
        env=("PATH=/bin", "EMPTY="),
        cwd="/root",
        user=User(uid=1, gid=2, umask=0o022, additional_gids=(5, 6)),
        terminal=True,
        console_size=(24, 80),
        capabilities=Capabilities(
            bounding=frozenset({"KILL", "CHOWN"}),
            effective=frozenset({"KILL"}),
            permitted=frozenset({"KILL"}),
            inheritable=frozenset({"CHOWN"}),
            ambient=frozenset({"CHOWN"}),
        ),
        no_new_privileges=True,
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=2**64 - 1),),
        oom_score_adj=-5,
        scheduler=Scheduler(
            policy="SCHED_DEADLINE",
            nice=1,
            flags=("SCHED_FLAG_RESET_ON_FORK",),
            runtime=1_000_000,
            deadline=2_000_000,
            period=3_000_000,
        ),
        io_priority=IOPriority(io_class="IOPRIO_CLASS_BE", priority=4),
        cpu_affinity=("0-1", "0"),
    )


def test_every_limit_is_read() -> None:
    assert _parse(FULL).resources == Resources(
        devices=(
            DeviceRule(allow=False),
            DeviceRule(allow=True, type="c", major=10, minor=229, access="rw"),
        ),
        memory=Memory(
            limit=1 << 30,
            reservation=1 << 29,
            swap=-1,
            kernel=-1,
            kernel_tcp=0,
            swappiness=0,
            disable_oom_killer=False,
            use_hierarchy=True,
            check_before_update=True,
        ),
        cpu=CPU(
            shares=1024,
            quota=-1,
            burst=0,
            period=100000,
            realtime_runtime=950000,
            realtime_period=1000000,
            cpus="0-1",
            mems="0",
            idle=1,
        ),
        pids_limit=100,
        block_io=BlockIO(
            weight=500,
            leaf_weight=300,
            weight_devices=(WeightDevice(major=8, minor=0, weight=500, leaf_weight=300),),
            read_bps=_RATES,
            write_bps=_RATES,
            read_iops=_RATES,
            write_iops=_RATES,
        ),
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),),
        network=Network(class_id=1048577, priorities=(NetworkPriority(name="eth0", priority=5),)),
        rdma=(RdmaLimit(device="mlx5_1", hca_handles=3, hca_objects=10000),),
        unified=(("memory.high", "1073741824"), ("io.max", "8:0 rbps=1\n8:16 rbps=2")),
    )


def test_every_member_of_a_filter_is_read() -> None:
    assert _parse(FULL).seccomp == Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=38,
        architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X32"),
        flags=("SECCOMP_FILTER_FLAG_LOG",),
        syscalls=(
            SyscallRule(names=("read", "write"), action="SCMP_ACT_ALLOW"),
            SyscallRule(
                names=("clone",),
                action="SCMP_ACT_ERRNO",
                errno_ret=1,
                args=(
                    SyscallArgument(
                        index=0, value=2080505856, value_two=1, op="SCMP_CMP_MASKED_EQ"
                    ),
                    SyscallArgument(index=5, value=2**64 - 1, op="SCMP_CMP_NE"),
                ),
            ),
        ),
    )


def test_every_other_member_is_read() -> None:
    spec = _parse(FULL)
    new = "pid mount uts ipc user cgroup time".split()
    rest = Spec(
        process=spec.process,
        resources=spec.resources,
        seccomp=spec.seccomp,
        root=Root(path="rootfs", readonly=True),
        hostname="box",
        domainname="example",
        mounts=(
            Mount(destination="/proc", type="proc", source="proc", options=("nosuid",)),
            Mount(
                destination="/data",
                type="none",
                source="data",
                options=("rbind", "idmap"),
                uid_mappings=_MAPPINGS,
                gid_mappings=_MAPPINGS,
            ),
        ),
        hooks=Hooks(
            prestart=_hook("prestart"),
            create_runtime=_hook("createRuntime"),
            create_container=_hook("createContainer"),
            start_container=_hook("startContainer"),
            poststart=_hook("poststart"),
            poststop=_hook("poststop"),
        ),
        annotations=(("com.example.key", "value"), ("empty", "")),
        namespaces=(
            *(Namespace(type=kind) for kind in new),  # type: ignore[arg-type]
            Namespace(type="network", path="/run/netns/a"),
        ),
        uid_mappings=_MAPPINGS,
        gid_mappings=_MAPPINGS,
        time_offsets=(
            TimeOffset(clock="monotonic", seconds=-5, nanoseconds=7),
            TimeOffset(clock="boottime", seconds=100),
        ),
        devices=(
            Device(path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o666, uid=1, gid=2),
            Device(path="/dev/fifo", type="p", file_mode=0o600),
        ),
        cgroups_path="/parent/box",
        rootfs_propagation="slave",
        sysctl=(
            ("net.ipv4.ip_forward", "1"),
            ("kernel.shmmax", "1 2"),
            ("fs.mqueue.msg_max", "5"),
            ("user.max_user_namespaces", "0"),
        ),
        masked_paths=("/proc/kcore",),
        readonly_paths=("/proc/sys",),
        personality="LINUX32",
    )
    assert spec == rest


def test_members_that_nobody_knows_are_ignored() -> None:
    document = copy.deepcopy(FULL)
    for table in (document, document["process"], document["linux"], document["linux"]["seccomp"]):
        table["com.example.unknown"] = {"anything": [1, None]}
    assert _parse(document) == _parse(FULL)


@pytest.mark.parametrize(
    "path",
    [
        *(("process", name) for name in FULL["process"] if name not in ("args", "cwd")),
        *((name,) for name in FULL if name not in ("ociVersion", "process", "root", "linux")),
        *(("linux", name) for name in ("devices", "resources", "seccomp", "sysctl")),
    ],
    ids=lambda path: ".".join(path),
)
def test_null_is_the_same_as_absent(path: Path_) -> None:
    assert _parse(changed(FULL, path, None)) == _parse(changed(FULL, path, REMOVED))


@pytest.mark.parametrize(
    "version",
    [
        *("1.0.0", "1.0.2", "1.0.2-dev", "1.0.0-rc1", "1.0.0-rc.2", "1.1.0+dev"),
        *("1.1.0-rc.1+x-y.5", "1.2.0", "1.2.1", "1.3.0", "1.3.10"),
    ],
)
def test_every_version_from_1_0_to_1_3_is_accepted(version: str) -> None:
    _parse(changed(MINIMAL, ("ociVersion",), version))


ACCEPTED: dict[str, tuple[Path_, object, str, object]] = {
    "a relative destination is below the root": (
        *(("mounts",), [{"destination": "proc"}]),
        *("mounts", (Mount(destination="/proc"),)),
    ),
    "empty options of a mount mean nothing": (
        *(("mounts",), [{"destination": "/a", "options": ["", "ro"]}]),
        *("mounts", (Mount(destination="/a", options=("ro",)),)),
    ),
    "an empty path of a namespace is none": (
        *(("linux",), {"namespaces": [{"type": "pid", "path": ""}]}),
        *("namespaces", (Namespace(type="pid"),)),
    ),
    "no hooks are still hooks": (("hooks",), {}, "hooks", Hooks()),
    "no limits are still limits": (("linux",), {"resources": {}}, "resources", Resources()),
    "a mode with the type of the file": (
        *(("linux",), {"devices": [{"path": "/d", "type": "p", "fileMode": 0o010644}]}),
        *("devices", (Device(path="/d", type="p", file_mode=0o644),)),
    ),
    "ids up to the last": (
        *(("process", "user"), {"uid": MAX_ID, "gid": MAX_ID}),
        *("process", Process(args=("true",), user=User(uid=MAX_ID, gid=MAX_ID))),
    ),
    "wildcards as Go's types have them": (
        *(("linux",), {"resources": {"devices": [{"allow": True, "major": -1, "minor": -1}]}}),
        *("resources", Resources(devices=(DeviceRule(allow=True),))),
    ),
    "letters of an access in any order": (
        *(("linux",), {"resources": {"devices": [{"allow": True, "access": "mwrr"}]}}),
        *("resources", Resources(devices=(DeviceRule(allow=True, access="rwm"),))),
    ),
    "no limit of processes": (
        *(("linux",), {"resources": {"pids": {"limit": -1}}}),
        *("resources", Resources(pids_limit=-1)),
    ),
    "blanks in a list of CPUs": (
        *(("process", "execCPUAffinity"), {"initial": "0 - 2, 4,", "final": ""}),
        *("process", Process(args=("true",), cpu_affinity=("0-2,4", ""))),
    ),
    "a propagation that only engines write": (
        *(("linux",), {"rootfsPropagation": "rslave"}),
        *("rootfs_propagation", "rslave"),
    ),
    "a relative path of a control group": (
        *(("linux",), {"cgroupsPath": "system.slice:podman:a..b"}),
        *("cgroups_path", "system.slice:podman:a..b"),
    ),
    "a joined user namespace without mappings": (
        *(("linux",), {"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}),
        *("namespaces", (Namespace(type="user", path="/proc/1/ns/user"),)),
    ),
    "the whole range of ids": (
        ("linux",),
        {
            "namespaces": [{"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 0, "size": MAX_ID + 1}],
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": MAX_ID + 1}],
        },
        "uid_mappings",
        (IDMapping(container_id=0, host_id=0, size=MAX_ID + 1),),
    ),
    "neighbouring ranges of ids in any order": (
        ("linux",),
        {
            "namespaces": [{"type": "user"}],
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
            "uidMappings": [
                {"containerID": 10, "hostID": 0, "size": 10},
                {"containerID": 0, "hostID": 10, "size": 10},
            ],
        },
        "uid_mappings",
        (
            IDMapping(container_id=10, host_id=0, size=10),
            IDMapping(container_id=0, host_id=10, size=10),
        ),
    ),
    "bytes that are not UTF-8, as Python writes them": (
        *(("process", "args"), ["\udcff", "é"]),
        *("process", Process(args=("\udcff", "é"))),
    ),
}


@pytest.mark.parametrize(("path", "value", "field", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_it_accepts(path: Path_, value: object, field: str, expected: object) -> None:
    assert getattr(_parse(changed(MINIMAL, path, value)), field) == expected


def test_a_hostname_has_as_many_bytes_as_the_kernel_takes() -> None:
    linux = {"namespaces": [{"type": "uts"}]}
    document = changed(changed(MINIMAL, ("linux",), linux), ("hostname",), "h" * 64)
    assert _parse(document).hostname == "h" * 64


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net.ipv4.conf.eth0/5.forwarding", "net.ipv4.conf.eth0/5.forwarding"),
        ("net/ipv4/conf/eth0.5/forwarding", "net.ipv4.conf.eth0/5.forwarding"),
    ],
)
def test_sysctls_may_be_written_with_slashes(given: str, expected: str) -> None:
    linux = {"namespaces": [{"type": "network"}], "sysctl": {given: "1"}}
    assert _parse(changed(MINIMAL, ("linux",), linux)).sysctl == ((expected, "1"),)


def test_a_sysctl_of_a_joined_namespace_may_be_set_unless_it_is_our_own() -> None:
    ours = f"/proc/{os.getpid()}/ns/net"
    for path, refused in (("/run/netns/missing", False), (ours, True)):
        linux = {
            "namespaces": [{"type": "network", "path": path}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
        }
        document = changed(MINIMAL, ("linux",), linux)
        if refused:
            with pytest.raises(ConfigError, match="needs a network namespace"):
                _parse(document)
        else:
            assert _parse(document).sysctl


# --- other programs' files ------------------------------------------------------------------


def test_podmans_configuration_is_read() -> None:
    spec = read_config(str(CONFIGS / "podman-4.3.json"))
    assert spec.process.user == User(uid=1000, gid=1000, umask=0o022, additional_gids=(1000, 50))
    assert spec.process.capabilities.effective == frozenset()
    assert "NET_RAW" in spec.process.capabilities.bounding
    assert spec.devices == (
        Device(path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o600),
    )
    assert spec.resources is not None
    assert spec.resources.memory == Memory(limit=64 << 20, swap=128 << 20)
    assert spec.seccomp is not None
    assert len(spec.seccomp.syscalls) == 19
    assert spec.sysctl == (("net.ipv4.ip_forward", "1"),)


def test_podmans_configuration_with_a_user_namespace_is_read() -> None:
    spec = read_config(str(CONFIGS / "podman-4.3-userns.json"))
    assert spec.uid_mappings == (IDMapping(container_id=0, host_id=100000, size=2000),)


def test_podmans_process_for_exec_is_read() -> None:
    path = str(CONFIGS / "podman-4.3-exec.json")
    process = parse_process(read_document(path), path)
    assert (process.args, process.user) == (("true",), User(uid=5))


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(argv, marks=pytest.mark.needs_program(argv[0]), id=" ".join(argv))
        for argv in (("runc", "spec"), ("runc", "spec", "--rootless"), ("crun", "spec"))
    ],
)
def test_an_example_of_another_runtime_is_read(argv: tuple[str, ...], tmp_path: Path) -> None:
    made = run(argv, cwd=tmp_path)
    assert made.status == 0, made.stderr
    spec = read_config(str(tmp_path / "config.json"))
    assert spec.process.args == ("sh",)
    assert spec.process.terminal
    assert bool(spec.uid_mappings) == ("--rootless" in argv)


def test_limits_alone_are_read_for_update() -> None:
    document = {"memory": {"limit": 5}, "pids": {"limit": 0}, "cpu": {"cpus": ""}}
    assert parse_resources(document, "r.json") == Resources(memory=Memory(limit=5), pids_limit=0)


# --- files ----------------------------------------------------------------------------------


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^/none/config\.json: No such file or directory$"):
        read_config("/none/config.json")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory$"):
        read_config(str(tmp_path))


def test_a_file_that_is_no_json_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "ociVersion": "1.0.0",\n}\n')
    with pytest.raises(ConfigError, match=r"config\.json: not valid JSON$") as caught:
        read_config(str(path))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("line 3, column 1: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b" " * (5 << 20)],
    ids=["empty", "not UTF-8", "nested", "a long number", "too large"],
)
def test_a_hostile_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="JSON"):
        read_config(str(path))


def test_reading_loads_no_slow_module() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from runtime.oci.config import read_config\n"
        f"read_config({str(CONFIGS / 'podman-4.3.json')!r})\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ended.stdout.split())
    slow = "json re enum typing dataclasses collections functools difflib contextlib pathlib stat"
    assert "runtime.oci.config_seccomp" in loaded
    assert loaded & set(slow.split()) == set()
