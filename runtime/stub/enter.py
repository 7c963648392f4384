"""Entering a container's own program by way of the stub (stub.c), which leaves nothing of ours.

`prepare` makes the stub, in a memfd that nobody can change any more: early, while the host's files
are still in sight. `execute` is the last thing that the process in the container does in Python,
and imports nothing. `decode_report` reads, on the host's side, what the stub wrote: nothing if the
program runs.

The stub installs the seccomp filter, so a filter needs to allow, of what is ours, only execve,
write and exit_group, the latter two for the report of a failure. `init` keeps the stub as the
first process: the program becomes its child, in a process group of its own and with the terminal;
signals are sent on to it, orphans are collected, and its status becomes the container's. The
filter is the child's alone; the first process has one of its own that leaves it four calls.

While it is the stub, nobody traces the process or reaches it through /proc without CAP_SYS_PTRACE:
the memfd's mode refuses reading, which makes the process not dumpable (proc(5), /proc/PID). The
program that follows is as usual.
"""

from __future__ import annotations

import errno
import os
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox.syscalls import capget, capset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

MACHINES = {"x86_64": 62, "aarch64": 183}  # as uname(2) names them: e_machine (elf(5))
BASE = 0x400000  # where the stub is mapped; a multiple of every page size
HEADERS_SIZE = 192  # the ELF header, two program headers, and what aligns the code

_PHASES = {1: "seccomp", 2: "fork", 3: "exec"}  # `enum phase` of stub.c
_MFD_EXEC = 0x10  # include/uapi/linux/memfd.h
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3  # include/uapi/linux/seccomp.h
_BPF_MAXINSNS = 4096  # include/uapi/linux/bpf_common.h
_READ_ANY_FILE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class Failure(Record):
    """What the stub could not do: "exec", "seccomp" (install the filter) or "fork"."""

    phase: str
    errno: int


def prepare(
    *, report: int, seccomp: bytes = b"", seccomp_flags: int = 0, init: bool = False
) -> int:
    """Return a sealed memfd with the stub, for `execute`, whose `report` is the same number.

    Best called before the fork: in a new child, whose every first write to a page copies it, the
    same takes 20 times as long. The ids of who makes it should be mapped in the container's user
    namespace, or else only the host's root can join a first process that stays (`init`).
    `seccomp` is a compiled filter (struct sock_filter[]); the process must have no_new_privs, or
    CAP_SYS_ADMIN, by then. A filter with a listener is refused: nobody would get its descriptor.
    Raises ContainerError where there is no stub for the machine, or no memfd to execute.
    """
    content = program(
        os.uname().machine,
        report=report,
        seccomp=seccomp,
        seccomp_flags=seccomp_flags,
        init=init,
    )
    memfd = _executable_memfd()
    if os.write(memfd, content) != len(content):  # RLIMIT_FSIZE, or no memory
        raise ContainerError(f"the exec stub, {len(content)} bytes, does not fit into a memfd")
    os.fchmod(memfd, 0o111)
    fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
    return memfd


def execute(
    memfd: int, path: str, args: Sequence[str], env: Mapping[str, str], report: int
) -> NoReturn:
    """Replace the process by the stub, and that by the program at `path`.

    A failure of the stub itself is an OSError (E2BIG: its arguments are the program's and the path
    before them); what the stub cannot do it writes to `report`, and exits with 127 for a program
    that is not there, 126 for one that cannot be executed, else 125.
    """
    os.set_inheritable(report, True)
    # The mode refuses reading to all who do not ignore modes. The exec gives these back to whoever
    # would have them after it.
    effective, permitted, inheritable = capget()
    if effective & _READ_ANY_FILE:
        capset(effective=effective & ~_READ_ANY_FILE, permitted=permitted, inheritable=inheritable)
    os.execve(memfd, (path, *args), env)


def decode_report(data: bytes) -> Failure | None:
    """What the stub wrote to the report descriptor; None if it is no record of the stub.

    Nothing at all means that the program was executed. A record begins with a byte below 32.
    """
    if len(data) != 5 or data[0] not in _PHASES:
        return None
    return Failure(phase=_PHASES[data[0]], errno=int.from_bytes(data[1:], "little"))


def program(
    machine: str, *, report: int, seccomp: bytes = b"", seccomp_flags: int = 0, init: bool = False
) -> bytes:
    """The stub as an ELF file for `machine`; see `prepare`."""
    if machine not in MACHINES:
        raise ContainerError(
            f"no exec stub for {machine} machines: there are ones for {' and '.join(MACHINES)}"
        )
    length, rest = divmod(len(seccomp), 8)
    if rest or length > _BPF_MAXINSNS:
        raise ContainerError(
            f"seccomp filter: {len(seccomp)} bytes, not a multiple of 8 up to {8 * _BPF_MAXINSNS}"
        )
    if seccomp_flags & _SECCOMP_FILTER_FLAG_NEW_LISTENER:
        raise ContainerError("seccomp filter: the exec stub cannot hand on a listener")
    path = os.path.join(os.path.dirname(__file__), f"{machine}.bin")
    with open(path, "rb", buffering=0) as file:
        code = file.read()
    # `struct block` of stub.c
    block = b"".join(
        number.to_bytes(4, "little") for number in (report, init, seccomp_flags, length)
    )
    return _headers(machine, len(code) + len(block) + len(seccomp)) + code + block + seccomp


def _headers(machine: str, size: int) -> bytes:
    """ELF and program headers (elf(5)) for the `size` bytes behind them; they begin with code."""

    def pack(fields: Sequence[tuple[int, int]]) -> bytes:
        return b"".join(value.to_bytes(width, "little") for value, width in fields)

    total = HEADERS_SIZE + size
    read, write, execute_ = 4, 2, 1
    elf = ((2, 2), (MACHINES[machine], 2), (1, 4), (BASE + HEADERS_SIZE, 8), (64, 8), (0, 8))
    sizes = ((0, 4), (64, 2), (56, 2), (2, 2), (0, 2), (0, 2), (0, 2))
    load = ((1, 4), (read | execute_, 4), (0, 8), (BASE, 8), (BASE, 8), (total, 8), (total, 8))
    # PT_GNU_STACK: without it, the stack could be executed.
    stack = ((0x6474E551, 4), (read | write, 4), (0, 8), (0, 8), (0, 8), (0, 8), (0, 8), (16, 8))
    fields = pack((*elf, *sizes, *load, (0x10000, 8), *stack))
    return (b"\x7fELF\2\1\1".ljust(16, b"\0") + fields).ljust(HEADERS_SIZE, b"\0")


def _executable_memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("pyrun-stub", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EINVAL:  # before Linux 6.3, all can be executed
            return os.memfd_create("pyrun-stub", flags)
        if error.errno == errno.EACCES:
            raise ContainerError(
                "the exec stub needs a memfd that can be executed, which this machine refuses",
                hint="set the sysctl vm.memfd_noexec to 0 or 1",
            ) from error
        raise
