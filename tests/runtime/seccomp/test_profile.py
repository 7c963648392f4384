"""Profiles in files: both forms, conditions, and errors that name what they found."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.sandbox.capabilities import ALL, RUN_DEFAULT
from runtime.seccomp.compile import compile_filter
from runtime.seccomp.profile import default_profile, load_profile
from tests.runtime.seccomp.judge import ALLOW, EPERM, X86_64, decide, errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALLOWED: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


def _load(tmp: Path, document: object, capabilities: str = "", machine: str = "x86_64") -> Seccomp:
    path = tmp / "profile.json"
    path.write_text(json.dumps(document))
    return load_profile(str(path), frozenset(capabilities.split()), machine=machine)


def _profile(*rules: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


def _names(profile: Seccomp) -> list[str]:
    return [name for rule in profile.syscalls for name in rule.names]


def test_the_specifications_form(tmp_path: Path) -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/unused",
        "syscalls": [
            {
                "names": ["ioctl", "read"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 5,
                "args": [
                    {"index": 1, "value": 255, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"},
                    {"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_NE"},
                ],
            }
        ],
    }
    assert _load(tmp_path, document) == Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=38,
        architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
        flags=("SECCOMP_FILTER_FLAG_LOG",),
        syscalls=(
            SyscallRule(
                names=("ioctl", "read"),
                action="SCMP_ACT_ERRNO",
                errno_ret=5,
                args=(
                    SyscallArgument(index=1, value=255, value_two=7, op="SCMP_CMP_MASKED_EQ"),
                    SyscallArgument(index=0, value=2**64 - 1, op="SCMP_CMP_NE"),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("capabilities", "names"),
    [
        ("", ["b", "d"]),
        ("SYS_ADMIN", ["a", "d"]),
        ("SYS_TIME", ["b", "d"]),
        ("SYS_ADMIN SYS_TIME", ["a", "c", "d"]),
        ("BPF", ["b"]),
        ("PERFMON", ["b"]),
    ],
)
def test_conditions_on_capabilities(tmp_path: Path, capabilities: str, names: list[str]) -> None:
    document = _profile(
        {**ALLOWED, "names": ["a"], "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {**ALLOWED, "names": ["b"], "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {**ALLOWED, "names": ["c"], "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_TIME"]}},
        {**ALLOWED, "names": ["d"], "excludes": {"caps": ["CAP_BPF", "CAP_PERFMON"]}},
    )
    assert _names(_load(tmp_path, document, capabilities)) == names


@pytest.mark.parametrize(("machine", "names"), [("x86_64", ["a"]), ("aarch64", ["b"])])
def test_conditions_on_architectures(tmp_path: Path, machine: str, names: list[str]) -> None:
    document = _profile(
        {**ALLOWED, "names": ["a"], "includes": {"arches": ["amd64", "x32"]}},
        {**ALLOWED, "names": ["b"], "excludes": {"arches": ["amd64"]}},
    )
    assert _names(_load(tmp_path, document, machine=machine)) == names


def test_conditions_on_the_kernel(tmp_path: Path) -> None:
    major, minor = (int(n) for n in re.findall(r"\d+", os.uname().release)[:2])
    document = _profile(
        {**ALLOWED, "names": ["old"], "includes": {"minKernel": "4.8"}},
        {**ALLOWED, "names": ["this"], "includes": {"minKernel": f"{major}.{minor}"}},
        {**ALLOWED, "names": ["next"], "includes": {"minKernel": f"{major}.{minor + 1}"}},
        {**ALLOWED, "names": ["before"], "excludes": {"minKernel": f"{major + 1}.0"}},
        {**ALLOWED, "names": ["not"], "excludes": {"minKernel": "4.8"}},
    )
    assert _names(_load(tmp_path, document)) == ["old", "this", "before"]


def test_the_map_gives_the_machines_own_architectures(tmp_path: Path) -> None:
    document = _profile(
        archMap=[
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
        ]
    )
    x86 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert _load(tmp_path, document).architectures == x86
    assert _load(tmp_path, document, machine="aarch64").architectures == ("SCMP_ARCH_AARCH64",)
    assert _load(tmp_path, document, machine="riscv64").architectures == ()


def test_names_of_errnos_and_the_old_single_name(tmp_path: Path) -> None:
    rule = {"name": "read", "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "ENOSYS"}
    profile = _load(tmp_path, _profile(rule, defaultErrno="EACCES"))
    assert profile.default_errno_ret == 13
    assert profile.syscalls[0].errno_ret == 38
    assert profile.syscalls[0].names == ("read",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "defaultAction is missing, str expected"),
        ([], "a JSON object was expected, not list"),
        (
            _profile() | {"defaultAction": "DENY"},
            "defaultAction: action 'DENY' is unknown, one of",
        ),
        (_profile() | {"syscalls": {}}, "syscalls is {}, list expected"),
        (_profile() | {"syscalls": [1]}, "syscalls[0] is 1, an object expected"),
        (_profile(ALLOWED, {"action": "SCMP_ACT_ALLOW"}), "syscalls[1]: names is [] and name is"),
        (_profile({"names": ["read"]}), "syscalls[0]: action is missing"),
        (
            _profile({**ALLOWED, "action": "SCMP_ACT_NOTIFY"}),
            "[0]: action 'SCMP_ACT_NOTIFY' is no",
        ),
        (_profile({**ALLOWED, "errnoRet": 1}), "syscalls[0]: errnoRet is 1, but SCMP_ACT_ALLOW"),
        (_profile({**ALLOWED, "names": "read"}), "syscalls[0]: names is 'read', list expected"),
        (_profile({**ALLOWED, "args": [{"index": 0}]}), "syscalls[0]: args[0]: value is missing"),
        (
            _profile({**ALLOWED, "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            "syscalls[0]: args[0]: index is 9, 0 to 5 expected",
        ),
        (
            _profile({**ALLOWED, "args": [{"index": 0, "value": 0, "op": "="}]}),
            "syscalls[0]: args[0]: op '=' is unknown, one of SCMP_CMP_NE,",
        ),
        (
            _profile({**ALLOWED, "args": [{"index": 0, "value": 1.5, "op": "SCMP_CMP_EQ"}]}),
            "syscalls[0]: args[0]: value is 1.5, int expected",
        ),
        (
            # Of a rule that does not apply here, too.
            _profile({**ALLOWED, "action": "X", "includes": {"caps": ["CAP_BPF"]}}),
            "syscalls[0]: action 'X' is unknown",
        ),
        (
            _profile({**ALLOWED, "includes": {"minKernel": "new"}}),
            "syscalls[0]: includes: minKernel is 'new', a version such as 4.8 expected",
        ),
        (_profile(architectures=["VAX"]), "architectures: architecture 'VAX' is unknown"),
        (_profile(archMap=[{"architecture": "VAX"}]), "archMap[0]: architecture 'VAX' is unknown"),
        (
            _profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86"}]),
            "both architectures and archMap are given",
        ),
        (_profile(flags=["FAST"]), "flags: flag 'FAST' is unknown"),
        (_profile(defaultErrno="EWHAT"), "defaultErrno is 'EWHAT', a name such as EPERM expected"),
    ],
)
def test_an_error_names_the_file_the_member_and_its_value(
    tmp_path: Path, document: object, message: str
) -> None:
    with pytest.raises(ContainerError) as raised:
        _load(tmp_path, document)
    assert raised.value.message.startswith(f"seccomp profile {tmp_path}/profile.json: ")
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not valid JSON"), (b'{"a":"' + b"x" * (4 << 20), "at most")]
)
def test_a_file_that_is_no_document(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(ContainerError, match=message):
        load_profile(str(path), RUN_DEFAULT)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"seccomp profile /.*/none: No such file or dir"):
        load_profile(f"{tmp_path}/none", RUN_DEFAULT)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "s390x", "riscv64", "ppc64le"])
def test_the_default_profile_compiles_for_every_machine(machine: str) -> None:
    for capabilities in (frozenset[str](), RUN_DEFAULT, ALL):
        program = compile_filter(default_profile(capabilities, machine=machine), machine=machine)
        assert len(program) % 8 == 0


PODMANS = Path("/usr/share/containers/seccomp.json")


@pytest.mark.skipif(not PODMANS.exists(), reason="podman's profile is not installed")
def test_podmans_own_profile_is_read_and_does_what_it_does_there() -> None:
    profile = load_profile(str(PODMANS), RUN_DEFAULT, machine="x86_64")
    program = compile_filter(profile, machine="x86_64")
    read, bpf, perf_event_open, chroot, io_uring_setup = 0, 321, 298, 161, 425
    assert decide(program, X86_64, read) == decide(program, X86_64, chroot) == ALLOW
    assert decide(program, X86_64, bpf) == decide(program, X86_64, perf_event_open) == errno(EPERM)
    assert decide(program, X86_64, io_uring_setup) == decide(program, X86_64, 600) == errno(38)
    assert decide(program, X86_64, 41, 16, 3, 9) == errno(22)  # audit, as in ours
