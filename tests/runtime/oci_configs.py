"""Configurations to test with: the smallest one, one with every member, changed ones."""

from __future__ import annotations

import copy
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Path_ = tuple[str | int, ...]

CONFIGS = Path(__file__).parent / "configs"
REMOVED = object()  # as a value: the member is taken away

MINIMAL: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "process": {"args": ["true"], "cwd": "/"},
    "root": {"path": "rootfs"},
}


def _mappings() -> list[dict[str, int]]:
    return [
        {"containerID": 0, "hostID": 1000, "size": 1},
        {"containerID": 1, "hostID": 100000, "size": 65536},
    ]


def _rates() -> list[dict[str, int]]:
    return [{"major": 8, "minor": 0, "rate": 600}]


FULL: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "exit 3"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/root",
        "apparmorProfile": "unconfined",
        "selinuxLabel": "",
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_CHOWN"],
            "ambient": ["CAP_CHOWN"],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}],
        "noNewPrivileges": True,
        "oomScoreAdj": -5,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 1,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 1000000,
            "deadline": 2000000,
            "period": 3000000,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-1", "final": "0"},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "example",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {
            "destination": "/data",
            "type": "none",
            "source": "data",
            "options": ["rbind", "idmap"],
            "uidMappings": _mappings(),
            "gidMappings": _mappings(),
        },
    ],
    "hooks": {
        point: [{"path": "/bin/hook", "args": ["hook", point], "env": ["A=1"], "timeout": 5}]
        for point in (
            *("prestart", "createRuntime", "createContainer"),
            *("startContainer", "poststart", "poststop"),
        )
    },
    "annotations": {"com.example.key": "value", "empty": ""},
    "linux": {
        "namespaces": [
            *({"type": kind} for kind in "pid mount uts ipc user cgroup time".split()),
            {"type": "network", "path": "/run/netns/a"},
        ],
        "uidMappings": _mappings(),
        "gidMappings": _mappings(),
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 100}},
        "devices": [
            {
                "path": "/dev/fuse",
                "type": "c",
                "major": 10,
                "minor": 229,
                "fileMode": 0o666,
                "uid": 1,
                "gid": 2,
            },
            {"path": "/dev/fifo", "type": "p", "fileMode": 0o600, "uid": 0, "gid": 0},
        ],
        "cgroupsPath": "/parent/box",
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            ],
            "memory": {
                "limit": 1 << 30,
                "reservation": 1 << 29,
                "swap": -1,
                "kernel": -1,
                "kernelTCP": 0,
                "swappiness": 0,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": -1,
                "burst": 0,
                "period": 100000,
                "realtimeRuntime": 950000,
                "realtimePeriod": 1000000,
                "cpus": "0-1",
                "mems": "0",
                "idle": 1,
            },
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 500,
                "leafWeight": 300,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": _rates(),
                "throttleWriteBpsDevice": _rates(),
                "throttleReadIOPSDevice": _rates(),
                "throttleWriteIOPSDevice": _rates(),
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "1073741824", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
        },
        "rootfsPropagation": "slave",
        "mountLabel": "",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [
                        {
                            "index": 0,
                            "value": 2080505856,
                            "valueTwo": 1,
                            "op": "SCMP_CMP_MASKED_EQ",
                        },
                        {"index": 5, "value": 2**64 - 1, "op": "SCMP_CMP_NE"},
                    ],
                },
            ],
        },
        "sysctl": {
            "net.ipv4.ip_forward": "1",
            "kernel.shmmax": "1 2",
            "fs.mqueue.msg_max": "5",
            "user.max_user_namespaces": "0",
        },
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "personality": {"domain": "LINUX32"},
    },
}


def changed(document: object, path: Path_, value: object) -> Any:
    """A copy of a document with another value at `path`, or without the member there."""
    document = copy.deepcopy(document)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if not path:
        return value
    if value is REMOVED:
        del place[path[-1]]
    elif isinstance(place, list) and path[-1] == len(place):
        place.append(value)
    else:
        place[path[-1]] = value
    return document


def places(document: object, path: Path_ = ()) -> list[Path_]:
    """The path of every node of a document, its own first."""
    steps: list[str | int] = []
    if isinstance(document, dict):
        steps = list(document)
    elif isinstance(document, list):
        steps = list(range(len(document)))
    children: Any = document
    return [path, *(p for step in steps for p in places(children[step], (*path, step)))]
