"""System calls that Python 3.11 lacks, each named and ordered as its man page.

Only: encode, call, check. Constants carry the header that defines them.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

AT_FDCWD = -100  # include/uapi/linux/fcntl.h
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_REC = 0x4000  # include/uapi/linux/mount.h
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2  # sys/mount.h

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_STRICTATIME = 0x20

RESOLVE_NO_MAGICLINKS = 0x02  # include/uapi/linux/openat2.h
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# From number 424 on, all architectures share one table (include/uapi/asm-generic/unistd.h).
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 436, 437, 442


def _fail(call: str, *args: object) -> NoReturn:
    """Raise the error of the call that just failed, printed as the call."""
    errno = ctypes.get_errno()
    shown = ", ".join(hex(a) if isinstance(a, int) else repr(a) for a in args)
    raise OSError(errno, f"{call}({shown}): {os.strerror(errno)}")


def _call(name: str, number: int, *args: int | bytes | None) -> int:
    """Make a system call by its number."""
    converted = (
        a if isinstance(a, bytes) else None if a is None else ctypes.c_long(a) for a in args
    )
    result: int = _syscall(ctypes.c_long(number), *converted)
    if result < 0:
        _fail(name, *args)
    return result


def unshare(flags: int) -> None:
    """Move the caller into new namespaces, as unshare(2)."""
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        _fail("unshare", flags)


def setns(fd: int, nstype: int) -> None:
    """Join a namespace, as setns(2)."""
    if _libc.setns(ctypes.c_int(fd), ctypes.c_int(nstype)) != 0:
        _fail("setns", fd, nstype)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a filesystem at `target`, as mount(2)."""
    s, t, f, d = (os.fsencode(text) for text in (source, target, fstype, data))
    if _libc.mount(s, t, f, ctypes.c_ulong(flags), d) != 0:
        _fail("mount", source, target, fstype, flags, data)


def umount2(target: str, flags: int) -> None:
    """Detach a mount, as umount2(2)."""
    if _libc.umount2(os.fsencode(target), ctypes.c_int(flags)) != 0:
        _fail("umount2", target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Exchange the root mount, as pivot_root(2)."""
    if _libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)) != 0:
        _fail("pivot_root", new_root, put_old)


def sethostname(name: str) -> None:
    """Set the hostname of the UTS namespace, as sethostname(2)."""
    encoded = os.fsencode(name)
    if _libc.sethostname(encoded, ctypes.c_size_t(len(encoded))) != 0:
        _fail("sethostname", name)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> None:
    """Change a property of the calling thread, as prctl(2)."""
    words = (ctypes.c_ulong(word) for word in (arg2, arg3, 0, 0))
    if _libc.prctl(ctypes.c_int(option), *words) < 0:
        _fail("prctl", option, arg2, arg3)


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capability sets (64-bit masks), as capset(2)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    words = (
        word >> shift & 0xFFFFFFFF
        for shift in (0, 32)
        for word in (effective, permitted, inheritable)
    )
    if _libc.capset(header, (ctypes.c_uint32 * 6)(*words)) != 0:
        _fail("capset", effective, permitted, inheritable)


def openat2(dirfd: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open a path with restrictions on how it is resolved, as openat2(2)."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = _syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_long(dirfd),
        os.fsencode(path),
        how,
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:  # like os.open: the path is what the caller's user knows
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), path)
    return fd


def close_range_cloexec(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec, as close_range(2)."""
    _call("close_range", _CLOSE_RANGE, first, 0xFFFFFFFF, 4)  # CLOSE_RANGE_CLOEXEC


def fsopen(fstype: str) -> int:
    """Begin to configure a new filesystem, as fsopen(2)."""
    return _call("fsopen", _FSOPEN, os.fsencode(fstype), 1)  # FSOPEN_CLOEXEC


def fsconfig_set(fd: int, key: str, value: str | None) -> None:
    """Set one parameter of a filesystem being made, as fsconfig(2); None sets a flag."""
    command = 0 if value is None else 1  # FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING
    encoded = None if value is None else os.fsencode(value)
    _call("fsconfig", _FSCONFIG, fd, command, os.fsencode(key), encoded, 0)


def fsconfig_create(fd: int) -> None:
    """Make the configured filesystem, as fsconfig(2) with FSCONFIG_CMD_CREATE."""
    _call("fsconfig", _FSCONFIG, fd, 6, None, None, 0)


def fsmount(fd: int, attributes: int) -> int:
    """Return a detached mount of a configured filesystem, as fsmount(2)."""
    return _call("fsmount", _FSMOUNT, fd, 1, attributes)  # FSMOUNT_CLOEXEC


def open_tree(dirfd: int, path: str, *, recursive: bool = False) -> int:
    """Return a detached bind mount of `path`, as open_tree(2) with OPEN_TREE_CLONE."""
    flags = 1 | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return _call("open_tree", _OPEN_TREE, dirfd, os.fsencode(path), flags)


def move_mount(fd: int, target_fd: int) -> None:
    """Attach a detached mount at the place that `target_fd` names, as move_mount(2)."""
    flags = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", _MOVE_MOUNT, fd, b"", target_fd, b"", flags)


def mount_setattr(
    fd: int, *, set_attributes: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Change the attributes of a mount, and of those below it, as mount_setattr(2)."""
    attributes = (ctypes.c_uint64 * 4)(set_attributes, 0, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    result = _syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_long(fd),
        b"",
        ctypes.c_long(flags),
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    if result < 0:
        _fail("mount_setattr", fd, set_attributes, propagation)
