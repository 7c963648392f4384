"""From profiles to programs: what is decided, what is refused, and that it is reproducible."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.errors import ContainerError
from runtime.oci.seccomp import Seccomp, SyscallRule
from runtime.seccomp import constants
from runtime.seccomp.compile import compile_filter, filter_flags
from tests.runtime.seccomp.judge import (
    ALLOW,
    EPERM,
    I386,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRACE,
    TRAP,
    X86_64,
    decide,
    errno,
)
from tests.runtime.seccomp.profiles import filter_of, profile_of, rule_of
from tests.support import CHECKOUT

READ, WRITE, IOCTL, SOCKET = 0, 1, 16, 41


@pytest.mark.parametrize(
    ("action", "errno_ret", "decision"),
    [
        ("KILL", None, KILL_THREAD),
        ("KILL_THREAD", None, KILL_THREAD),
        ("KILL_PROCESS", None, KILL_PROCESS),
        ("TRAP", None, TRAP),
        ("ERRNO", None, errno(EPERM)),
        ("ERRNO", 0, errno(0)),
        ("ERRNO", 4095, errno(4095)),
        ("TRACE", None, TRACE | EPERM),
        ("TRACE", 0xFFFF, TRACE | 0xFFFF),
        ("LOG", None, LOG),
        ("ALLOW", None, ALLOW),
    ],
)
def test_every_action_as_a_rule_and_as_the_default(
    action: str, errno_ret: int | None, decision: int
) -> None:
    rule = SyscallRule(names=("read",), action=f"SCMP_ACT_{action}", errno_ret=errno_ret)
    assert decide(filter_of("ALLOW", rule), X86_64, READ) == decision
    other = filter_of(action, rule_of("write", "ALLOW"), default_errno_ret=errno_ret)
    assert decide(other, X86_64, READ) == decision


LARGE = 0x2_0000_0005


@pytest.mark.parametrize(
    ("op", "holds", "fails"),
    [
        ("EQ", [LARGE], [5, LARGE - 1, 2 << 32, LARGE + (1 << 32)]),
        ("NE", [5, LARGE - 1, 2 << 32, LARGE + (1 << 32)], [LARGE]),
        ("LT", [0, 5, 6, 2 << 32, LARGE - 1], [LARGE, LARGE + 1, 3 << 32]),
        ("LE", [0, 6, LARGE], [LARGE + 1, 3 << 32, 2**64 - 1]),
        ("GT", [LARGE + 1, 3 << 32, 2**64 - 1], [0, 6, LARGE]),
        ("GE", [LARGE, LARGE + 1, 3 << 32], [0, 5, 6, 2 << 32, LARGE - 1]),
    ],
)
def test_operators_compare_64_bits(op: str, holds: list[int], fails: list[int]) -> None:
    program = filter_of("ERRNO", rule_of("write", "ALLOW", (5, op, LARGE)))
    for value in holds:
        assert decide(program, X86_64, WRITE, 0, 0, 0, 0, 0, value) == ALLOW, hex(value)
    for value in fails:
        assert decide(program, X86_64, WRITE, 0, 0, 0, 0, 0, value) == errno(EPERM), hex(value)


def test_a_mask_is_value_and_what_it_leaves_is_value_two() -> None:
    program = filter_of("ERRNO", rule_of("ioctl", "ALLOW", (1, "MASKED_EQ", 0xFFFFFFFF, 0x5401)))
    assert decide(program, X86_64, IOCTL, 0, 0x5401) == ALLOW
    assert decide(program, X86_64, IOCTL, 0, 0xABC_00005401) == ALLOW
    assert decide(program, X86_64, IOCTL, 0, 0x5402) == errno(EPERM)


def test_all_conditions_on_different_arguments_must_hold() -> None:
    program = filter_of("ERRNO", rule_of("socket", "ALLOW", (0, "EQ", 2), (1, "EQ", 1)))
    assert decide(program, X86_64, SOCKET, 2, 1) == ALLOW
    assert decide(program, X86_64, SOCKET, 2, 3) == errno(EPERM)
    assert decide(program, X86_64, SOCKET, 1, 1) == errno(EPERM)


def test_one_of_several_conditions_on_the_same_argument_is_enough() -> None:
    program = filter_of(
        "ERRNO", rule_of("socket", "ALLOW", (0, "EQ", 1), (0, "EQ", 2), (1, "EQ", 9))
    )
    assert decide(program, X86_64, SOCKET, 1) == ALLOW
    assert decide(program, X86_64, SOCKET, 2) == ALLOW
    assert decide(program, X86_64, SOCKET, 3, 9) == ALLOW
    assert decide(program, X86_64, SOCKET, 3) == errno(EPERM)


def test_a_rule_without_conditions_counts_wherever_it_stands() -> None:
    conditional, plain = rule_of("read", "KILL", (0, "EQ", 1)), rule_of("read", "ALLOW")
    for rules in ((conditional, plain), (plain, conditional)):
        assert decide(filter_of("ERRNO", *rules), X86_64, READ, 1) == ALLOW


def test_the_first_rule_whose_conditions_hold_counts() -> None:
    exact, wide = rule_of("read", "TRAP", (0, "EQ", 1)), rule_of("read", "ALLOW", (0, "LE", 5))
    assert decide(filter_of("ERRNO", exact, wide), X86_64, READ, 1) == TRAP
    assert decide(filter_of("ERRNO", wide, exact), X86_64, READ, 1) == ALLOW


def test_a_profile_without_rules_is_its_default() -> None:
    assert decide(filter_of("KILL_PROCESS"), X86_64, READ) == KILL_PROCESS
    assert decide(filter_of("KILL_PROCESS"), X86_64, 600) == KILL_PROCESS
    assert decide(filter_of("ALLOW"), X86_64, 600) == ALLOW


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (profile_of("DENY"), "seccomp: defaultAction: action 'SCMP_ACT_DENY' is unknown, one of"),
        (profile_of("NOTIFY"), "action 'SCMP_ACT_NOTIFY' is not supported"),
        (
            profile_of("ALLOW", rule_of("read", "NOTIFY")),
            "seccomp: syscalls[0]: action 'SCMP_ACT_NOT",
        ),
        (
            profile_of("ALLOW", rule_of("read", "")),
            "seccomp: syscalls[0]: action 'SCMP_ACT_' is unk",
        ),
        (
            profile_of("ALLOW", rule_of("read", "KILL", (0, "LIKE", 1))),
            "args[0]: op 'SCMP_CMP_LIKE'",
        ),
        (
            profile_of("ALLOW", rule_of("read", "KILL", (6, "EQ", 1))),
            "index is 6, 0 to 5 expected",
        ),
        (profile_of("ALLOW", rule_of("read", "KILL", (0, "EQ", -1))), "value is -1, 0 to"),
        (
            profile_of("ALLOW", rule_of("read", "KILL", (0, "EQ", 2**64))),
            "value is 184467440737095",
        ),
        (profile_of("ALLOW", rule_of("", "KILL")), "syscalls[0]: names is empty"),
        (profile_of("ALLOW", architectures=("SCMP_ARCH_VAX",)), "architecture 'SCMP_ARCH_VAX' is"),
        (
            profile_of("ALLOW", rule_of("read", "ERRNO", errno_ret=4096)),
            "errnoRet is 4096, 0 to 4095",
        ),
        (
            profile_of("ALLOW", rule_of("read", "KILL", errno_ret=1)),
            "SCMP_ACT_KILL returns no errno",
        ),
        (profile_of("ALLOW", default_errno_ret=1), "SCMP_ACT_ALLOW returns no errno"),
    ],
)
def test_what_the_specification_does_not_have_is_named(profile: Seccomp, message: str) -> None:
    with pytest.raises(ContainerError) as raised:
        compile_filter(profile)
    assert message in raised.value.message


def test_a_machine_that_we_have_no_names_for_is_named() -> None:
    with pytest.raises(ContainerError, match="no filters for the machine 'vax'"):
        compile_filter(profile_of("ALLOW"), machine="vax")


def test_a_filter_that_the_kernel_would_not_take_is_refused() -> None:
    rules = (rule_of("read", "TRAP", (index % 6, "EQ", index)) for index in range(1000))
    with pytest.raises(ContainerError, match=r"has \d+ instructions, the kernel takes 4096"):
        filter_of("ALLOW", *rules)


def test_a_long_filter_jumps_where_it_should() -> None:
    rules = [rule_of("read", "TRAP", (0, "EQ", value)) for value in range(400)]
    program = filter_of("ERRNO", *rules, rule_of("write", "ALLOW"))
    assert decide(program, X86_64, READ, 399) == TRAP
    assert decide(program, X86_64, READ, 400) == errno(EPERM)
    assert decide(program, X86_64, WRITE) == ALLOW
    assert decide(program, I386, WRITE) == KILL_PROCESS


def test_flags() -> None:
    flags = ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")
    names = tuple(f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags)
    assert filter_flags(profile_of("ALLOW", flags=names)) == 7
    assert filter_flags(profile_of("ALLOW")) == 0
    with pytest.raises(ContainerError, match="flag 'X' is unknown, one of SECCOMP_FILTER_FLAG_TS"):
        filter_flags(profile_of("ALLOW", flags=("X",)))


def test_features_are_the_words_that_compile() -> None:
    assert "SCMP_ACT_NOTIFY" not in constants.supported_actions()
    for action in constants.supported_actions():
        compile_filter(Seccomp(default_action=action))
    for operator in constants.supported_operators():
        filter_of("ALLOW", rule_of("read", "KILL", (0, operator.removeprefix("SCMP_CMP_"), 1)))
    for flag in constants.supported_flags():
        filter_flags(profile_of("ALLOW", flags=(flag,)))
    for architecture in ("X86_64", "X32", "AARCH64", "S390X", "MIPSEL64N32", "RISCV64"):
        assert f"SCMP_ARCH_{architecture}" in constants.supported_architectures()


def test_without_libseccomp_the_error_says_what_to_install() -> None:
    script = (
        "import ctypes, sys\n"
        "def missing(name, *a, **k): raise OSError(f'{name}: cannot open shared object file')\n"
        "ctypes.CDLL = missing\n"
        "from runtime.errors import ContainerError\n"
        "from runtime.oci.seccomp import Seccomp, SyscallRule\n"
        "from runtime.seccomp.compile import compile_filter\n"
        "rule = SyscallRule(names=('read',), action='SCMP_ACT_KILL')\n"
        "try:\n"
        "    compile_filter(Seccomp(default_action='SCMP_ACT_ALLOW', syscalls=(rule,)))\n"
        "except ContainerError as error:\n"
        "    print(error, '|', error.hint)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert "needs libseccomp: libseccomp.so.2: cannot open" in result.stdout
    assert "| install libseccomp2 (Debian" in result.stdout


def test_the_same_profile_is_the_same_program_in_every_process() -> None:
    script = (
        "import sys\n"
        "from runtime.seccomp.compile import compile_filter\n"
        "from runtime.seccomp.profile import default_profile\n"
        "profile = default_profile(frozenset({'SYS_ADMIN', 'CHOWN', 'SYS_TIME', 'BPF'}))\n"
        "sys.stdout.buffer.write(compile_filter(profile))\n"
    )
    programs = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(programs) == 1
