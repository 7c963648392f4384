"""Filters for the installation of packages: they forbid nothing, but answer some calls themselves.

What is installed into a step's directory need not be on the disk before the layer is, so nothing
waits for that. And where the user namespace has one id, files cannot be given to others: who asks
for it is told that it was done, and a listener is told whose they are to be.

Like our default profile they are in the package as the kernel takes them: most machines that
install packages have libseccomp, but not all.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.oci.seccomp import Seccomp, SyscallRule
from runtime.seccomp import constants
from runtime.seccomp.load import MACHINES, shipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Not msync(2): it is also how programs ask whether an address is mapped.
_SYNC = (
    "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2",
    "arm_sync_file_range",
)  # fmt: skip
_CHOWN = ("chown", "fchown", "lchown", "fchownat", "chown32", "fchown32", "lchown32")
# All that a kernel of the machine can run: calls of another architecture would kill.
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

NO_SYNC = "-no-sync"  # nothing else
ASK_OWNERS = "-ask-owners"  # no owner is changed: a listener is asked (`listener`)
NO_OWNERS = "-no-owners"  # no owner is changed


def _profile(machine: str, *rules: SyscallRule) -> Seccomp:
    return Seccomp(
        default_action="SCMP_ACT_ALLOW",
        architectures=_ARCHITECTURES[machine],
        syscalls=(SyscallRule(names=_SYNC, action="SCMP_ACT_ERRNO", errno_ret=0), *rules),
    )


FILTERS: dict[str, Callable[[str], Seccomp]] = {
    NO_SYNC: _profile,
    ASK_OWNERS: lambda machine: _profile(
        machine, SyscallRule(names=_CHOWN, action=constants.NOTIFY)
    ),
    NO_OWNERS: lambda machine: _profile(
        machine, SyscallRule(names=_CHOWN, action="SCMP_ACT_ERRNO", errno_ret=0)
    ),
}


def installing_filter(name: str) -> bytes:
    """One of these filters, as an array of struct sock_filter for this machine."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise ContainerError(f"no filter for the machine {machine!r}")
    with open(shipped(machine, name), "rb") as file:
        return file.read()
