"""What a bad config.json is told: one line that names the member, its value, and what is right."""

from __future__ import annotations

import pytest

from runtime.errors import ConfigError
from runtime.oci.config import parse_config
from runtime.oci.config_process import parse_process
from runtime.oci.config_resources import parse_resources
from tests.runtime.oci_configs import FULL, MINIMAL, REMOVED, changed, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.runtime.oci_configs import Path_

    Case = tuple[Path_, object, str]

_USER = ("process", "user")
_RLIMITS = ("process", "rlimits")
_SCHEDULER = ("process", "scheduler")
_RESOURCES = ("linux", "resources")
_SECCOMP = ("linux", "seccomp")
_SYSCTL = ("linux", "sysctl")
_IDS = "an integer from 0 to 4294967294 expected"
_FLOOR = "an integer from 0 to 18446744073709551615 expected"

# Each is a change to the configuration with every member, and what is said about it.
CASES: list[Case] = [
    # --- the document
    ((), [], "is an array, an object expected"),
    ((), None, "is null, an object expected"),
    ((), "x" * 200, f'is "{"x" * 96}..., an object expected'),
    (("ociVersion",), REMOVED, "ociVersion: is missing"),
    (("ociVersion",), 1, "ociVersion: is 1, a string expected"),
    (("ociVersion",), "", "ociVersion: is empty"),
    (("ociVersion",), "1.0", 'ociVersion: "1.0" is not a version, such as 1.2.0'),
    (("ociVersion",), "1.00.0", 'ociVersion: "1.00.0" is not a version, such as 1.2.0'),
    (("ociVersion",), "1.0.0-", 'ociVersion: "1.0.0-" is not a version, such as 1.2.0'),
    (("ociVersion",), "1.0.0-a b", 'ociVersion: "1.0.0-a b" is not a version, such as 1.2.0'),
    (("ociVersion",), "v1.0.0", 'ociVersion: "v1.0.0" is not a version, such as 1.2.0'),
    (("ociVersion",), "0.9.0", "ociVersion: is 0.9.0, only 1.0 to 1.3 are supported"),
    (("ociVersion",), "1.4.0", "ociVersion: is 1.4.0, only 1.0 to 1.3 are supported"),
    (("ociVersion",), "2.0.0", "ociVersion: is 2.0.0, only 1.0 to 1.3 are supported"),
    *(
        ((name,), {}, f"{name}: is not supported: containers here are Linux containers")
        for name in ("windows", "solaris", "vm", "zos", "freebsd")
    ),
    (("process",), REMOVED, "process: is missing: without one there is nothing to start"),
    (("process",), [], "process: is an array, an object expected"),
    (("linux",), "x", 'linux: is "x", an object expected'),
    # --- the process
    (("process", "args"), REMOVED, "process.args: is missing"),
    (("process", "args"), [], "process.args: is empty"),
    (("process", "args"), "sh -c true", 'process.args: is "sh -c true", an array expected'),
    (("process", "args", 1), 5, "process.args[1]: is 5, a string expected"),
    (("process", "args", 1), None, "process.args[1]: is null, a string expected"),
    (("process", "args", 0), "a\0b", r'process.args[0]: "a\u0000b" has a NUL in it'),
    (("process", "args", 0), "\ud800", r'process.args[0]: "\ud800" is not Unicode text'),
    (("process", "env", 0), "NAME", 'process.env[0]: "NAME" is not NAME=VALUE'),
    (("process", "env", 1), "=x", 'process.env[1]: "=x" is not NAME=VALUE'),
    (("process", "env"), {"A": "b"}, "process.env: is an object, an array expected"),
    (("process", "cwd"), REMOVED, "process.cwd: is missing"),
    (("process", "cwd"), "", "process.cwd: is empty"),
    (("process", "cwd"), "root", 'process.cwd: "root" is not an absolute path'),
    (("process", "terminal"), 1, "process.terminal: is 1, true or false expected"),
    (("process", "terminal"), "yes", 'process.terminal: is "yes", true or false expected'),
    (
        ("process", "consoleSize", "height"),
        70000,
        "process.consoleSize.height: is 70000, an integer from 0 to 65535 expected",
    ),
    (("process", "consoleSize", "width"), REMOVED, "process.consoleSize.width: is missing"),
    ((*_USER, "uid"), REMOVED, "process.user.uid: is missing"),
    ((*_USER, "gid"), REMOVED, "process.user.gid: is missing"),
    ((*_USER, "uid"), -1, f"process.user.uid: is -1, {_IDS}"),
    ((*_USER, "gid"), 2**32 - 1, f"process.user.gid: is 4294967295, {_IDS}"),
    ((*_USER, "uid"), 1.0, f"process.user.uid: is 1.0, {_IDS}"),
    ((*_USER, "uid"), True, f"process.user.uid: is true, {_IDS}"),
    ((*_USER, "uid"), "root", f'process.user.uid: is "root", {_IDS}'),
    ((*_USER, "umask"), 512, "process.user.umask: is 512, an integer from 0 to 511 expected"),
    (
        (*_USER, "additionalGids", 1),
        -5,
        f"process.user.additionalGids[1]: is -5, {_IDS}",
    ),
    (
        ("process", "capabilities", "bounding", 1),
        "CAP_FOO",
        'process.capabilities.bounding[1]: "CAP_FOO" is not a capability',
    ),
    (
        ("process", "capabilities", "ambient", 0),
        "KILL",
        'process.capabilities.ambient[0]: "KILL" is not a capability',
    ),
    (
        ("process", "capabilities", "effective", 0),
        "cap_kill",
        'process.capabilities.effective[0]: "cap_kill" is not a capability',
    ),
    (
        (*_RLIMITS, 0, "type"),
        "RLIMIT_FILES",
        'process.rlimits[0].type: "RLIMIT_FILES" is not a resource limit',
    ),
    (
        (*_RLIMITS, 1),
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
        'process.rlimits[1].type: "RLIMIT_NOFILE" is given twice',
    ),
    (
        (*_RLIMITS, 0, "hard"),
        5,
        "process.rlimits[0].soft: is 1024, more than hard, which is 5",
    ),
    ((*_RLIMITS, 0, "soft"), REMOVED, "process.rlimits[0].soft: is missing"),
    ((*_RLIMITS, 0, "hard"), 2**64, f"process.rlimits[0].hard: is {2**64}, {_FLOOR}"),
    (
        ("process", "oomScoreAdj"),
        1001,
        "process.oomScoreAdj: is 1001, an integer from -1000 to 1000 expected",
    ),
    ((*_SCHEDULER, "policy"), REMOVED, "process.scheduler.policy: is missing"),
    (
        (*_SCHEDULER, "policy"),
        "SCHED_NORMAL",
        'process.scheduler.policy: "SCHED_NORMAL" is not a scheduling policy',
    ),
    (
        (*_SCHEDULER, "policy"),
        "SCHED_OTHER",
        "process.scheduler.runtime: is for SCHED_DEADLINE, not for SCHED_OTHER",
    ),
    (
        _SCHEDULER,
        {"policy": "SCHED_BATCH", "period": 1},
        "process.scheduler.period: is for SCHED_DEADLINE, not for SCHED_BATCH",
    ),
    (_SCHEDULER, {"policy": "SCHED_FIFO"}, "process.scheduler.priority: is missing"),
    (
        _SCHEDULER,
        {"policy": "SCHED_RR", "priority": 100},
        "process.scheduler.priority: is 100, an integer from 1 to 99 expected",
    ),
    (
        _SCHEDULER,
        {"policy": "SCHED_OTHER", "priority": 1},
        "process.scheduler.priority: is 1, an integer from 0 to 0 expected",
    ),
    (
        (*_SCHEDULER, "nice"),
        20,
        "process.scheduler.nice: is 20, an integer from -20 to 19 expected",
    ),
    (
        (*_SCHEDULER, "flags", 0),
        "SCHED_FLAG_X",
        'process.scheduler.flags[0]: "SCHED_FLAG_X" is not a scheduling flag',
    ),
    (
        ("process", "ioPriority", "class"),
        "IOPRIO_CLASS_NONE",
        'process.ioPriority.class: "IOPRIO_CLASS_NONE" is not a class of I/O priority',
    ),
    (
        ("process", "ioPriority", "priority"),
        8,
        "process.ioPriority.priority: is 8, an integer from 0 to 7 expected",
    ),
    (
        ("process", "execCPUAffinity", "initial"),
        "0,x",
        'process.execCPUAffinity.initial: "x" is neither a CPU nor a range of them',
    ),
    (
        ("process", "execCPUAffinity", "final"),
        "3-1",
        'process.execCPUAffinity.final: "3-1" is neither a CPU nor a range of them',
    ),
    (
        ("process", "execCPUAffinity", "final"),
        "9999999999",
        'process.execCPUAffinity.final: "9999999999" is neither a CPU nor a range of them',
    ),
    (
        ("process", "apparmorProfile"),
        "docker-default",
        'process.apparmorProfile: is "docker-default", but AppArmor profiles are not supported',
    ),
    (
        ("process", "selinuxLabel"),
        "a:b:c:s0",
        'process.selinuxLabel: is "a:b:c:s0", but SELinux labels are not supported',
    ),
    # --- root, names, mounts, hooks, annotations
    (("root",), REMOVED, "root: is missing"),
    (("root", "path"), "", "root.path: is empty"),
    (("root", "readonly"), "no", 'root.readonly: is "no", true or false expected'),
    (("hostname",), "é" * 33, f'hostname: "{"é" * 33}" is longer than 64 bytes'),
    (("domainname",), 5, "domainname: is 5, a string expected"),
    (("mounts",), {}, "mounts: is an object, an array expected"),
    (("mounts", 0), "/proc", 'mounts[0]: is "/proc", an object expected'),
    (("mounts", 0, "destination"), REMOVED, "mounts[0].destination: is missing"),
    (("mounts", 0, "destination"), "", "mounts[0].destination: is empty"),
    (("mounts", 0, "options"), "ro", 'mounts[0].options: is "ro", an array expected'),
    (("mounts", 0, "options", 0), ["ro"], "mounts[0].options[0]: is an array, a string expected"),
    (
        ("mounts", 1, "gidMappings"),
        REMOVED,
        "mounts[1].gidMappings: is missing, but uidMappings is there",
    ),
    (
        ("mounts", 1, "uidMappings"),
        [],
        "mounts[1].uidMappings: is missing, but gidMappings is there",
    ),
    (
        ("mounts", 1, "uidMappings", 1, "size"),
        0,
        "mounts[1].uidMappings[1].size: is 0, an integer from 1 to 4294967295 expected",
    ),
    (("hooks",), [], "hooks: is an array, an object expected"),
    (("hooks", "prestart"), {}, "hooks.prestart: is an object, an array expected"),
    (("hooks", "poststop", 0, "path"), REMOVED, "hooks.poststop[0].path: is missing"),
    (
        ("hooks", "createRuntime", 0, "path"),
        "hook",
        'hooks.createRuntime[0].path: "hook" is not an absolute path',
    ),
    (
        ("hooks", "poststart", 0, "timeout"),
        0,
        "hooks.poststart[0].timeout: is 0, an integer from 1 to 2147483647 expected",
    ),
    (("hooks", "poststart", 0, "args"), "a", 'hooks.poststart[0].args: is "a", an array expected'),
    (("annotations",), [], "annotations: is an array, an object expected"),
    (("annotations", "a.b"), 5, 'annotations["a.b"]: is 5, a string expected'),
    (("annotations", ""), "x", 'annotations[""]: has an empty name'),
    # --- namespaces and ids
    (
        ("linux", "namespaces", 0, "type"),
        "net",
        'linux.namespaces[0].type: "net" is not a type of namespace',
    ),
    (("linux", "namespaces", 0, "type"), REMOVED, "linux.namespaces[0].type: is missing"),
    (
        ("linux", "namespaces", 1, "type"),
        "pid",
        'linux.namespaces[1].type: "pid" is given twice',
    ),
    (
        ("linux", "namespaces", 7, "path"),
        "netns/a",
        'linux.namespaces[7].path: "netns/a" is not an absolute path',
    ),
    (("linux", "uidMappings", 0, "hostID"), -1, f"linux.uidMappings[0].hostID: is -1, {_IDS}"),
    (
        ("linux", "gidMappings", 0, "containerID"),
        REMOVED,
        "linux.gidMappings[0].containerID: is missing",
    ),
    (
        ("linux", "gidMappings", 1, "size"),
        2**32 - 1,
        "linux.gidMappings[1].size: is 4294967295, so that the range ends after 4294967294",
    ),
    (
        ("linux", "uidMappings", 1, "containerID"),
        0,
        "linux.uidMappings[1].containerID: 0 is mapped twice",
    ),
    (
        ("linux", "uidMappings", 0),
        {"containerID": 70000, "hostID": 100005, "size": 1},
        "linux.uidMappings[0].hostID: 100005 is mapped twice",
    ),
    (
        ("linux", "uidMappings"),
        [{"containerID": i, "hostID": i, "size": 1} for i in range(341)],
        "linux.uidMappings: has 341 entries, at most 340 expected",
    ),
    (
        ("linux", "uidMappings"),
        REMOVED,
        "linux.uidMappings: is missing: the new user namespace would have no ids",
    ),
    (
        ("linux", "gidMappings"),
        [],
        "linux.gidMappings: is missing: the new user namespace would have no ids",
    ),
    (
        ("linux", "timeOffsets", "realtime"),
        {"secs": 1},
        'linux.timeOffsets["realtime"]: "realtime" is not a clock',
    ),
    (
        ("linux", "timeOffsets", "boottime", "nanosecs"),
        10**9,
        'linux.timeOffsets["boottime"].nanosecs: is 1000000000, '
        "an integer from 0 to 999999999 expected",
    ),
    # --- devices, cgroups, the rest of linux
    (("linux", "devices", 0, "type"), "x", 'linux.devices[0].type: "x" is not a type of device'),
    (
        ("linux", "devices", 0, "path"),
        "dev/fuse",
        'linux.devices[0].path: "dev/fuse" is not an absolute path',
    ),
    (("linux", "devices", 0, "major"), REMOVED, "linux.devices[0].major: is missing"),
    (
        ("linux", "devices", 0, "minor"),
        -1,
        "linux.devices[0].minor: is -1, an integer from 0 to 1048575 expected",
    ),
    (
        ("linux", "devices", 0, "fileMode"),
        0o200000,
        "linux.devices[0].fileMode: is 65536, an integer from 0 to 65535 expected",
    ),
    (
        ("linux", "cgroupsPath"),
        "/a/../../b",
        'linux.cgroupsPath: "/a/../../b" is not a path below a hierarchy\'s root',
    ),
    (
        ("linux", "rootfsPropagation"),
        "slaves",
        'linux.rootfsPropagation: "slaves" is not a kind of mount propagation',
    ),
    (("linux", "maskedPaths", 0), "proc", 'linux.maskedPaths[0]: "proc" is not an absolute path'),
    (("linux", "readonlyPaths", 0), "", 'linux.readonlyPaths[0]: "" is not an absolute path'),
    (
        ("linux", "personality", "domain"),
        "LINUX64",
        'linux.personality.domain: "LINUX64" is not an execution domain',
    ),
    (
        ("linux", "personality", "flags"),
        ["ADDR_NO_RANDOMIZE"],
        'linux.personality.flags[0]: "ADDR_NO_RANDOMIZE" is not a flag of a personality',
    ),
    (
        ("linux", "mountLabel"),
        "a:b:c",
        'linux.mountLabel: is "a:b:c", but SELinux labels are not supported',
    ),
    (("linux", "intelRdt"), {}, "linux.intelRdt: is not supported"),
    (("linux", "memoryPolicy"), {"mode": "MPOL_BIND"}, "linux.memoryPolicy: is not supported"),
    (("linux", "netDevices"), {"eth0": {}}, 'linux.netDevices["eth0"]: is not supported'),
    # --- sysctls
    (
        (*_SYSCTL, "kernel.core_pattern"),
        "|/x",
        'linux.sysctl["kernel.core_pattern"]: is not of a namespace: it would change the machine',
    ),
    (
        (*_SYSCTL, "vm/swappiness"),
        "1",
        'linux.sysctl["vm/swappiness"]: is not of a namespace: it would change the machine',
    ),
    (
        (*_SYSCTL, "kernel.semx"),
        "1",
        'linux.sysctl["kernel.semx"]: is not of a namespace: it would change the machine',
    ),
    (
        (*_SYSCTL, "kernel.hostname"),
        "x",
        'linux.sysctl["kernel.hostname"]: cannot be set here',
    ),
    (
        (*_SYSCTL, "kernel/domainname"),
        "x",
        'linux.sysctl["kernel/domainname"]: cannot be set here',
    ),
    (
        (*_SYSCTL, "net/ipv4/ip_forward"),
        "0",
        'linux.sysctl["net/ipv4/ip_forward"]: is given twice',
    ),
    (
        (*_SYSCTL, "net"),
        "0",
        'linux.sysctl["net"]: is not of a namespace: it would change the machine',
    ),
    ((*_SYSCTL, "net..x"), "0", 'linux.sysctl["net..x"]: is not the name of a sysctl'),
    ((*_SYSCTL, "net.x."), "0", 'linux.sysctl["net.x."]: is not the name of a sysctl'),
    (
        (*_SYSCTL, "net.//.//.kernel.core_pattern"),
        "0",
        'linux.sysctl["net.//.//.kernel.core_pattern"]: is not the name of a sysctl',
    ),
    (
        (*_SYSCTL, "net/../kernel/core_pattern"),
        "0",
        'linux.sysctl["net/../kernel/core_pattern"]: is not the name of a sysctl',
    ),
    (
        (*_SYSCTL, "net.x"),
        "1\nkernel.core_pattern=2",
        r'linux.sysctl["net.x"]: is "1\nkernel.core_pattern=2", a value of one line expected',
    ),
    ((*_SYSCTL, "net.x"), "a\0b", r'linux.sysctl["net.x"]: "a\u0000b" has a NUL in it'),
    ((*_SYSCTL, "net.x"), 1, 'linux.sysctl["net.x"]: is 1, a string expected'),
    # --- system calls
    ((*_SECCOMP, "defaultAction"), REMOVED, "linux.seccomp.defaultAction: is missing"),
    (
        (*_SECCOMP, "defaultAction"),
        "SCMP_ACT_DENY",
        'linux.seccomp.defaultAction: "SCMP_ACT_DENY" is not an action',
    ),
    (
        (*_SECCOMP, "defaultAction"),
        "SCMP_ACT_LOG",
        "linux.seccomp.defaultErrnoRet: does not go with SCMP_ACT_LOG",
    ),
    (
        (*_SECCOMP, "defaultErrnoRet"),
        4096,
        "linux.seccomp.defaultErrnoRet: is 4096, an integer from 0 to 4095 expected",
    ),
    (
        (*_SECCOMP, "syscalls", 0, "errnoRet"),
        1,
        "linux.seccomp.syscalls[0].errnoRet: does not go with SCMP_ACT_ALLOW",
    ),
    (
        (*_SECCOMP, "syscalls", 0, "action"),
        "SCMP_ACT_NOTIFY",
        'linux.seccomp.syscalls[0].action: is "SCMP_ACT_NOTIFY", but listeners are not supported',
    ),
    (
        (*_SECCOMP, "listenerPath"),
        "/run/x.sock",
        'linux.seccomp.listenerPath: is "/run/x.sock", but listeners are not supported',
    ),
    (
        (*_SECCOMP, "architectures", 0),
        "SCMP_ARCH_AMD64",
        'linux.seccomp.architectures[0]: "SCMP_ARCH_AMD64" is not an architecture',
    ),
    (
        (*_SECCOMP, "flags", 0),
        "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        'linux.seccomp.flags[0]: "SECCOMP_FILTER_FLAG_NEW_LISTENER" is not a flag of a filter',
    ),
    ((*_SECCOMP, "syscalls", 0, "names"), [], "linux.seccomp.syscalls[0].names: is empty"),
    ((*_SECCOMP, "syscalls", 0, "names"), REMOVED, "linux.seccomp.syscalls[0].names: is missing"),
    ((*_SECCOMP, "syscalls", 0, "names", 1), "", "linux.seccomp.syscalls[0].names[1]: is empty"),
    (
        (*_SECCOMP, "syscalls", 1, "args", 0, "index"),
        6,
        "linux.seccomp.syscalls[1].args[0].index: is 6, an integer from 0 to 5 expected",
    ),
    (
        (*_SECCOMP, "syscalls", 1, "args", 0, "value"),
        -1,
        f"linux.seccomp.syscalls[1].args[0].value: is -1, {_FLOOR}",
    ),
    (
        (*_SECCOMP, "syscalls", 1, "args", 1, "op"),
        "==",
        'linux.seccomp.syscalls[1].args[1].op: "==" is not an operator',
    ),
    # --- limits
    (
        (*_RESOURCES, "devices", 0, "allow"),
        REMOVED,
        "linux.resources.devices[0].allow: is missing",
    ),
    (
        (*_RESOURCES, "devices", 0, "access"),
        "rx",
        'linux.resources.devices[0].access: "rx" has other letters than r, w and m',
    ),
    (
        (*_RESOURCES, "devices", 1, "type"),
        "u",
        'linux.resources.devices[1].type: "u" is not a type of device',
    ),
    (
        (*_RESOURCES, "devices", 1, "major"),
        -2,
        "linux.resources.devices[1].major: is -2, an integer from -1 to 4095 expected",
    ),
    (
        (*_RESOURCES, "memory", "limit"),
        -2,
        "linux.resources.memory.limit: is -2, an integer from -1 to 9223372036854775807 expected",
    ),
    (
        (*_RESOURCES, "memory", "limit"),
        "64m",
        'linux.resources.memory.limit: is "64m", '
        "an integer from -1 to 9223372036854775807 expected",
    ),
    (
        (*_RESOURCES, "memory", "swappiness"),
        101,
        "linux.resources.memory.swappiness: is 101, an integer from 0 to 100 expected",
    ),
    (
        (*_RESOURCES, "memory", "disableOOMKiller"),
        0,
        "linux.resources.memory.disableOOMKiller: is 0, true or false expected",
    ),
    ((*_RESOURCES, "cpu", "shares"), -1, f"linux.resources.cpu.shares: is -1, {_FLOOR}"),
    (
        (*_RESOURCES, "cpu", "idle"),
        2,
        "linux.resources.cpu.idle: is 2, an integer from 0 to 1 expected",
    ),
    (
        (*_RESOURCES, "cpu", "cpus"),
        [0],
        "linux.resources.cpu.cpus: is an array, a string expected",
    ),
    (
        (*_RESOURCES, "pids", "limit"),
        1.5,
        "linux.resources.pids.limit: is 1.5, an integer from -1 to 9223372036854775807 expected",
    ),
    (
        (*_RESOURCES, "blockIO", "weight"),
        65536,
        "linux.resources.blockIO.weight: is 65536, an integer from 0 to 65535 expected",
    ),
    (
        (*_RESOURCES, "blockIO", "weightDevice", 0),
        {"major": 8, "minor": 0},
        "linux.resources.blockIO.weightDevice[0].weight: is missing, and so is leafWeight",
    ),
    (
        (*_RESOURCES, "blockIO", "throttleReadBpsDevice", 0, "rate"),
        REMOVED,
        "linux.resources.blockIO.throttleReadBpsDevice[0].rate: is missing",
    ),
    (
        (*_RESOURCES, "hugepageLimits", 0, "pageSize"),
        "../2MB",
        'linux.resources.hugepageLimits[0].pageSize: "../2MB" is not a size such as "2MB"',
    ),
    (
        (*_RESOURCES, "network", "classID"),
        2**32,
        "linux.resources.network.classID: is 4294967296, an integer from 0 to 4294967295 expected",
    ),
    (
        (*_RESOURCES, "network", "priorities", 0, "name"),
        "eth0 5",
        'linux.resources.network.priorities[0].name: "eth0 5" is not the name of a device',
    ),
    (
        (*_RESOURCES, "rdma", "mlx5_1"),
        {},
        'linux.resources.rdma["mlx5_1"].hcaHandles: is missing, and so is hcaObjects',
    ),
    (
        (*_RESOURCES, "unified", "x/../../cgroup.procs"),
        "1",
        'linux.resources.unified["x/../../cgroup.procs"]: is not a file of a control group',
    ),
    (
        (*_RESOURCES, "unified", ".."),
        "1",
        'linux.resources.unified[".."]: is not a file of a control group',
    ),
]


def _message(document: object) -> tuple[str, str | None]:
    with pytest.raises(ConfigError) as caught:
        parse_config(document, "config.json")
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(("path", "value", "message"), CASES, ids=[case[2][:80] for case in CASES])
def test_the_error_is(path: Path_, value: object, message: str) -> None:
    assert _message(changed(FULL, path, value))[0] == f"config.json: {message}"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"hostname": "box"},
            'hostname: is "box", but there is no uts namespace for it',
        ),
        (
            {"domainname": "box"},
            'domainname: is "box", but there is no uts namespace for it',
        ),
        (
            {"linux": {"uidMappings": FULL["linux"]["uidMappings"]}},
            "linux.uidMappings: needs a user namespace",
        ),
        (
            {"linux": {"gidMappings": FULL["linux"]["gidMappings"]}},
            "linux.gidMappings: needs a user namespace",
        ),
        (
            {"linux": {"timeOffsets": {"boottime": {"secs": 1}}}},
            "linux.timeOffsets: needs a new time namespace",
        ),
        (
            {
                "linux": {
                    "namespaces": [{"type": "time", "path": "/proc/1/ns/time"}],
                    "timeOffsets": {"boottime": {"secs": 1}},
                }
            },
            "linux.timeOffsets: needs a new time namespace",
        ),
        (
            {"linux": {"maskedPaths": ["/proc/kcore"]}},
            "linux.maskedPaths: needs a mount namespace",
        ),
        (
            {"linux": {"readonlyPaths": ["/proc/sys"]}},
            "linux.readonlyPaths: needs a mount namespace",
        ),
        (
            {"mounts": [{"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}]},
            "mounts[0].options: asks for the user namespace's ids, but there is none",
        ),
        (
            {"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}},
            'linux.sysctl["net.ipv4.ip_forward"]: needs a network namespace of the '
            "container's own",
        ),
        (
            {"linux": {"sysctl": {"kernel.msgmax": "1"}, "namespaces": [{"type": "network"}]}},
            'linux.sysctl["kernel.msgmax"]: needs an ipc namespace of the container\'s own',
        ),
        (
            {"linux": {"sysctl": {"fs/mqueue/msg_max": "1"}}},
            'linux.sysctl["fs/mqueue/msg_max"]: needs an ipc namespace of the container\'s own',
        ),
        (
            {"linux": {"sysctl": {"user.max_pid_namespaces": "1"}}},
            'linux.sysctl["user.max_pid_namespaces"]: needs a user namespace of the '
            "container's own",
        ),
    ],
)
def test_what_needs_a_namespace_is_refused_without_it(
    members: dict[str, object], message: str
) -> None:
    assert _message(MINIMAL | members)[0] == f"config.json: {message}"


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        (("process", "capabilities", "bounding", 0), "CAP_FOWNR", 'did you mean "CAP_FOWNER"?'),
        (("process", "rlimits", 0, "type"), "NOFILE", 'did you mean "RLIMIT_NOFILE"?'),
        (("linux", "namespaces", 0, "type"), "mnt", 'did you mean "mount"?'),
        ((*_SECCOMP, "defaultAction"), "SCMP_ACT_ALOW", 'did you mean "SCMP_ACT_ALLOW"?'),
        ((*_SYSCTL, "kernel.hostname"), "x", "there is a member hostname for it"),
        (
            ("process", "selinuxLabel"),
            "a:b:c",
            "--security-opt label=disable, to an engine, asks for none",
        ),
        (("linux", "namespaces", 0, "type"), "Z" * 5000, None),
    ],
)
def test_the_hint_is(path: Path_, value: object, hint: str | None) -> None:
    assert _message(changed(FULL, path, value))[1] == hint


def test_a_process_alone_is_named_by_its_file() -> None:
    with pytest.raises(ConfigError, match=r'^p\.json: cwd: "x" is not an absolute path$'):
        parse_process({"args": ["a"], "cwd": "x"}, "p.json")


def test_limits_alone_are_named_by_their_file() -> None:
    with pytest.raises(ConfigError, match=r"^r\.json: memory: is 5, an object expected$"):
        parse_resources({"memory": 5}, "r.json")


# --- anything at all ------------------------------------------------------------------------

ODD: list[object] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63) - 1, 0.5, 1e300),
    *(float("nan"), float("inf"), "", "x", "/", "\0", "\n", "\ud800", "\udcff", "é", "a" * 5000),
    *([], [None], [[]], [{}], ["x"], [0], {}, {"": None}, {"x": "y"}, {"x\n": {}}, REMOVED),
]


def _check(document: object) -> bool:
    """Whether it is refused; if so, it is by one line."""
    try:
        parse_config(document, "config.json")
    except ConfigError as error:
        message = error.message
    else:
        return False
    assert message.startswith("config.json: ")
    assert message.isprintable()
    return True


@pytest.mark.parametrize(
    "value", ODD, ids=lambda value: "removed" if value is REMOVED else repr(value)[:30]
)
def test_any_value_at_any_place_is_read_or_refused_by_one_line(value: object) -> None:
    refused = sum(_check(changed(FULL, path, value)) for path in places(FULL) if path)
    assert refused > 0
