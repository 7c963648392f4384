"""The specification's words for filters (config-linux.md "Seccomp"), and the kernel's numbers.

Every look-up raises ContainerError with the value found: a word that we do not know must not end
as a filter that lets more through than its author thought.
"""

from __future__ import annotations

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.oci.seccomp import SyscallArgument

EPERM, ENOSYS = 1, 38

# SECCOMP_RET_…, include/uapi/linux/seccomp.h. SCMP_ACT_KILL is the older name of KILL_THREAD.
ACTIONS = {
    "SCMP_ACT_KILL": 0x0000_0000,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_KILL_THREAD": 0x0000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": 0x0005_0000,
    "SCMP_ACT_TRACE": 0x7FF0_0000,
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
}
KILL_PROCESS = ACTIONS["SCMP_ACT_KILL_PROCESS"]
NOTIFY = "SCMP_ACT_NOTIFY"  # for filters of our own: a profile's agent would have to be asked
RETURN_NOTIFY = 0x7FC0_0000  # SECCOMP_RET_USER_NOTIF
RETURN_ENOSYS = ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS
# The system call is made after all, or a tracer decides: it knows what to do with a new one.
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

# The greatest value that comes with an action. An errno above MAX_ERRNO (include/linux/err.h)
# would be cut to it; a tracer gets 16 bits.
_DATA = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

# AUDIT_ARCH_…, include/uapi/linux/audit.h; x32 is libseccomp's own: to the kernel it is x86-64.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x4000_0003,
    "SCMP_ARCH_X86_64": 0xC000_003E,
    "SCMP_ARCH_X32": 0x4000_003E,
    "SCMP_ARCH_ARM": 0x4000_0028,
    "SCMP_ARCH_AARCH64": 0xC000_00B7,
    "SCMP_ARCH_LOONGARCH64": 0xC000_0102,
    "SCMP_ARCH_M68K": 0x0000_0004,
    "SCMP_ARCH_MIPS": 0x0000_0008,
    "SCMP_ARCH_MIPS64": 0x8000_0008,
    "SCMP_ARCH_MIPS64N32": 0xA000_0008,
    "SCMP_ARCH_MIPSEL": 0x4000_0008,
    "SCMP_ARCH_MIPSEL64": 0xC000_0008,
    "SCMP_ARCH_MIPSEL64N32": 0xE000_0008,
    "SCMP_ARCH_PARISC": 0x0000_000F,
    "SCMP_ARCH_PARISC64": 0x8000_000F,
    "SCMP_ARCH_PPC": 0x0000_0014,
    "SCMP_ARCH_PPC64": 0x8000_0015,
    "SCMP_ARCH_PPC64LE": 0xC000_0015,
    "SCMP_ARCH_RISCV64": 0xC000_00F3,
    "SCMP_ARCH_S390": 0x0000_0016,
    "SCMP_ARCH_S390X": 0x8000_0016,
    "SCMP_ARCH_SH": 0x4000_002A,
    "SCMP_ARCH_SHEB": 0x0000_002A,
}
_64_BIT, _LITTLE_ENDIAN = 0x8000_0000, 0x4000_0000  # __AUDIT_ARCH_64BIT, __AUDIT_ARCH_LE

# What uname(2) says -> the specification's word, and Go's, which docker's profiles use.
_MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "i386": ("SCMP_ARCH_X86", "386"),
    "i486": ("SCMP_ARCH_X86", "386"),
    "i586": ("SCMP_ARCH_X86", "386"),
    "i686": ("SCMP_ARCH_X86", "386"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv6l": ("SCMP_ARCH_ARM", "arm"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "armv8l": ("SCMP_ARCH_ARM", "arm"),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64", "loong64"),
    "ppc64": ("SCMP_ARCH_PPC64", "ppc64"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
}

# SECCOMP_FILTER_FLAG_…, include/uapi/linux/seccomp.h. The kernel takes WAIT_KILLABLE_RECV only
# with a listener, and it changes nothing without one: here it is known, and adds nothing.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0,
}


def supported_actions() -> tuple[str, ...]:
    """The actions of a rule, for `features`."""
    return tuple(ACTIONS)


def supported_operators() -> tuple[str, ...]:
    """The operators of a condition, for `features`."""
    return OPERATORS


def supported_architectures() -> tuple[str, ...]:
    """The architectures of a profile, for `features`."""
    return tuple(ARCHITECTURES)


def supported_flags() -> tuple[str, ...]:
    """The flags of a profile, for `features`."""
    return tuple(FLAGS)


def return_value(action: str, errno: int | None, where: str, *, listened: bool = False) -> int:
    """What a filter returns for an action: SECCOMP_RET_… with its data.

    Without a number, errno and what a tracer is told are EPERM, as the specification says. Only
    where the filter is `listened` to can it notify somebody.
    """
    if action == NOTIFY:
        if listened:
            return RETURN_NOTIFY
        raise ContainerError(
            f"{where}: action {action!r} is not supported: there is no agent to ask"
        )
    value = _known(ACTIONS, action, f"{where}: action")
    greatest = _DATA.get(action)
    if greatest is None:
        if errno is not None:
            raise ContainerError(f"{where}: errnoRet is {errno}, but {action} returns no errno")
        return value
    data = EPERM if errno is None else errno
    if not 0 <= data <= greatest:
        raise ContainerError(f"{where}: errnoRet is {data}, 0 to {greatest} expected")
    return value | data


def check_argument(argument: SyscallArgument, where: str) -> None:
    """Refuse a condition that no filter can express."""
    _known(dict.fromkeys(OPERATORS, 0), argument.op, f"{where}: op")
    if not 0 <= argument.index <= 5:
        raise ContainerError(f"{where}: index is {argument.index}, 0 to 5 expected")
    for name, value in (("value", argument.value), ("valueTwo", argument.value_two)):
        if not 0 <= value < 1 << 64:
            raise ContainerError(f"{where}: {name} is {value}, 0 to 2⁶⁴-1 expected")


def architecture(name: str, where: str) -> int:
    """AUDIT_ARCH_… of an architecture, and libseccomp's number for x32."""
    return _known(ARCHITECTURES, name, f"{where}: architecture")


def is_little_endian(audit_architecture: int) -> bool:
    """Whether the low half of a 64-bit argument comes first."""
    return bool(audit_architecture & _LITTLE_ENDIAN)


def is_64_bit(audit_architecture: int) -> bool:
    """Whether arguments have 64 bits; x32, which has them too, is not told apart by this."""
    return bool(audit_architecture & _64_BIT)


def flag(name: str, where: str) -> int:
    """SECCOMP_FILTER_FLAG_… of a flag."""
    return _known(FLAGS, name, f"{where}: flag")


def machine_names(machine: str) -> tuple[str, str]:
    """The specification's word and Go's for what uname(2) says."""
    if machine not in _MACHINES:
        raise ContainerError(f"seccomp: no filters for the machine {machine!r}")
    return _MACHINES[machine]


def _known(table: Mapping[str, int], word: str, where: str) -> int:
    if word not in table:
        raise ContainerError(f"{where} {word!r} is unknown, one of {', '.join(table)} expected")
    return table[word]
