"""Capability sets (capabilities(7)): names, the default sets, giving up what is not granted."""

from __future__ import annotations

from runtime.errors import UsageError
from runtime.record import Record
from runtime.sandbox.syscalls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    capget,
    capset,
    prctl,
)

# In the order of include/uapi/linux/capability.h: the index is the capability's number.
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()  # fmt: skip

# What podman gives a container, and what docker does: Dockerfiles rely on mknod, ping and sudo.
RUN_DEFAULT = frozenset(
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID "
    "SYS_CHROOT".split()
)
BUILD_DEFAULT = RUN_DEFAULT | {"AUDIT_WRITE", "MKNOD", "NET_RAW"}
ALL = frozenset(NAMES)


def parse_capability(text: str) -> str:
    """Return a capability's name as in `NAMES`; `cap_chown`, `CAP_CHOWN` and `CHOWN` are the same.

    Raises UsageError for a name that the kernel's header does not have.
    """
    name = text.upper().removeprefix("CAP_")
    if name not in ALL:
        raise UsageError(f"unknown capability {text!r}")
    return name


def capability_mask(names: frozenset[str]) -> int:
    """The 64-bit mask of a set of capabilities."""
    return sum(1 << NAMES.index(name) for name in names)


class Held(Record):
    """Two sets of the calling process, as masks."""

    effective: int
    bounding: int


def held_capabilities() -> Held:
    """The caller's sets, from the host's /proc: to be called before the root changes."""
    sets = {}
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith((b"CapEff:", b"CapBnd:")):
                sets[line[:6]] = int(line[7:], 16)
    return Held(effective=sets[b"CapEff"], bounding=sets[b"CapBnd"])


def holds(name: str) -> bool:
    """Whether the calling thread has a capability in effect."""
    return bool(capget()[0] >> NAMES.index(name) & 1)


def limit_bounding(mask: int, held: Held) -> None:
    """Give up, for good, every capability of the bounding set that `mask` does not have.

    Without SETPCAP that cannot be. Inherited ambient capabilities go as well: exec would hand
    them on.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if not held.effective >> NAMES.index("SETPCAP") & 1:
        return  # the set stays as it is, and nobody gets more than its maker had
    for number in range(held.bounding.bit_length()):
        if held.bounding & ~mask & 1 << number:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling process's three sets, given as masks."""
    capset(effective=effective, permitted=permitted, inheritable=inheritable)


def raise_ambient(mask: int) -> None:
    """Add capabilities, permitted and inheritable already, to the ambient set."""
    for number in range(mask.bit_length()):
        if mask >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
