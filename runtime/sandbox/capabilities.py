"""Capability sets (capabilities(7)): names, the default sets, giving up what is not granted."""

from __future__ import annotations

from runtime.errors import UsageError
from runtime.sandbox.syscalls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
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


def held_capabilities() -> int:
    """The caller's effective set, from /proc/self/status."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return int(line[7:], 16)
    return 0


def limit_bounding(mask: int, held: int) -> None:
    """Give up, for good, every capability of the bounding set that `mask` does not have.

    Needs SETPCAP. Inherited ambient capabilities go as well: exec would hand them on.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(held.bit_length()):
        if not mask >> number & 1:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(mask: int) -> None:
    """Make `mask` the permitted and effective set, and nothing inheritable.

    A non-empty inheritable set was CVE-2022-24769 and three more.
    """
    capset(effective=mask, permitted=mask, inheritable=0)
