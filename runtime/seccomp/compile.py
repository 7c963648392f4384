"""From a profile, as the specification has it, to the program that the kernel runs.

What counts when several rules name one system call: a rule without conditions, the first of them;
else the first rule whose conditions hold; else the default. The specification is silent about it.
runc agrees where rules do not contradict each other. Where they do it leaves them to libseccomp,
which refuses some profiles and sorts the rules of others; and 2.5.4 loses a rule where it merges
several of one call with conditions on different arguments.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.oci.seccomp import SyscallArgument
from runtime.seccomp import constants
from runtime.seccomp.bpf import program
from runtime.seccomp.numbers import X32_BIT, numbers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runtime.oci.seccomp import Seccomp
    from runtime.seccomp.bpf import Decision, Ranges, Rule

    Conditions = tuple[SyscallArgument, ...]

_X86_64, _X32 = "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"
_ARM_PRIVATE = 0xF0000  # __ARM_NR_BASE, arch/arm/include/uapi/asm/unistd.h
# Numbers too large for an instruction arrive as 0 here, where the kernel does not know them.
_S390 = (constants.ARCHITECTURES["SCMP_ARCH_S390"], constants.ARCHITECTURES["SCMP_ARCH_S390X"])
_NO_NUMBER = 0xFFFF_FFFF  # -1: what a tracer writes so that no call is made


def compile_filter(
    seccomp: Seccomp, *, machine: str | None = None, listened: bool = False
) -> bytes:
    """The filter as an array of struct sock_filter, for this machine or another one.

    It may hold SCMP_ACT_NOTIFY if it is going to be installed by `listener.listening_installer`.

    Names that no table knows are left out, as runc does; any other word that is unknown raises
    ContainerError. Other architectures than the profile's and the machine's own kill the process.
    """
    machine = machine or os.uname().machine
    default = constants.return_value(
        seccomp.default_action, seccomp.default_errno_ret, "seccomp: defaultAction"
    )
    rules = list(_rules(seccomp, listened=listened))
    sections: dict[int, dict[int, list[Rule]]] = {}
    x32 = False
    for name in _architectures(seccomp, machine):
        x32 = x32 or name == _X32
        audit = constants.ARCHITECTURES[_X86_64 if name == _X32 else name]
        _add(sections.setdefault(audit, {}), rules, name)
    permissive = seccomp.default_action in constants.PERMISSIVE
    return program(
        {
            audit: _ranges(table, default, permissive=permissive, x32=x32, audit=audit)
            for audit, table in sections.items()
        },
        otherwise=constants.KILL_PROCESS,
        little_endian=constants.is_little_endian(next(iter(sections))),
    )


def filter_flags(seccomp: Seccomp) -> int:
    """The flags of seccomp(2) for a profile, SECCOMP_FILTER_FLAG_…."""
    flags = 0
    for name in seccomp.flags:
        flags |= constants.flag(name, "seccomp: flags")
    return flags


def _architectures(seccomp: Seccomp, machine: str) -> list[str]:
    """The machine's own first, then what the profile lists and this kernel could run."""
    native = constants.machine_names(machine)[0]
    little = constants.is_little_endian(constants.ARCHITECTURES[native])
    names = [native]
    for name in seccomp.architectures:
        audit = constants.architecture(name, "seccomp: architectures")
        # Of the other byte order: no process of this kernel has it, and the filter could not
        # read its arguments.
        if name not in names and constants.is_little_endian(audit) == little:
            names.append(name)
    if _X32 in names and _X86_64 not in names:
        names.append(_X86_64)  # one architecture to the kernel, told apart by a bit of the number
    return names


def _rules(seccomp: Seccomp, *, listened: bool) -> Iterator[tuple[str, Conditions, int]]:
    """Every rule of every name: conditions and what is returned; all words are checked."""
    for index, rule in enumerate(seccomp.syscalls):
        where = f"seccomp: syscalls[{index}]"
        if not rule.names:
            raise ContainerError(f"{where}: names is empty")
        value = constants.return_value(rule.action, rule.errno_ret, where, listened=listened)
        for place, argument in enumerate(rule.args):
            constants.check_argument(argument, f"{where}: args[{place}]")
        indexes = {argument.index for argument in rule.args}
        # Two conditions on one argument: either of them is enough, as in runc. libseccomp cannot
        # express both, and profiles that list several values were written for that.
        alternatives = (
            [rule.args] if len(indexes) == len(rule.args) else [(one,) for one in rule.args]
        )
        for name in rule.names:
            for conditions in alternatives:
                yield name, conditions, value


def _add(
    table: dict[int, list[Rule]], rules: list[tuple[str, Conditions, int]], architecture: str
) -> None:
    """Enter the rules under the numbers that they have on one architecture."""
    permissive = tuple(constants.ACTIONS[action] for action in constants.PERMISSIVE)
    wide = architecture == _X32 or constants.is_64_bit(constants.ARCHITECTURES[architecture])
    unconditional = {name for name, conditions, _ in rules if not conditions}
    for name, conditions, value in rules:
        numbers = numbers_of(name, architecture)
        if not wide:
            conditions = tuple(_narrow(condition) for condition in conditions)
        if numbers.direct is not None:
            table.setdefault(numbers.direct, []).append((conditions, value))
        through = numbers.multiplexed
        # The call's arguments are behind a pointer, or elsewhere, when it is made through another
        # one: conditions cannot be checked. Then none of them allows, and each of them refuses.
        unseen = conditions and (name in unconditional or value & 0xFFFF_0000 in permissive)
        if through is not None and not unseen:
            which = SyscallArgument(
                index=0, op="SCMP_CMP_MASKED_EQ", value=through.mask, value_two=through.call
            )
            table.setdefault(through.number, []).append(((which,), value))


def _narrow(condition: SyscallArgument) -> SyscallArgument:
    """A condition where arguments have 32 bits: there -1 is 2³²-1, as in libseccomp."""
    if condition.op not in ("SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_MASKED_EQ"):
        return condition
    return condition.replace(value=condition.value & 0xFFFF_FFFF)


def _ranges(
    table: Mapping[int, list[Rule]], default: int, *, permissive: bool, x32: bool, audit: int
) -> Ranges:
    """Decisions on all numbers there are, in order."""
    starts = _gaps(table, default, permissive=permissive, x32=x32, audit=audit)
    decisions: dict[int, Decision] = {start: (((), value),) for start, value in starts}
    for number, rules in table.items():
        unconditional = [rule for rule in rules if not rule[0]]
        decisions[number] = (unconditional[0],) if unconditional else (*rules, ((), default))
        if number + 1 not in table:
            gap = [value for start, value in starts if start <= number + 1][-1]
            decisions[number + 1] = (((), gap),)
    merged: list[tuple[int, Decision]] = []
    for start in sorted(decisions):
        if not merged or merged[-1][1] != decisions[start]:
            merged.append((start, decisions[start]))
    return merged


def _gaps(
    table: Mapping[int, list[Rule]], default: int, *, permissive: bool, x32: bool, audit: int
) -> list[tuple[int, int]]:
    """What becomes of numbers that no rule names, from each number on.

    Above the newest that the profile names it is ENOSYS: the C libraries try new calls first, and
    take nothing else for "this kernel does not have it". A permissive default stays.
    """
    newer = default if permissive else constants.RETURN_ENOSYS
    starts = [0]
    if audit == constants.ARCHITECTURES[_X86_64]:
        starts.append(X32_BIT)
    if audit == constants.ARCHITECTURES["SCMP_ARCH_ARM"]:
        starts.append(_ARM_PRIVATE)
    gaps = []
    for start, end in zip(starts, [*starts[1:], _NO_NUMBER], strict=True):
        named = [number for number in table if start <= number < end]
        gaps.append((start, default))
        if named:
            gaps.append((max(named) + 1, newer))
    if X32_BIT in starts and not x32:
        # As from a kernel without x32, even where all that is not named is allowed: these numbers
        # would reach the very calls that the rules name by others (seccomp(2), "Caveats").
        gaps = [*(gap for gap in gaps if gap[0] < X32_BIT), (X32_BIT, constants.RETURN_ENOSYS)]
    if audit in _S390:
        gaps = [(0, newer), (1, default), *gaps[1:]]
    gaps.append((_NO_NUMBER, newer))
    return gaps
