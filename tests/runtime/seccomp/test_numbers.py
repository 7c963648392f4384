"""Numbers and architectures: which call a number is, and what becomes of the others."""

from __future__ import annotations

import pytest

from runtime.seccomp.compile import compile_filter
from runtime.seccomp.numbers import numbers_of
from tests.runtime.seccomp.judge import (
    ALLOW,
    EAFNOSUPPORT,
    ENOSYS,
    EPERM,
    I386,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    X32_BIT,
    X86_64,
    decide,
    errno,
)
from tests.runtime.seccomp.profiles import filter_of, profile_of, rule_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.seccomp import SyscallRule

READ, WRITE, MSEAL = 0, 1, 462


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP"])
def test_above_the_newest_named_call_there_is_nothing(default: str) -> None:
    program = filter_of(default, rule_of("read statx", "ALLOW"))
    between, last = 100, 332
    assert decide(program, X86_64, between) == decide(filter_of(default), X86_64, between)
    assert decide(program, X86_64, last) == ALLOW
    assert decide(program, X86_64, last + 1) == errno(ENOSYS)
    assert decide(program, X86_64, 600) == errno(ENOSYS)


@pytest.mark.parametrize(("default", "decision"), [("ALLOW", ALLOW), ("LOG", LOG)])
def test_a_permissive_default_holds_for_new_calls(default: str, decision: int) -> None:
    program = filter_of(default, rule_of("read", "ERRNO"))
    assert decide(program, X86_64, 600) == decision
    assert decide(program, X86_64, 0xFFFFFFFF) == decision


def test_a_name_that_no_table_has_is_left_out() -> None:
    assert filter_of("ERRNO", rule_of("read no_such_call read\0x", "ALLOW")) == filter_of(
        "ERRNO", rule_of("read", "ALLOW")
    )


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_call_newer_than_libseccomp_has_its_number(machine: str) -> None:
    architecture = {"x86_64": X86_64, "aarch64": 0xC00000B7}[machine]
    profile = profile_of("ERRNO", rule_of("mseal", "ALLOW", (2, "EQ", 0)))
    program = compile_filter(profile, machine=machine)
    assert decide(program, architecture, MSEAL) == ALLOW
    assert decide(program, architecture, MSEAL, 0, 0, 1) == errno(EPERM)
    assert decide(program, architecture, MSEAL + 1) == errno(ENOSYS)


@pytest.mark.parametrize(
    ("name", "number"),
    [("pidfd_getfd", 438), ("map_shadow_stack", 453), ("mseal", 462), ("removexattrat", 466),
     ("open_tree_attr", 467), ("listns", 470), ("rseq_slice_yield", 471)],
)  # fmt: skip
def test_numbers_of_new_calls(name: str, number: int) -> None:
    assert numbers_of(name, "SCMP_ARCH_AARCH64").direct == number
    assert numbers_of(name, "SCMP_ARCH_X32").direct == X32_BIT | number


def test_x32_is_refused_unless_it_is_listed() -> None:
    deny = rule_of("read", "ERRNO")
    for default in ("ALLOW", "LOG", "TRACE", "ERRNO", "KILL"):
        program = filter_of(default, deny)
        assert decide(program, X86_64, X32_BIT | READ) == errno(ENOSYS)
        assert decide(program, X86_64, X32_BIT | 600) == errno(ENOSYS)
    program = filter_of("ALLOW", deny, architectures=("SCMP_ARCH_X32",))
    assert decide(program, X86_64, X32_BIT | READ) == errno(EPERM)
    assert decide(program, X86_64, X32_BIT | WRITE) == ALLOW
    assert decide(program, X86_64, READ) == errno(EPERM)


def test_a_new_x32_call_does_not_exist_either() -> None:
    program = filter_of("KILL", rule_of("read statx", "ALLOW"), architectures=("SCMP_ARCH_X32",))
    assert decide(program, X86_64, X32_BIT | 332) == ALLOW
    assert decide(program, X86_64, X32_BIT | 331) == KILL_THREAD
    assert decide(program, X86_64, X32_BIT | 333) == errno(ENOSYS)
    assert decide(program, X86_64, 333) == errno(ENOSYS)


def test_where_arguments_have_32_bits_minus_one_is_their_largest_value() -> None:
    minus_one = rule_of("close", "ERRNO", (0, "EQ", 2**64 - 1))
    program = filter_of("ALLOW", minus_one, architectures=("SCMP_ARCH_X86",))
    assert decide(program, I386, 6, 2**32 - 1) == errno(EPERM)
    assert decide(program, X86_64, 3, 2**32 - 1) == ALLOW


def test_an_architecture_that_is_not_listed_is_killed() -> None:
    assert decide(filter_of("ALLOW"), I386, 3) == KILL_PROCESS
    listed = filter_of("ALLOW", rule_of("read", "ERRNO"), architectures=("SCMP_ARCH_X86",))
    assert decide(listed, I386, 3) == errno(EPERM)
    assert decide(listed, I386, 4) == ALLOW


def test_the_machine_itself_counts_without_being_listed() -> None:
    program = filter_of("ERRNO", rule_of("read", "ALLOW"), architectures=("SCMP_ARCH_X86",))
    assert decide(program, X86_64, READ) == ALLOW


def test_an_architecture_that_this_kernel_cannot_run_changes_nothing() -> None:
    rule = rule_of("read", "ALLOW")
    assert filter_of("ERRNO", rule, architectures=("SCMP_ARCH_S390X",)) == filter_of("ERRNO", rule)


def test_s390_numbers_too_large_for_an_instruction_do_not_exist() -> None:
    profile = profile_of("KILL", rule_of("read", "ALLOW"))
    program = compile_filter(profile, machine="s390x")
    swapped = b"".join(
        program[i : i + 2][::-1] + program[i + 2 : i + 4] + program[i + 4 : i + 8][::-1]
        for i in range(0, len(program), 8)
    )
    assert decide(swapped, 0x80000016, 0) == errno(ENOSYS)
    assert decide(swapped, 0x80000016, 1) == KILL_THREAD
    assert decide(swapped, 0x80000016, 3) == ALLOW


# --- calls through socketcall and ipc -----------------------------------------------------------


def _i386(default: str, *rules: SyscallRule) -> bytes:
    return filter_of(default, *rules, architectures=("SCMP_ARCH_X86",))


def test_a_multiplexed_call_follows_its_own_rule() -> None:
    program = _i386("ERRNO", rule_of("connect semop", "ALLOW"))
    assert decide(program, I386, 102, 3) == ALLOW
    assert decide(program, I386, 102, 4) == errno(EPERM)
    assert decide(program, I386, 362) == ALLOW
    assert decide(program, I386, 117, 1) == ALLOW
    assert decide(program, I386, 117, 1 | 1 << 16) == ALLOW  # the version is in the upper half
    assert decide(program, I386, 117, 2) == errno(EPERM)


def test_conditions_that_cannot_be_seen_never_allow() -> None:
    program = _i386("ERRNO", rule_of("socket", "ALLOW", (0, "NE", 38)))
    assert decide(program, I386, 102, 1) == errno(EPERM)
    assert decide(program, I386, 359, 2) == ALLOW


def test_conditions_that_cannot_be_seen_refuse() -> None:
    program = _i386("ALLOW", rule_of("socket", "ERRNO", (0, "EQ", 38), errno_ret=97))
    assert decide(program, I386, 102, 1) == errno(EAFNOSUPPORT)
    assert decide(program, I386, 102, 2) == ALLOW
    assert decide(program, I386, 359, 2) == ALLOW


def test_a_rule_without_conditions_counts_through_a_multiplexer_too() -> None:
    refused = rule_of("socket", "ERRNO", (0, "EQ", 38))
    program = _i386("ERRNO", refused, rule_of("socket", "ALLOW"))
    assert decide(program, I386, 359, 38) == decide(program, I386, 102, 1) == ALLOW


def test_a_profile_can_allow_socketcall_as_a_whole() -> None:
    program = _i386(
        "ERRNO", rule_of("socket", "ALLOW", (0, "NE", 38)), rule_of("socketcall", "ALLOW")
    )
    assert decide(program, I386, 102, 1) == ALLOW
