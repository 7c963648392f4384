"""Kernel parameters of a container's own namespaces (config-linux.md "Sysctl").

They are written through a procfs of our own that nobody else can see or mount over, so that a
write cannot be led to another file of /proc (CVE-2025-52881, CVE-2022-0811).
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.sandbox.mounts import new_filesystem

_SAFELY = (
    syscalls.RESOLVE_BENEATH
    | syscalls.RESOLVE_NO_SYMLINKS
    | syscalls.RESOLVE_NO_MAGICLINKS
    | syscalls.RESOLVE_NO_XDEV
)


def set_sysctls(values: tuple[tuple[str, str], ...]) -> None:
    """Set parameters; `values` were checked to be namespaced ones when the spec was read.

    Raises ContainerError that names the parameter and the value.
    """
    proc = new_filesystem("proc")
    try:
        for name, value in values:
            try:
                _set(proc, name, value)
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ContainerError(f"sysctl {name}: {value!r}: {reason}") from error
    finally:
        os.close(proc)


def _set(proc: int, name: str, value: str) -> None:
    # As sysctl(8): dots are separators, unless slashes are, where an interface has dots.
    path = name if "/" in name else name.replace(".", "/")
    flags = os.O_WRONLY | os.O_CLOEXEC
    fd = syscalls.openat2(proc, f"sys/{path}", flags, resolve=_SAFELY)
    try:
        os.write(fd, os.fsencode(value))
    finally:
        os.close(fd)
