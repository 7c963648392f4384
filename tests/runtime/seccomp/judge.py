"""What a filter decides: by interpreting it, by what its profile says, and by the kernel."""

from __future__ import annotations

import ctypes
import functools
import os
import struct

from runtime.seccomp.constants import return_value
from runtime.seccomp.load import install_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.seccomp import Seccomp, SyscallArgument

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000

KILL_THREAD, KILL_PROCESS, TRAP = 0, 0x80000000, 0x30000
TRACE, LOG, ALLOW = 0x7FF00000, 0x7FFC0000, 0x7FFF0000
EPERM, EINVAL, ENOSYS, EAFNOSUPPORT = 1, 22, 38, 97

_LIBC = ctypes.CDLL(None, use_errno=True)


def errno(number: int) -> int:
    """The decision to fail with an errno."""
    return 0x50000 | number


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Interpret a filter as the kernel does (net/core/filter.c, the part that seccomp allows)."""
    words = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *words)
    code = _decoded(program)
    at = accumulator = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x25:
                at += if_true if accumulator > k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x45:
                at += if_true if accumulator & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"instruction {at - 1}: {operation:#x}")


@functools.cache
def _decoded(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<HBBI", program))


def meant(seccomp: Seccomp, name: str, *arguments: int) -> int:
    """What a profile says about a call that it names or does not, in the words of `compile`."""
    words = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    for rule in sorted(seccomp.syscalls, key=lambda rule: bool(rule.args)):  # stable
        conditions = [holds(argument, words[argument.index]) for argument in rule.args]
        indexes = {argument.index for argument in rule.args}
        if name in rule.names and (all, any)[len(indexes) < len(rule.args)](conditions):
            return return_value(rule.action, rule.errno_ret, "")
    return return_value(seccomp.default_action, seccomp.default_errno_ret, "")


def holds(argument: SyscallArgument, word: int) -> bool:
    """Whether a condition holds for the value of an argument."""
    value = argument.value
    return {
        "SCMP_CMP_NE": word != value,
        "SCMP_CMP_LT": word < value,
        "SCMP_CMP_LE": word <= value,
        "SCMP_CMP_EQ": word == value,
        "SCMP_CMP_GE": word >= value,
        "SCMP_CMP_GT": word > value,
        "SCMP_CMP_MASKED_EQ": word & value == argument.value_two & value,
    }[argument.op]


def call(program: bytes, number: int, *arguments: int | bytes) -> int:
    """Make a call in a child under a filter: its errno, 0 if it succeeded, or minus a signal."""
    child = os.fork()
    if child == 0:
        try:
            restrict(program)
            converted = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
            converted += [ctypes.c_long(0)] * (6 - len(converted))
            ctypes.set_errno(0)
            result = _LIBC.syscall(ctypes.c_long(number), *converted)
            os._exit(ctypes.get_errno() if result == -1 else 0)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def restrict(program: bytes) -> None:
    """Give up new privileges, which a caller without rights must, and install a filter."""
    if _LIBC.prctl(38, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    install_filter(program)
