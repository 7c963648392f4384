"""Recording the changes of owners that are asked for where they cannot be made.

While packages are installed in a user namespace with a single id, a filter (`runtime.seccomp.
installing`) stops chown(2) and its kin, and asks the builder. What makes root the owner the kernel
does itself. Anything else is recorded as what the file's layer will say, and reported as done: rpm
goes on, and set-user-id bits and capabilities that it sets afterwards stay.

What a file's status says stays: all is root's. A program that hands on the owner that it sees, as
busybox's chown does with the half that it was not given, so hands on root.

Who asks is a stranger's scriptlet. Its descriptors, its root and directory, and the path in its
memory are reached through /proc/PID, of a process that still waits for the answer (`is_waiting`),
so it is not another one. All paths are resolved below that process's root, by the kernel; what is
found there is only opened as a path (O_PATH), so nothing is read, waited for or set off. What is
then done to it the process could do itself: it is root of the same namespace. A hostile one can
choose whom its own files belong to in the layer, as one that runs as root can.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from buildkit.owners import Owner, Owners
from runtime.image.xattrs import note_owner, noted_owner
from runtime.record import Record
from runtime.sandbox import syscalls
from runtime.sandbox.entry import Entry
from runtime.sandbox.rootpath import open_in_root
from runtime.seccomp.constants import ARCHITECTURES
from runtime.seccomp.installing import ASK_OWNERS, NO_OWNERS, installing_filter
from runtime.seccomp.listener import Call, Listener, open_channel, receive_listener

_FCHOWN, _CHOWN, _LCHOWN, _FCHOWNAT = range(4)
_X32_BIT = 0x4000_0000
# Numbers of the calls (arch/*/entry/syscalls/*.tbl, asm-generic/unistd.h): the kind of each, and
# whether its ids have 16 bits.
_KINDS: dict[int, dict[int, tuple[int, bool]]] = {
    ARCHITECTURES["SCMP_ARCH_X86_64"]: {
        bit | number: (kind, False)
        for bit in (0, _X32_BIT)
        for number, kind in ((92, _CHOWN), (93, _FCHOWN), (94, _LCHOWN), (260, _FCHOWNAT))
    },
    ARCHITECTURES["SCMP_ARCH_AARCH64"]: {54: (_FCHOWNAT, False), 55: (_FCHOWN, False)},
    **{
        ARCHITECTURES[name]: {
            16: (_LCHOWN, True),
            95: (_FCHOWN, True),
            182: (_CHOWN, True),
            198: (_LCHOWN, False),
            207: (_FCHOWN, False),
            212: (_CHOWN, False),
            fchownat: (_FCHOWNAT, False),
        }
        for name, fchownat in (("SCMP_ARCH_X86", 298), ("SCMP_ARCH_ARM", 325))
    },
}
_AT_SYMLINK_NOFOLLOW = 0x100  # include/uapi/linux/fcntl.h
_PATH_MAX = 4096  # with the NUL
_LEAVE = 0xFFFF_FFFF  # -1: as it is
_OWN_DESCRIPTOR = re.compile(r"/(?:proc/(?:self|thread-self)/fd|dev/fd)/([0-9]+)")
# A rename on the machine while ".." was followed; a sandbox around us that does not know the call.
_ANOTHER_WAY = (errno.EAGAIN, errno.ENOSYS, errno.EPERM)
_AT_ONCE = 64  # answers, before somebody looks at what else has come
_SAID = 8  # unknown owners that are said


class _Wanted(Record):
    """What a process asks for: chown(2) in any of its forms."""

    kind: int
    uid: int
    gid: int
    fd: int  # a file's, or a directory's that a relative path begins at
    pointer: int  # to the path
    flags: int

    @property
    def makes_root(self) -> bool:
        """Whether the kernel can do it."""
        return self.uid in (0, _LEAVE) and self.gid in (0, _LEAVE)


class _UnreadableError(Exception):
    """A file that a process means cannot be found out."""


class Chowns:
    """Answers one container, and keeps what it asked for; an attendant of `buildkit.processes`.

    `root` is the new root where the container has it, `upper` where its files are on this machine;
    in a `fresh` one there were none.
    """

    def __init__(self, owners: Owners, *, root: str, upper: str, fresh: bool) -> None:
        self.unheard = 0  # the kernel's errno, where there was no listener
        self.unknown: list[str] = []  # owners that were changed and not recorded, as sentences
        self._owners = owners
        self._root = root
        self._upper = upper
        self._any = not fresh  # whether a file may have another owner than root
        self._groups = not fresh  # whether a directory may have another group
        self._listener: Listener | None = None
        self._channel, self._theirs = open_channel()

    @property
    def entry(self) -> Entry:
        """What the container needs for this."""
        return Entry(
            seccomp=installing_filter(ASK_OWNERS),
            seccomp_unheard=installing_filter(NO_OWNERS),
            listener=self._theirs,
        )

    @property
    def fd(self) -> int:
        """Readable when a call waits; -1 if none will."""
        return -1 if self._listener is None else self._listener.fd

    def begin(self) -> None:
        """Take the listener of the container, which runs."""
        os.close(self._theirs)
        channel, self._channel, self._theirs = self._channel, -1, -1
        self._listener, self.unheard = receive_listener(channel)

    def attend(self) -> None:
        """Answer what waits."""
        assert self._listener is not None
        for _ in range(_AT_ONCE):
            call = self._listener.receive()
            if call is None:
                return
            self._answer(self._listener, call)

    def close(self) -> None:
        """Answer no more."""
        if self._listener is not None:
            self._listener.close()
        for fd in {self._channel, self._theirs} - {-1}:
            os.close(fd)
        self._channel = self._theirs = -1

    def _answer(self, listener: Listener, call: Call) -> None:
        wanted = _wanted(call)
        if wanted is None or (wanted.makes_root and not self._any):
            listener.let_pass(call)
            return
        try:
            fd = self._open(listener, call, wanted)
            try:
                self._record(fd, wanted)
            finally:
                os.close(fd)
        except _UnreadableError as error:
            if not wanted.makes_root and len(self.unknown) < _SAID:
                ids = ("" if i == _LEAVE else str(i) for i in (wanted.uid, wanted.gid))
                self.unknown.append(f"{error} was given to {':'.join(ids)}")
        except OSError as error:
            if not wanted.makes_root:
                listener.answer(call, error.errno or errno.EIO)
                return
        if wanted.makes_root:
            listener.let_pass(call)
        else:
            listener.answer(call)

    def _open(self, listener: Listener, call: Call, wanted: _Wanted) -> int:
        """What a call is about, opened as a path; raises OSError as the kernel would."""
        try:
            fd = _open_for(call.pid, wanted)
        except OSError:
            if not listener.is_waiting(call):  # its /proc is gone, or somebody else's
                raise OSError(errno.EINTR, os.strerror(errno.EINTR)) from None
            raise
        if not listener.is_waiting(call):
            os.close(fd)
            raise OSError(errno.EINTR, os.strerror(errno.EINTR))
        return fd

    def _record(self, fd: int, wanted: _Wanted) -> None:
        place = f"/proc/self/fd/{fd}"
        status = os.fstat(fd)
        bears_notes = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if not wanted.makes_root:
            # What else the kernel does: read-only filesystems are refused, a file of a layer below
            # is copied up, set-id bits and capabilities of programs are taken away.
            syscalls.fchownat(fd, "", -1, -1, syscalls.AT_EMPTY_PATH)
        inode = None if bears_notes else self._inode(place, status)
        if bears_notes:
            before = noted_owner(place, follow=True)
        elif inode is not None:
            before = self._owners.noted(place, inode)
        else:
            return  # in /dev or /proc
        if before is None and wanted.makes_root and not self._may_inherit(place):
            return
        owner = _changed(before or (0, 0), wanted)
        self._any = True
        self._groups = self._groups or (owner[1] != 0 and stat.S_ISDIR(status.st_mode))
        if not bears_notes or not note_owner(place, owner):
            inode = inode or self._inode(place, status)
            if inode is not None:
                self._owners.note_inode(inode, owner)

    def _may_inherit(self, place: str) -> bool:
        """Whether a file could be taken for one of its directory's group, which it has not."""
        if not self._groups:
            return False
        path = os.readlink(place)
        if not path.startswith(f"{self._root}/"):
            return False
        above = os.path.dirname(self._upper + path[len(self._root) :])
        try:
            owner = noted_owner(above) if os.lstat(above).st_mode & stat.S_ISGID else None
        except FileNotFoundError:
            return False
        return owner is not None and owner[1] != 0

    def _inode(self, place: str, status: os.stat_result) -> os.stat_result | None:
        """The file as it is in the new root's own directory; None if it is not there."""
        path = os.readlink(place)
        if not path.startswith(f"{self._root}/"):
            return None
        try:
            found = os.lstat(self._upper + path[len(self._root) :])
        except FileNotFoundError:
            return None
        return found if stat.S_IFMT(found.st_mode) == stat.S_IFMT(status.st_mode) else None


def _wanted(call: Call) -> _Wanted | None:
    known = _KINDS.get(call.architecture, {}).get(call.number)
    if known is None:
        return None
    kind, short = known
    words = [argument & 0xFFFF_FFFF for argument in call.arguments]
    first = 2 if kind == _FCHOWNAT else 1
    uid, gid = words[first : first + 2]
    if short:
        uid, gid = (_LEAVE if i & 0xFFFF == 0xFFFF else i & 0xFFFF for i in (uid, gid))
    at = kind in (_FCHOWN, _FCHOWNAT)
    return _Wanted(
        kind=kind,
        uid=uid,
        gid=gid,
        fd=_signed(words[0]) if at else syscalls.AT_FDCWD,
        pointer=call.arguments[1 if kind == _FCHOWNAT else 0],
        flags=words[4] if kind == _FCHOWNAT else _AT_SYMLINK_NOFOLLOW * (kind == _LCHOWN),
    )


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _changed(before: Owner, wanted: _Wanted) -> Owner:
    return (
        before[0] if wanted.uid == _LEAVE else wanted.uid,
        before[1] if wanted.gid == _LEAVE else wanted.gid,
    )


def _open_for(pid: int, wanted: _Wanted) -> int:
    """Open what a process means as a path."""
    if wanted.kind == _FCHOWN:
        return _descriptor(pid, wanted.fd)
    if wanted.flags & ~(_AT_SYMLINK_NOFOLLOW | syscalls.AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    path = _read_path(pid, wanted.pointer)
    if not path:
        if not wanted.flags & syscalls.AT_EMPTY_PATH:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return _base(pid, wanted.fd)
    follow = not wanted.flags & _AT_SYMLINK_NOFOLLOW
    own = _OWN_DESCRIPTOR.fullmatch(path)
    if own is not None and follow:
        return _descriptor(pid, int(own[1]))
    flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
    root = _open_link(pid, "root", os.O_DIRECTORY)
    try:
        if path.startswith("/"):
            return _open_below(root, path, flags, path)
        base = _base(pid, wanted.fd, os.O_DIRECTORY)
        try:
            return _open_from(root, base, path, flags)
        finally:
            os.close(base)
    finally:
        os.close(root)


def _open_from(root: int, base: int, path: str, flags: int) -> int:
    """Open a relative path, which may lead above its directory but never above the root."""
    try:
        return syscalls.openat2(base, path, flags, resolve=syscalls.RESOLVE_BENEATH)
    except OSError as error:
        if error.errno not in (errno.EXDEV, *_ANOTHER_WAY):
            raise
    # openat2(2) takes one directory for both.
    above, here = (os.readlink(f"/proc/self/fd/{fd}") for fd in (root, base))
    inside = here[len(above.rstrip("/")) :]
    if not f"{here}/".startswith(above.rstrip("/") + "/"):
        raise _UnreadableError(f"{here}/{path}")
    return _open_below(root, f"{inside}/{path}", flags, path)


def _open_below(root: int, path: str, flags: int, said: str) -> int:
    try:
        return syscalls.openat2(root, path, flags, resolve=syscalls.RESOLVE_IN_ROOT)
    except OSError as error:
        if error.errno == errno.EXDEV:  # a link of /proc to what no path leads to
            raise _UnreadableError(said) from error
        if error.errno in _ANOTHER_WAY:
            return open_in_root(root, path, flags)
        raise


def _base(pid: int, fd: int, flags: int = 0) -> int:
    if fd == syscalls.AT_FDCWD:
        return _open_link(pid, "cwd", flags)
    return _descriptor(pid, fd, flags)


def _descriptor(pid: int, fd: int, flags: int = 0) -> int:
    """Open what a descriptor of a process is of."""
    try:
        return _open_link(pid, f"fd/{fd}", flags)
    except FileNotFoundError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


def _open_link(pid: int, name: str, flags: int) -> int:
    try:
        return os.open(f"/proc/{pid}/{name}", os.O_PATH | os.O_CLOEXEC | flags)
    except PermissionError as error:
        raise _UnreadableError(f"a file of {_name(pid)}") from error


def _read_path(pid: int, pointer: int) -> str:
    """The path in a process's memory; raises OSError as the kernel would."""
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _UnreadableError(f"a file of {_name(pid)}") from error
    try:
        content = os.pread(fd, _PATH_MAX, pointer)
    except (OSError, OverflowError):
        content = b""
    finally:
        os.close(fd)
    path, end, _ = content.partition(b"\0")
    if not end:
        number = errno.ENAMETOOLONG if len(content) == _PATH_MAX else errno.EFAULT
        raise OSError(number, os.strerror(number))
    return os.fsdecode(path)


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"the process {file.read().strip()}"
    except OSError:
        return "a process"
