"""Run a command with what docker gives a container by default, and no more.

usage: plain_container.py COMMAND...    (as root; this machine's files stay in sight)

Docker's fourteen capabilities, and a filter that refuses what its seccomp profile refuses to a
process without CAP_SYS_ADMIN: namespaces and mounts. (moby, profiles/seccomp/default.json)
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}  # linux/capability.h
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_CAPBSET_DROP = 22, 2, 24
_LOAD, _EQUAL, _MASK, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: ld abs, jeq, jset, ret
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_NAMESPACES = 0x7E020000  # CLONE_NEW*
# open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
_REFUSED = {428, 429, 430, 431, 432, 433, 442}
# mount, umount2, pivot_root, unshare, setns; clone
_OLDER = {
    "x86_64": ({165, 166, 155, 272, 308}, 56),
    "aarch64": ({40, 39, 41, 97, 268}, 220),
}
_CLONE3 = 435


def _program() -> bytes:
    """The filter, as an array of struct sock_filter."""
    older, clone = _OLDER[os.uname().machine]
    code: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, 0)]  # the number
    for number in sorted(older | _REFUSED):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    # glibc falls back to clone, whose flags a filter can see.
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS)]
    code += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_MASK, 0, 1, _NAMESPACES)]
    code += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def main() -> None:
    """Become the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0) != 0:
        sys.exit(f"plain_container: seccomp: {os.strerror(ctypes.get_errno())}")
    for number in set(range(64)) - CAPABILITIES:
        libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)  # EINVAL: there is none
    os.execvp(sys.argv[1], sys.argv[1:])


main()
