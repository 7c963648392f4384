"""Our filters beside libseccomp's own, which runc and crun use, for profiles that both can say.

What runc does around the library is done here: rules that equal the default are left out, several
conditions on an argument become several rules, and new numbers get ENOSYS (its "stub").
"""

from __future__ import annotations

import ctypes
import os
import random

import pytest

from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.seccomp import constants
from runtime.seccomp.compile import compile_filter
from tests.runtime.seccomp.judge import ENOSYS, I386, X32_BIT, X86_64, decide, errno, meant

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")

# x86-64, i386; of socket the call itself, since its conditions cannot be checked in socketcall.
CALLS = {
    "read": (0, 3),
    "write": (1, 4),
    "close": (3, 6),
    "mmap": (9, 90),
    "ioctl": (16, 54),
    "socket": (41, 359),
    "connect": (42, 362),
    "clone": (56, 120),
    "execve": (59, 11),
    "personality": (135, 136),
    "openat": (257, 295),
    "statx": (332, 383),
    "clone3": (435, 435),
}
UNNAMED = (2, 5, 200, 331, 434, 600, 0x3FFFFFFF)
VALUES = (0, 1, 2, 5, 38, 0x5412, 0x7E020000, 0xFFFFFFFF, 0x1_00000000, 0x1_00005412, 2**64 - 1)
_OPERATORS = {name: number + 1 for number, name in enumerate(constants.OPERATORS)}


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def _libseccomp(seccomp: Seccomp) -> bytes:
    """The filter that the library makes."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    default = constants.return_value(seccomp.default_action, seccomp.default_errno_ret, "")
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    for name in seccomp.architectures:
        token = ctypes.c_uint32(constants.ARCHITECTURES[name])
        assert library.seccomp_arch_add(context, token) in (0, -17)  # EEXIST: the native one
    for rule in seccomp.syscalls:
        value = constants.return_value(rule.action, rule.errno_ret, "")
        indexes = {argument.index for argument in rule.args}
        split = [(a,) for a in rule.args] if len(indexes) < len(rule.args) else [rule.args]
        for arguments in [] if value == default else split:
            for name in rule.names:
                _add_rule(library, context, value, name, arguments)
    descriptor = os.memfd_create("filter")
    assert library.seccomp_export_bpf(context, descriptor) == 0
    library.seccomp_release(context)
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def _add_rule(
    library: ctypes.CDLL,
    context: ctypes.c_void_p,
    value: int,
    name: str,
    arguments: tuple[SyscallArgument, ...],
) -> None:
    comparisons = (_Comparison * max(1, len(arguments)))(
        *(_Comparison(a.index, _OPERATORS[a.op], a.value, a.value_two) for a in arguments)
    )
    number = library.seccomp_syscall_resolve_name(name.encode())
    added = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(value), number, len(arguments), comparisons
    )
    assert added == 0, (name, added)


def _compare(seccomp: Seccomp, randomness: random.Random) -> None:
    ours, theirs = compile_filter(seccomp), _libseccomp(seccomp)
    permissive = seccomp.default_action in constants.PERMISSIVE
    named = {name for rule in seccomp.syscalls for name in rule.names}
    architectures = [(0, X86_64, 0)]
    if "SCMP_ARCH_X86" in seccomp.architectures:
        architectures.append((1, I386, 0))
    if "SCMP_ARCH_X32" in seccomp.architectures:
        architectures.append((0, X86_64, X32_BIT))
    for column, architecture, bit in architectures:
        # x32 has its own numbers for calls that take pointers to pointers.
        own = {"ioctl": 514, "execve": 520} if bit else {}
        numbers = {name: own.get(name, CALLS[name][column]) for name in CALLS}
        newest = max((numbers[name] for name in named), default=0x3FFFFFFF)
        for number in (*numbers.values(), *UNNAMED):
            for _ in range(12):
                values = [v for v in VALUES if v < 1 << 32 or (architecture, bit) == (X86_64, 0)]
                arguments = [randomness.choice(values) for _ in range(6)]
                expected = decide(theirs, architecture, bit | number, *arguments)
                if number > newest and not permissive:
                    expected = errno(ENOSYS)
                found = decide(ours, architecture, bit | number, *arguments)
                assert found == expected, (hex(architecture), bit, number, arguments, seccomp)


def _random_profile(randomness: random.Random, *, simple: bool) -> Seccomp:
    """One that does not contradict itself: each call has one action beside the default.

    `simple`: a call has one rule, or several that want one argument to equal something. libseccomp
    2.5.4 loses rules where it merges others: of "5th > A; 5th > B and 0th <= C; 0th >= 1" the last
    is not always in the filter that it makes. The profiles of `meant` are not simple.
    """
    actions = sorted(constants.supported_actions())
    listed = randomness.choice(((), ("X86_64", "X86"), ("X86", "X32"), ("X86_64", "AARCH64")))
    rules = []
    for name in randomness.sample(sorted(CALLS), randomness.randint(0, len(CALLS))):
        action = randomness.choice(actions)
        number = randomness.choice((None, 1, 38, 4094)) if action.endswith("ERRNO") else None
        place = randomness.randint(0, 5)
        for _ in range(count := randomness.randint(1, 3)):
            size = randomness.choice((0, 1, 1, 2, 3))
            pick = randomness.sample if simple else randomness.choices
            indexes = [place] if simple and count > 1 else pick(range(6), k=size)
            arguments = tuple(_random_condition(randomness, i, "X86" in listed) for i in indexes)
            if simple and count > 1:
                arguments = (arguments[0].replace(op="SCMP_CMP_EQ"),)
            rules.append(
                SyscallRule(names=(name,), action=action, errno_ret=number, args=arguments)
            )
    return Seccomp(
        default_action=randomness.choice(actions),
        architectures=tuple(f"SCMP_ARCH_{name}" for name in listed),
        syscalls=tuple(rules),
    )


def _random_condition(randomness: random.Random, index: int, narrow: bool) -> SyscallArgument:
    """`narrow`: with 32 bits, as arguments of i386 and x32, where libseccomp sees no others."""
    values = [value for value in VALUES if value < 1 << 32 or not narrow]
    return SyscallArgument(
        index=index,
        op=randomness.choice(constants.OPERATORS),
        value=randomness.choice(values),
        value_two=randomness.choice(values),
    )


@pytest.mark.parametrize("seed", range(150))
def test_a_random_profile_decides_as_libseccomps_filter(seed: int) -> None:
    randomness = random.Random(seed)
    _compare(_random_profile(randomness, simple=True), randomness)


@pytest.mark.parametrize("seed", range(150))
def test_a_random_profile_decides_as_it_says(seed: int) -> None:
    randomness = random.Random(seed)
    profile = _random_profile(randomness, simple=False)
    program = compile_filter(profile)
    named = [CALLS[name][0] for rule in profile.syscalls for name in rule.names]
    for name, (number, _) in CALLS.items():
        for _ in range(20):
            arguments = [randomness.choice(VALUES) for _ in range(6)]
            expected = meant(profile, name, *arguments)
            if number > max(named, default=number):
                permissive = profile.default_action in constants.PERMISSIVE
                expected = expected if permissive else errno(ENOSYS)
            found = decide(program, X86_64, number, *arguments)
            assert found == expected, (name, arguments, profile)


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP", "TRACE", "ALLOW"])
def test_masked_conditions_decide_as_libseccomps(default: str) -> None:
    action = "SCMP_ACT_LOG"
    mask = SyscallArgument(index=1, op="SCMP_CMP_MASKED_EQ", value=0xFFFFFFFF, value_two=0x5412)
    beyond = SyscallArgument(index=0, op="SCMP_CMP_MASKED_EQ", value=0xF, value_two=0x1F)
    rules = (
        SyscallRule(names=("ioctl",), action=action, args=(mask,)),
        SyscallRule(names=("clone",), action=action, args=(beyond, mask)),
    )
    profile = Seccomp(
        default_action=f"SCMP_ACT_{default}",
        architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
        syscalls=rules,
    )
    _compare(profile, random.Random(1))
