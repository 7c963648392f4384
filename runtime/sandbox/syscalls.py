"""System calls that Python 3.11 lacks, each named and ordered as its man page.

Only: encode, call, check. Constants carry the header that defines them. The calls go through
`_ctypes` itself: the `ctypes` package on top of it costs a start more than all the calls do.
"""

from __future__ import annotations

import _ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

BYTE_ORDER = sys.byteorder

AT_FDCWD = -100  # include/uapi/linux/fcntl.h
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_SIGCHLD = 17
_CLONE_INTO_CGROUP = 0x200000000  # include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NODEV = 4  # include/uapi/linux/mount.h
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2  # sys/mount.h

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_ATIME = 0x70  # the mask of the three ways to keep access times
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

RESOLVE_NO_XDEV = 0x01  # include/uapi/linux/openat2.h
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

SYNC_FILE_RANGE_WRITE = 2  # include/uapi/linux/fs.h

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# From number 424 on, all architectures share one table (include/uapi/asm-generic/unistd.h); the
# older ones are x86_64's, and those of aarch64 and every later architecture.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3 = 435
_CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 436, 437, 442
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_X86_64 = os.uname().machine == "x86_64"
_CLONE, _KEYCTL, _IOPRIO_SET, _SCHED_SETATTR = (
    (56, 250, 251, 314) if _X86_64 else (220, 219, 30, 274)
)


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Word(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "I"


class _SixWords(_ctypes.Array):  # type: ignore[type-arg]
    _type_ = _Word
    _length_ = 6


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


class _HoldingFunction(_ctypes.CFuncPtr):
    """A function that is called with the interpreter's lock held, as os.fork() calls its own."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = _Long


# _LINUX_CAPABILITY_VERSION_3, and 0 for ourselves (linux/capability.h).
_CAP_HEADER = (0x20080522).to_bytes(4, BYTE_ORDER) + bytes(4)

_libc = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]  # the program itself


def _symbol(name: str) -> int:
    return _ctypes.dlsym(_libc, name)


_syscall = _Function(_symbol("syscall"))


def _fail(call: str, *args: object) -> NoReturn:
    """Raise the error of the call that just failed, printed as the call."""
    errno = _ctypes.get_errno()
    shown = ", ".join(hex(a) if isinstance(a, int) else repr(a) for a in args)
    raise OSError(errno, f"{call}({shown}): {os.strerror(errno)}")


def _words(args: tuple[int | bytes | None, ...]) -> list[object]:
    # Explicitly long: a bare int would be passed as 32 bits.
    return [_Long(a) if isinstance(a, int) else a for a in args]


def _call(name: str, number: int, *args: int | bytes | None) -> int:
    """Make a system call by its number."""
    result: int = _syscall(_Long(number), *_words(args))
    if result < 0:
        _fail(name, *args)
    return result


def _libc_call(name: str, *args: int | bytes | None) -> None:
    """Make a system call by libc's function for it."""
    # The functions return int: of the long that we read, the upper half means nothing.
    if _Function(_symbol(name))(*_words(args)) & 0xFFFFFFFF == 0xFFFFFFFF:
        _fail(name, *args)


def sync_file_range(fd: int, offset: int, nbytes: int, flags: int) -> None:
    """Begin to write a part of a file to the disk, or wait for that, as sync_file_range(2)."""
    _libc_call("sync_file_range", fd, offset, nbytes, flags)


def unshare(flags: int) -> None:
    """Move the caller into new namespaces, as unshare(2)."""
    _libc_call("unshare", flags)


def setns(fd: int, nstype: int) -> None:
    """Join a namespace, or several of the process that a pidfd names, as setns(2)."""
    _libc_call("setns", fd, nstype)


def clone(flags: int, cgroup_fd: int | None = None) -> int:
    """Fork, as os.fork(), with some of clone(2)'s CLONE_NEW* flags and CLONE_PARENT.

    So the caller stays where it is, and its next children are not born in the new namespaces.
    The child is born in the group of cgroup v2 whose directory `cgroup_fd` is, if that is given:
    the kernel need not wait for anybody then. Only for a process with one thread.
    """
    arguments: list[object] = [_Long(_CLONE), *map(_Long, (flags | _SIGCHLD, 0, 0, 0, 0))]
    if cgroup_fd is not None:
        # struct clone_args, of which the members that matter are the first, fifth and eleventh.
        words = [0] * 11
        words[0], words[10] = flags | _CLONE_INTO_CGROUP, cgroup_fd
        words[4] = 0 if flags & CLONE_PARENT else _SIGCHLD  # a sibling has the caller's own
        arguments = [
            _Long(_CLONE3),
            b"".join(word.to_bytes(8, BYTE_ORDER) for word in words),
            _Long(88),
        ]
    _HoldingFunction(_symbol("PyOS_BeforeFork"))()
    pid: int = _HoldingFunction(_symbol("syscall"))(*arguments)
    if pid == 0:
        _HoldingFunction(_symbol("PyOS_AfterFork_Child"))()
        return 0
    _HoldingFunction(_symbol("PyOS_AfterFork_Parent"))()
    if pid < 0:
        _fail("clone", flags)
    return pid


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a filesystem at `target`, as mount(2)."""
    s, t, f, d = (os.fsencode(text) for text in (source, target, fstype, data))
    _libc_call("mount", s, t, f, flags, d)


def umount2(target: str, flags: int) -> None:
    """Detach a mount, as umount2(2)."""
    _libc_call("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Exchange the root mount, as pivot_root(2)."""
    _libc_call("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def sethostname(name: str) -> None:
    """Set the hostname of the UTS namespace, as sethostname(2)."""
    encoded = os.fsencode(name)
    _libc_call("sethostname", encoded, len(encoded))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of the UTS namespace, as setdomainname(2)."""
    encoded = os.fsencode(name)
    _libc_call("setdomainname", encoded, len(encoded))


def personality(persona: int) -> None:
    """Set the execution domain of the calling process, as personality(2)."""
    _libc_call("personality", persona)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> None:
    """Change a property of the calling thread, as prctl(2)."""
    _libc_call("prctl", option, arg2, arg3, 0, 0)


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capability sets (64-bit masks), as capset(2)."""
    words = (
        (word >> shift & 0xFFFFFFFF).to_bytes(4, BYTE_ORDER)
        for shift in (0, 32)
        for word in (effective, permitted, inheritable)
    )
    if _Function(_symbol("capset"))(_CAP_HEADER, b"".join(words)) & 0xFFFFFFFF:
        _fail("capset", effective, permitted, inheritable)


def capget() -> tuple[int, int, int]:
    """The calling thread's effective, permitted and inheritable sets, as capget(2)."""
    words = _SixWords()
    if _Function(_symbol("capget"))(_CAP_HEADER, words) & 0xFFFFFFFF:
        _fail("capget")
    effective, permitted, inheritable = (words[i] | words[i + 3] << 32 for i in range(3))
    return effective, permitted, inheritable


def join_session_keyring(name: str) -> None:
    """Give the process a new session keyring, as keyctl(2) KEYCTL_JOIN_SESSION_KEYRING."""
    _call("keyctl", _KEYCTL, 1, os.fsencode(name))


def ioprio_set(pid: int, ioprio: int) -> None:
    """Set the I/O priority of a process, as ioprio_set(2) with IOPRIO_WHO_PROCESS."""
    _call("ioprio_set", _IOPRIO_SET, 1, pid, ioprio)


def sched_setattr(pid: int, attributes: bytes) -> None:
    """Set scheduling policy and attributes (a struct sched_attr), as sched_setattr(2)."""
    _call("sched_setattr", _SCHED_SETATTR, pid, attributes, 0)


def socket(domain: int, kind: int) -> int:
    """Return a socket, as socket(2); the module of that name takes a millisecond to load."""
    descriptor: int = _Function(_symbol("socket"))(_Long(domain), _Long(kind), _Long(0))
    if descriptor & 0xFFFFFFFF == 0xFFFFFFFF:
        _fail("socket", domain, kind)
    return descriptor


def fchownat(dirfd: int, path: str, owner: int, group: int, flags: int = 0) -> None:
    """Change the owner of a file, as fchownat(2): os.chown() knows no AT_EMPTY_PATH."""
    _libc_call("fchownat", dirfd, os.fsencode(path), owner, group, flags)


def openat2(dirfd: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open a path with restrictions on how it is resolved, as openat2(2)."""
    how = b"".join(word.to_bytes(8, BYTE_ORDER) for word in (flags | os.O_CLOEXEC, mode, resolve))
    fd: int = _syscall(_Long(_OPENAT2), _Long(dirfd), os.fsencode(path), how, _Long(24))
    if fd < 0:  # like os.open: the path is what the caller's user knows
        errno = _ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), path)
    return fd


def close_range_cloexec(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec, as close_range(2)."""
    _call("close_range", _CLOSE_RANGE, first, 0xFFFFFFFF, 4)  # CLOSE_RANGE_CLOEXEC


def landlock_create_ruleset(attributes: bytes | None, size: int, flags: int) -> int:
    """Return a new ruleset, or with flags a version, as landlock_create_ruleset(2)."""
    call = "landlock_create_ruleset"
    return _call(call, _LANDLOCK_CREATE_RULESET, attributes, size, flags)


def landlock_add_rule(ruleset_fd: int, rule_type: int, attributes: bytes) -> None:
    """Allow something in a ruleset, as landlock_add_rule(2)."""
    _call("landlock_add_rule", _LANDLOCK_ADD_RULE, ruleset_fd, rule_type, attributes, 0)


def landlock_restrict_self(ruleset_fd: int) -> None:
    """Restrict the calling thread and its children for good, as landlock_restrict_self(2)."""
    _call("landlock_restrict_self", _LANDLOCK_RESTRICT_SELF, ruleset_fd, 0)


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


def open_tree(dirfd: int, path: str, *, recursive: bool = False, follow: bool = True) -> int:
    """Return a detached bind mount of `path`, as open_tree(2) with OPEN_TREE_CLONE."""
    flags = 1 | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    flags |= 0 if follow else 0x100  # AT_SYMLINK_NOFOLLOW
    return _call("open_tree", _OPEN_TREE, dirfd, os.fsencode(path), flags)


def move_mount(fd: int, target_fd: int) -> None:
    """Attach a detached mount at the place that `target_fd` names, as move_mount(2)."""
    flags = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", _MOVE_MOUNT, fd, b"", target_fd, b"", flags)


def mount_setattr(
    fd: int,
    *,
    set_attributes: int = 0,
    clear_attributes: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    userns_fd: int = 0,
) -> None:
    """Change the attributes of a mount, and of those below it, as mount_setattr(2)."""
    words = (set_attributes, clear_attributes, propagation, userns_fd)
    attributes = b"".join(word.to_bytes(8, BYTE_ORDER) for word in words)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    result = _syscall(
        _Long(_MOUNT_SETATTR), _Long(fd), b"", _Long(flags), attributes, _Long(len(attributes))
    )
    if result < 0:
        _fail("mount_setattr", fd, *words)
