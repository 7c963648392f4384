"""The `seccomp` object (config-linux.md "Seccomp") -> `Seccomp`; what it means is not here."""

from __future__ import annotations

from runtime.oci.config_document import MAX_UINT64, Table, shown
from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule

ACTIONS = tuple(
    f"SCMP_ACT_{name}"
    for name in "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split()
)
OPERATORS = tuple(f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split())
FLAGS = tuple(
    f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
)
ARCHITECTURES = tuple(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 "
        "MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X SH SHEB PARISC PARISC64 RISCV64"
    ).split()
)
_MAX_ERRNO = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 2**16 - 1}  # seccomp(2), SECCOMP_RET_DATA


def seccomp_from(linux: Table) -> Seccomp | None:
    """The filter of `linux.seccomp`, or None."""
    table = linux.table("seccomp")
    if table is None:
        return None
    path = table.optional_text("listenerPath")
    if path:
        raise table.error("listenerPath", f"is {shown(path)}, but listeners are not supported")
    action = _action(table, "defaultAction")
    return Seccomp(
        default_action=action,
        default_errno_ret=_errno(table, "defaultErrnoRet", action),
        architectures=table.choices("architectures", ARCHITECTURES, "an architecture"),
        flags=table.choices("flags", FLAGS, "a flag of a filter"),
        syscalls=tuple(_rule(rule) for rule in table.tables("syscalls")),
    )


def _rule(table: Table) -> SyscallRule:
    names = table.strings("names")
    if not all(names):
        raise table.error(f"names[{names.index('')}]", "is empty")
    if not names:
        raise table.error("names", "is empty" if table.has("names") else "is missing")
    action = _action(table, "action")
    return SyscallRule(
        names=names,
        action=action,
        errno_ret=_errno(table, "errnoRet", action),
        args=tuple(
            SyscallArgument(
                index=argument.integer("index", 0, 5),
                value=argument.integer("value", 0, MAX_UINT64),
                value_two=argument.optional_integer("valueTwo", 0, MAX_UINT64) or 0,
                op=argument.choice("op", OPERATORS, "an operator"),
            )
            for argument in table.tables("args")
        ),
    )


def _action(table: Table, name: str) -> str:
    action = table.choice(name, ACTIONS, "an action")
    if action == "SCMP_ACT_NOTIFY":
        raise table.error(name, f"is {shown(action)}, but listeners are not supported")
    return action


def _errno(table: Table, name: str, action: str) -> int | None:
    """The number that goes with an action; "the runtime MUST print an error" where none does."""
    if table.has(name) and action not in _MAX_ERRNO:
        raise table.error(name, f"does not go with {action}")
    return table.optional_integer(name, 0, _MAX_ERRNO.get(action, 0))
