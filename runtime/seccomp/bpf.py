"""Filters as programs of the classic BPF (Documentation/userspace-api/seccomp_filter.rst).

A filter is made of decisions on ranges of numbers, searched by halves: a system call costs six or
seven comparisons, and the kernel can tell beforehand which are allowed whatever their arguments.
"""

from __future__ import annotations

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from runtime.oci.seccomp import SyscallArgument

    # Conditions that must all hold, and what is returned then.
    Rule = tuple[tuple[SyscallArgument, ...], int]
    # Rules in order; the last has no conditions.
    Decision = tuple[Rule, ...]
    # From this number on, to the next range.
    Ranges = Sequence[tuple[int, Decision]]
    Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS, include/uapi/linux/bpf_common.h

# include/uapi/linux/bpf_common.h
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP = 0x05  # BPF_JMP | BPF_JA
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER = 0x25  # BPF_JGT
_GREATER_OR_EQUAL = 0x35  # BPF_JGE
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# struct seccomp_data, include/uapi/linux/seccomp.h
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def program(sections: Mapping[int, Ranges], *, otherwise: int, little_endian: bool) -> bytes:
    """A filter that decides by AUDIT_ARCH_…, then by number, then by arguments.

    `otherwise` is returned for any other architecture. Ranges begin at 0 and are in order.
    """
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture, ranges in sections.items():
        body = [(_LOAD, 0, 0, _NUMBER), *_search(ranges, little_endian)]
        code += [(_EQUAL, 1, 0, architecture), (_JUMP, 0, 0, len(body)), *body]
    code.append((_RETURN, 0, 0, otherwise))
    if len(code) > MAX_INSTRUCTIONS:
        raise ContainerError(
            f"seccomp: the filter has {len(code)} instructions, the kernel takes"
            f" {MAX_INSTRUCTIONS}"
        )
    order: Literal["little", "big"] = "little" if little_endian else "big"
    return b"".join(
        c.to_bytes(2, order) + bytes((jt, jf)) + k.to_bytes(4, order) for c, jt, jf, k in code
    )


def _search(ranges: Ranges, little_endian: bool) -> list[Instruction]:
    if len(ranges) == 1:
        return _decide(ranges[0][1], little_endian)
    middle = len(ranges) // 2
    low = _search(ranges[:middle], little_endian)
    high = _search(ranges[middle:], little_endian)
    start = ranges[middle][0]
    if len(low) < 256:  # a conditional jump is a byte
        return [(_GREATER_OR_EQUAL, len(low), 0, start), *low, *high]
    return [(_GREATER_OR_EQUAL, 0, 1, start), (_JUMP, 0, 0, len(low)), *low, *high]


def _decide(decision: Decision, little_endian: bool) -> list[Instruction]:
    code: list[Instruction] = []
    for conditions, value in decision:
        rule: list[Instruction] = [(_RETURN, 0, 0, value)]
        for condition in reversed(conditions):
            rule = [*_test(condition, len(rule), little_endian), *rule]
        code += rule
    return code


def _test(argument: SyscallArgument, skip: int, little_endian: bool) -> list[Instruction]:
    """Go on after the test if it holds, and skip so many instructions more if not.

    Arguments are 64 bits wide, BPF has 32: the high half decides unless it is equal.
    """
    place = _ARGUMENTS + 8 * argument.index
    low, high = (place, place + 4) if little_endian else (place + 4, place)
    if argument.op == "SCMP_CMP_MASKED_EQ":
        # Bits outside the mask do not count in either, as libseccomp has it.
        wanted = argument.value & argument.value_two
        return _masked(((high, argument.value >> 32, wanted >> 32),
                        (low, argument.value & _WORD, wanted & _WORD)), skip)  # fmt: skip
    # Each operator as one of three, or as the contrary of one.
    code, contrary = _COMPARISONS[argument.op]
    value_high, value_low = argument.value >> 32, argument.value & _WORD
    if code == _EQUAL:
        holds, fails = (skip, 0) if contrary else (0, skip)
        return [
            (_LOAD, 0, 0, high),
            (_EQUAL, 0, fails + 2, value_high),
            (_LOAD, 0, 0, low),
            (_EQUAL, holds, fails, value_low),
        ]
    holds, fails = (skip, 0) if contrary else (0, skip)
    return [
        (_LOAD, 0, 0, high),
        (_GREATER, holds + 3, 0, value_high),
        (_EQUAL, 0, fails + 2, value_high),
        (_LOAD, 0, 0, low),
        (code, holds, fails, value_low),
    ]


_WORD = 0xFFFF_FFFF
_COMPARISONS = {
    "SCMP_CMP_EQ": (_EQUAL, False),
    "SCMP_CMP_NE": (_EQUAL, True),
    "SCMP_CMP_GT": (_GREATER, False),
    "SCMP_CMP_LE": (_GREATER, True),
    "SCMP_CMP_GE": (_GREATER_OR_EQUAL, False),
    "SCMP_CMP_LT": (_GREATER_OR_EQUAL, True),
}


def _masked(words: tuple[tuple[int, int, int], ...], skip: int) -> list[Instruction]:
    code: list[Instruction] = []
    for place, mask, wanted in reversed(words):
        if mask:
            fails = skip + len(code)
            code = [(_LOAD, 0, 0, place), (_AND, 0, 0, mask), (_EQUAL, 0, fails, wanted), *code]
    return code
