"""eBPF programs that decide about devices in cgroup v2: bpf(2), and the few instructions needed.

The kernel runs one on each open and mknod of a device node (BPF_PROG_TYPE_CGROUP_DEVICE): 1
permits, 0 is EPERM.
"""

from __future__ import annotations

import ctypes
import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# include/uapi/linux/bpf.h
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY = 13, 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2

# Opcodes: a class and an operation (bpf/standardization/instruction-set.rst)
LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
MOVE = 0xB7  # dst = imm
AND32, SHIFT_RIGHT32 = 0x54, 0x74  # dst &= imm, dst >>= imm
JUMP, JUMP_NOT_EQUAL, JUMP_IF_SET = 0x05, 0x55, 0x45  # always; if dst != imm; if dst & imm
EXIT = 0x95  # return r0

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of bpf(2)


def instruction(code: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """One instruction, little endian as both of our architectures."""
    return (
        bytes((code, src << 4 | dst))
        + offset.to_bytes(2, "little", signed=True)
        + imm.to_bytes(4, "little", signed=True)
    )


def load(program: Sequence[bytes]) -> int:
    """Load a program; returns its descriptor. Raises ContainerError, mostly for want of rights."""
    code = ctypes.create_string_buffer(b"".join(program))
    licence = ctypes.create_string_buffer(b"Apache")  # asks for no GPL-only function
    attributes = _attributes(
        *(BPF_PROG_TYPE_CGROUP_DEVICE, 4),
        *(len(program), 4),
        *(ctypes.addressof(code), 8),
        *(ctypes.addressof(licence), 8),
    )
    try:
        return _bpf(BPF_PROG_LOAD, attributes)
    except OSError as error:
        raise ContainerError(
            f"resources.devices: bpf(BPF_PROG_LOAD): {error.strerror}",
            hint="in cgroup v2 device rules are an eBPF program, which needs CAP_BPF or root",
        ) from error


def attach(group: int, program: int) -> None:
    """Add a program to a group; all programs of a group must permit."""
    values = (group, 4, program, 4, BPF_CGROUP_DEVICE, 4, BPF_F_ALLOW_MULTI, 4)
    try:
        _bpf(BPF_PROG_ATTACH, _attributes(*values))
    except OSError as error:
        raise ContainerError(
            f"resources.devices: bpf(BPF_PROG_ATTACH): {error.strerror}"
        ) from error


def detach(group: int, program: int) -> None:
    """Take a program from a group. Raises OSError."""
    _bpf(BPF_PROG_DETACH, _attributes(group, 4, program, 4, BPF_CGROUP_DEVICE, 4))


def attached(group: int) -> list[int]:
    """The ids of a group's own device programs. Raises OSError."""
    ids = (ctypes.c_uint32 * 64)()  # the kernel's greatest number (BPF_CGROUP_MAX_PROGS)
    values = (group, 4, BPF_CGROUP_DEVICE, 4, 0, 4, 0, 4, ctypes.addressof(ids), 8, 64, 4)
    attributes = _attributes(*values)
    _bpf(BPF_PROG_QUERY, attributes)
    count = int.from_bytes(attributes.raw[24:28], "little")
    return list(ids[:count])


def open_program(number: int) -> int:
    """A descriptor of a program by its id. Raises OSError."""
    return _bpf(BPF_PROG_GET_FD_BY_ID, _attributes(number, 4))


def _attributes(*values: int) -> ctypes.Array[ctypes.c_char]:
    """The union bpf_attr: numbers, each followed by its size; what is left is zero."""
    pairs = zip(values[::2], values[1::2], strict=True)
    content = b"".join(value.to_bytes(size, "little") for value, size in pairs)
    return ctypes.create_string_buffer(content, 128)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise ContainerError(f"resources.devices: no eBPF programs for {machine} here")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    size = ctypes.c_long(ctypes.sizeof(attributes))
    number, first = ctypes.c_long(_NUMBERS[machine]), ctypes.c_long(command)
    result: int = syscall(number, first, attributes, size)
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
