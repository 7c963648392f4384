"""The default profile, and the filters of it that are in the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runtime.sandbox.capabilities import ALL, BUILD_DEFAULT, RUN_DEFAULT
from runtime.seccomp import load
from runtime.seccomp.compile import compile_filter
from runtime.seccomp.make_filters import compiled
from runtime.seccomp.numbers import numbers_of
from runtime.seccomp.profile import DEFAULT, default_profile
from tests.runtime.seccomp.judge import (
    AARCH64,
    ALLOW,
    ARM,
    EAFNOSUPPORT,
    EINVAL,
    ENOSYS,
    EPERM,
    I386,
    KILL_PROCESS,
    X32_BIT,
    X86_64,
    decide,
    errno,
    meant,
)
from tests.runtime.seccomp.tables import GARBAGE, MACHINES, NUMBERS

SETS = {"run": RUN_DEFAULT, "build": BUILD_DEFAULT}
# Everything that a condition of the profile is about, and the values beside it.
WORDS = [0, 1, 8, 9, 16, 37, 38, 39, 40, 41, 0x5412, 0x541C, 0x20000, 0x20008, 0x10000000]
WORDS += [0x7E020000, 0x80000000, 0xFFFFFFFF, 2**64 - 1]


def _shipped(machine: str, capabilities: str = "run") -> bytes:
    variant = load.VARIANTS[SETS[capabilities] & load.CONDITIONS]
    return Path(load.shipped(machine, variant)).read_bytes()


def test_the_filters_in_the_package_are_current() -> None:
    # libseccomp's version is no matter: it only gives numbers, and a number does not change.
    for path, program in compiled().items():
        assert Path(path).read_bytes() == program, "python -m runtime.seccomp.make_filters"


def test_there_are_no_other_filters_in_the_package() -> None:
    package = Path(DEFAULT).parent
    assert {str(path) for path in package.glob("*.bpf")} == set(compiled())


def test_the_start_knows_every_capability_that_the_profile_asks_about() -> None:
    document = Path(DEFAULT).read_text(encoding="utf-8")
    assert set(re.findall(r"CAP_(\w+)", document)) == load.CONDITIONS
    assert load.CONDITIONS <= ALL


def test_no_name_of_the_profile_is_misspelt() -> None:
    rules = json.loads(Path(DEFAULT).read_text(encoding="utf-8"))["syscalls"]
    names = {name for rule in rules for name in rule["names"]}
    everywhere = ("X86_64", "X86", "AARCH64", "ARM", "S390X", "PPC64LE", "RISCV64")
    unknown = {
        name
        for name in names
        if all(
            numbers_of(name, f"SCMP_ARCH_{a}").direct is None
            and numbers_of(name, f"SCMP_ARCH_{a}").multiplexed is None
            for a in everywhere
        )
    }
    # In the kernel, not in libseccomp 2.5; or in no table of these any more.
    assert unknown <= {"riscv_hwprobe", "getsid"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("capabilities", SETS)
def test_a_shipped_filter_does_what_the_profile_says(machine: str, capabilities: str) -> None:
    program = _shipped(machine, capabilities)
    profile = default_profile(SETS[capabilities], machine=machine)
    column = list(MACHINES).index(machine)
    for name, numbers in NUMBERS.items():
        for first in WORDS:
            for garbage in (0, GARBAGE):
                for third in (0, 9):
                    arguments = (first | garbage, first | garbage, third)
                    found = decide(program, MACHINES[machine], numbers[column], *arguments)
                    assert found == meant(profile, name, *arguments), (name, arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_shipped_filter_decides_every_number_of_the_kernels_own_table(machine: str) -> None:
    header = {
        "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "aarch64": "/usr/include/asm-generic/unistd.h",
    }[machine]
    if not Path(header).exists():
        pytest.skip(f"no {header}")
    found = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", Path(header).read_text()))
    if machine == "aarch64":  # three-way names, and some that arm64 did not take over
        found |= dict(re.findall(r"#define __NR3264_(\w+)\s+(\d+)", Path(header).read_text()))
        found |= {"newfstatat": found["fstatat"]}
        for name in ("arch_specific_syscall", "syscalls", "fstatat", "statx_64"):
            found.pop(name, None)
        found = {n: v for n, v in found.items() if not n.endswith("64") or n in _REALLY_64}
    assert len(found) > 250
    program, profile = _shipped(machine), default_profile(RUN_DEFAULT, machine=machine)
    for name, number in found.items():
        assert decide(program, MACHINES[machine], int(number)) == meant(profile, name), name


_REALLY_64 = ("getdents64", "prlimit64", "pread64", "pwrite64")


def _decisions(name: str, *arguments: int) -> set[int]:
    """The decision of all four filters: they must agree."""
    return {
        decide(_shipped(machine, capabilities), MACHINES[machine], number, *arguments)
        for machine, number in zip(MACHINES, NUMBERS[name], strict=True)
        for capabilities in SETS
    }


@pytest.mark.parametrize(
    "name",
    "bpf perf_event_open mount umount2 pivot_root setns unshare open_tree fsopen mount_setattr "
    "open_tree_attr reboot kexec_load kexec_file_load init_module swapon settimeofday "
    "clock_settime quotactl acct open_by_handle_at userfaultfd add_key keyctl "
    "request_key".split(),
)
def test_a_privileged_call_is_not_permitted(name: str) -> None:
    assert _decisions(name) == {errno(EPERM)}


@pytest.mark.parametrize("name", ["io_uring_setup", "clone3"])
def test_a_call_that_programs_can_do_without_seems_not_to_exist(name: str) -> None:
    assert _decisions(name) == {errno(ENOSYS)}


@pytest.mark.parametrize(
    "name",
    "read ptrace process_vm_readv mknodat chroot seccomp statx rseq close_range openat2 "
    "pidfd_getfd faccessat2 epoll_pwait2 landlock_restrict_self memfd_secret futex_waitv "
    "cachestat fchmodat2 statmount mseal removexattrat file_setattr rseq_slice_yield "
    "adjtimex".split(),
)
def test_an_ordinary_call_is_allowed(name: str) -> None:
    assert _decisions(name) == {ALLOW}


@pytest.mark.parametrize("garbage", [0, GARBAGE])
@pytest.mark.parametrize(
    ("family", "decision"),
    [(1, ALLOW), (2, ALLOW), (10, ALLOW), (17, ALLOW), (37, ALLOW), (39, ALLOW), (41, ALLOW),
     (38, errno(EAFNOSUPPORT)), (40, errno(EAFNOSUPPORT))],
)  # fmt: skip
def test_sockets_of_a_family_whatever_is_in_the_half_that_the_kernel_ignores(
    family: int, decision: int, garbage: int
) -> None:
    assert _decisions("socket", family | garbage, 5, 0) == {decision}


@pytest.mark.parametrize("garbage", [0, GARBAGE])
@pytest.mark.parametrize(
    ("command", "decision"),
    [(0x5412, errno(EPERM)), (0x541C, errno(EPERM)), (0x5411, ALLOW), (0x5413, ALLOW), (0, ALLOW)],
)
def test_ioctls_whatever_is_in_the_half_that_the_kernel_ignores(
    command: int, decision: int, garbage: int
) -> None:
    assert _decisions("ioctl", 0, command | garbage, 0) == {decision}


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_no_namespace(bit: int) -> None:
    assert _decisions("clone", 1 << bit | 17) == {errno(EPERM)}
    assert _decisions("clone", 1 << bit | GARBAGE) == {errno(EPERM)}


def test_clone_makes_processes_and_threads() -> None:
    assert _decisions("clone", 17) == _decisions("clone", 0x3D0F00) == {ALLOW}


def test_the_usual_personalities_and_no_others_can_be_asked_for() -> None:
    for allowed in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 2**64 - 1):
        assert _decisions("personality", allowed) == {ALLOW}
    for refused in (1, 0x40000, 0x400000, 0x20009, 0xFFFFFFFE):
        assert _decisions("personality", refused) == {errno(EPERM)}


@pytest.mark.parametrize(("capabilities", "decision"), [("run", errno(EINVAL)), ("build", ALLOW)])
def test_audit_messages_need_their_capability(capabilities: str, decision: int) -> None:
    for machine, number in zip(MACHINES, NUMBERS["socket"], strict=True):
        program = _shipped(machine, capabilities)
        assert decide(program, MACHINES[machine], number, 16, 3, 9) == decision
        assert decide(program, MACHINES[machine], number, 16, 3, 0) == ALLOW


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("SYS_ADMIN", "mount umount2 unshare setns clone3 bpf perf_event_open quotactl fsopen"),
        ("BPF", "bpf"),
        ("PERFMON", "perf_event_open"),
        ("DAC_READ_SEARCH", "open_by_handle_at"),
        ("SYS_BOOT", "reboot"),
        ("SYS_MODULE", "init_module"),
        ("SYS_PACCT", "acct"),
        ("SYS_TIME", "settimeofday clock_settime"),
    ],
)
def test_a_capability_allows_its_calls(capability: str, names: str) -> None:
    program = compile_filter(
        default_profile(RUN_DEFAULT | {capability}, machine="x86_64"), machine="x86_64"
    )
    for name in names.split():
        number = NUMBERS[name][0]
        assert decide(program, X86_64, number) == ALLOW
        assert decide(_shipped("x86_64"), X86_64, number) != ALLOW


def test_no_capability_brings_back_what_is_never_allowed() -> None:
    program = compile_filter(default_profile(ALL, machine="x86_64"), machine="x86_64")
    for name in ("kexec_load", "userfaultfd", "swapon", "keyctl", "io_uring_setup"):
        assert decide(program, X86_64, NUMBERS[name][0]) in (errno(EPERM), errno(ENOSYS))
    assert decide(program, X86_64, NUMBERS["socket"][0], 38) == errno(EAFNOSUPPORT)
    assert decide(program, X86_64, NUMBERS["clone"][0], 0x10000000) == ALLOW


def test_x32_seems_not_to_exist() -> None:
    for number in (0, 1, 39, 512, 0x3FFFFFFF):
        assert decide(_shipped("x86_64"), X86_64, X32_BIT | number) == errno(ENOSYS)


def test_another_architecture_kills() -> None:
    assert decide(_shipped("x86_64"), AARCH64, 63) == KILL_PROCESS
    assert decide(_shipped("aarch64"), X86_64, 0) == KILL_PROCESS
    assert decide(_shipped("x86_64"), X86_64 & 0x7FFFFFFF, 0) == KILL_PROCESS


@pytest.mark.parametrize("number", [600, 1000, 0x3FFFFFFF, 0xFFFFFFFF])
def test_a_call_of_the_future_seems_not_to_exist(number: int) -> None:
    for machine, architecture in MACHINES.items():
        assert decide(_shipped(machine), architecture, number) == errno(ENOSYS)


def test_32_bit_programs_run() -> None:
    read, execve, cacheflush = 3, 11, 0xF0002
    assert decide(_shipped("x86_64"), I386, read) == ALLOW
    assert decide(_shipped("x86_64"), I386, execve) == ALLOW
    assert decide(_shipped("aarch64"), ARM, read) == ALLOW
    assert decide(_shipped("aarch64"), ARM, cacheflush) == ALLOW
    assert decide(_shipped("aarch64"), ARM, 281, 38) == errno(EAFNOSUPPORT)


def test_no_socket_is_made_through_socketcall_where_its_family_cannot_be_seen() -> None:
    socketcall, pointer = 102, 0xFFFF0000
    for hidden in (0, GARBAGE):
        made = decide(_shipped("x86_64"), I386, socketcall, 1 | hidden, pointer)
        assert made == errno(EAFNOSUPPORT)
    connect, socketpair, unknown = 3, 8, 21
    assert decide(_shipped("x86_64"), I386, socketcall, connect, pointer) == ALLOW
    assert decide(_shipped("x86_64"), I386, socketcall, socketpair, pointer) == ALLOW
    assert decide(_shipped("x86_64"), I386, socketcall, unknown, pointer) == errno(ENOSYS)


def test_the_i386_socket_call_itself_is_judged_by_its_family() -> None:
    assert decide(_shipped("x86_64"), I386, 359, 2) == ALLOW
    assert decide(_shipped("x86_64"), I386, 359, 38) == errno(EAFNOSUPPORT)
