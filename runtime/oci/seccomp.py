"""Runtime-spec seccomp filters (config-linux.md "Seccomp"), as values."""

from __future__ import annotations

from runtime.record import Record


class SyscallArgument(Record):
    """A condition on one argument of a system call; `op` is the specification's, SCMP_CMP_EQ…"""

    index: int  # 0 to 5
    value: int
    op: str
    value_two: int = 0  # of SCMP_CMP_MASKED_EQ: the value; `value` is the mask then


class SyscallRule(Record):
    """What happens to some system calls if all conditions on their arguments hold."""

    names: tuple[str, ...]
    action: str  # SCMP_ACT_ALLOW, …
    errno_ret: int | None = None
    args: tuple[SyscallArgument, ...] = ()


class Seccomp(Record):
    """A filter of system calls (config-linux.md "Seccomp")."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()  # SCMP_ARCH_X86_64, …; the machine's own always counts
    # The kernel refuses WAIT_KILLABLE_RECV without a listener; libseccomp leaves it out then.
    flags: tuple[str, ...] = ()
    syscalls: tuple[SyscallRule, ...] = ()
