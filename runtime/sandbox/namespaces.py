"""Namespaces of a container (namespaces(7)): which are new, which are joined, and the forks that
get a process into them (config-linux.md "Namespaces").

Most containers need one clone(2). A process in between is needed where only a child gets into a
namespace that its parent prepared: joined pid and user namespaces, time namespaces with offsets.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.oci.spec import Spec, TimeOffset

FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "pid": syscalls.CLONE_NEWPID,
    "mount": syscalls.CLONE_NEWNS,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "network": syscalls.CLONE_NEWNET,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "time": syscalls.CLONE_NEWTIME,
}
_PROC_NAMES = {"mount": "mnt", "network": "net"}  # the others are called the same in /proc/PID/ns


class Namespaces(Record):
    """The namespaces of one container, sorted by what is to be done for them."""

    new: frozenset[str]
    joined: tuple[tuple[str, int], ...] = ()  # kind, descriptor; the caller closes them
    time_offsets: tuple[TimeOffset, ...] = ()

    @property
    def clone_flags(self) -> int:
        """What the container's process is cloned with.

        Not its cgroup namespace, which starts where the process is once it was moved; nor its
        time namespace, which only children of who makes it are in.
        """
        return sum(FLAGS[kind] for kind in self.new - {"cgroup", "time"})

    @property
    def needs_middle(self) -> bool:
        """Whether a process in between must prepare what only a child gets."""
        joined = {kind for kind, _ in self.joined}
        # Who made a user namespace has no rights over namespaces from outside of it.
        return bool(
            "time" in self.new
            or joined & {"pid", "user", "time"}
            or ("user" in self.new and joined)
        )

    def close(self) -> None:
        """Close the descriptors of the joined ones."""
        for _, fd in self.joined:
            os.close(fd)


def open_namespaces(spec: Spec) -> Namespaces:
    """Sort a spec's namespaces and open those that are joined.

    All are opened before anything is joined: afterwards a path could lead somewhere else.
    Raises ContainerError for a path that is no namespace of its kind.
    """
    joined: list[tuple[str, int]] = []
    for namespace in spec.namespaces:
        if namespace.path is not None:
            try:
                joined.append((namespace.type, _open(namespace.type, namespace.path)))
            except ContainerError:
                for _, fd in joined:
                    os.close(fd)
                raise
    new = frozenset(n.type for n in spec.namespaces if n.path is None)
    return Namespaces(new=new, joined=tuple(joined), time_offsets=spec.time_offsets)


def _open(kind: str, path: str) -> int:
    import fcntl

    try:
        # A named pipe, found there by mistake, would be waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError(f"{kind} namespace {path}: {error.strerror}") from error
    try:
        found = fcntl.ioctl(fd, 0xB703)  # NS_GET_NSTYPE, linux/nsfs.h
    except OSError:
        found = 0
    if found != FLAGS[kind]:
        os.close(fd)
        raise ContainerError(f"{kind} namespace {path}: is no {kind} namespace")
    return fd


def clone_into(flags: int, group_fd: int | None) -> int:
    """Clone a process into a group of cgroup v2; see `syscalls.clone`."""
    try:
        return syscalls.clone(flags, group_fd)
    except OSError as error:
        # A sandbox around us may know nothing of clone3(2), and says so or refuses it.
        if group_fd is None or error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    pid = syscalls.clone(flags)
    if pid == 0:
        procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group_fd)
        os.write(procs, b"0")
        os.close(procs)
    return pid


def fork_into(
    namespaces: Namespaces,
    map_ids: Callable[[int], None] | None,
    fail: Callable[[BaseException], None],
    group_fd: int | None = None,
) -> int:
    """Fork the container's process, as os.fork(), a child of the caller in every case.

    It is born in the group of cgroup v2 that `group_fd` names, if it names one.

    `map_ids` is called in the caller with the pid of the process whose new user namespace waits
    for its maps; the child must wait for them before it does anything. What goes wrong in
    between is given to `fail` there, which reports it and ends that process.
    Raises ContainerError where this process may not make namespaces.
    """
    try:
        if not namespaces.needs_middle:
            pid = clone_into(namespaces.clone_flags, group_fd)
            if pid and map_ids is not None:
                map_ids(pid)
            return pid
        return _fork_by_middle(namespaces, map_ids, fail, group_fd)
    except PermissionError as error:
        hint = "run as root, or where unprivileged user namespaces are allowed"
        if os.geteuid() != 0 and "user" not in namespaces.new:
            hint = "without root, the configuration needs a user namespace (oci spec --rootless)"
        raise ContainerError("this process may not make namespaces", hint=hint) from error


def _fork_by_middle(
    namespaces: Namespaces,
    map_ids: Callable[[int], None] | None,
    fail: Callable[[BaseException], None],
    group_fd: int | None,
) -> int:
    pid_read, pid_write = os.pipe2(os.O_CLOEXEC)
    mapped_read, mapped_write = os.pipe2(os.O_CLOEXEC)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    middle = clone_into(0, group_fd)  # its child will be there too
    if middle == 0:
        try:
            os.close(mapped_write)
            pid = _clone_from_middle(namespaces, ready_write, mapped_read)
        except BaseException as error:
            fail(error)
            os._exit(125)
        if pid == 0:
            for fd in (pid_read, pid_write, mapped_read, ready_read, ready_write):
                os.close(fd)
            return 0
        os.write(pid_write, b"%d" % pid)
        os._exit(0)
    for fd in (pid_write, mapped_read, ready_write):
        os.close(fd)
    try:
        if map_ids is not None and os.read(ready_read, 1):
            map_ids(middle)
        os.close(mapped_write)
        mapped_write = -1
        pid = int(os.read(pid_read, 16) or b"0")
    finally:
        for fd in (pid_read, ready_read):
            os.close(fd)
        if mapped_write >= 0:
            os.close(mapped_write)
        os.waitpid(middle, 0)
    return pid or middle  # it is gone, and has reported why


def _clone_from_middle(namespaces: Namespaces, ready: int, mapped: int) -> int:
    join_first = [kind for kind, _ in namespaces.joined if kind not in ("user", "pid", "time")]
    left = join(namespaces, tuple(join_first), refused_later=True)
    if "user" in namespaces.new:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready, b"1")
        os.read(mapped, 1)  # ends when the maps are there
        become_root_inside()
    # The child is seen from inside as soon as it is there, so not by what it does itself.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    join(namespaces, ("user", *left, "pid", "time"), refused_later=False)
    if "time" in namespaces.new:
        syscalls.unshare(syscalls.CLONE_NEWTIME)
        _set_offsets(namespaces.time_offsets)
    flags = namespaces.clone_flags & ~syscalls.CLONE_NEWUSER
    return syscalls.clone(flags | syscalls.CLONE_PARENT)


def join(
    namespaces: Namespaces, kinds: tuple[str, ...], *, refused_later: bool
) -> tuple[str, ...]:
    """Join those of some kinds, in that order; returns the kinds that were refused.

    Which of a user namespace and the others must come first depends on who owns them: with
    `refused_later` one that may not be joined yet is left for later (user_namespaces(7)).
    """
    refused = []
    for kind in kinds:
        for joined, fd in namespaces.joined:
            if joined != kind:
                continue
            try:
                syscalls.setns(fd, FLAGS[kind])
            except PermissionError as error:
                if not refused_later:
                    raise ContainerError(f"{kind} namespace: may not be joined") from error
                refused.append(kind)
            else:
                if kind == "user":
                    become_root_inside()
    return tuple(refused)


def _set_offsets(offsets: tuple[TimeOffset, ...]) -> None:
    """What the clocks of a time namespace are ahead, before the first process is in it."""
    # The change of ids made our files in /proc root's (proc(5)); nobody else can see them yet.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    for offset in offsets:
        text = f"{offset.clock} {offset.seconds} {offset.nanoseconds}"
        try:
            with open("/proc/self/timens_offsets", "wb", buffering=0) as file:
                file.write(text.encode())
        except OSError as error:
            raise ContainerError(f"time offset {text!r}: {error.strerror}") from error
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def become_root_inside() -> None:
    """Take the ids 0 of the user namespace that was just entered, if it has them."""
    for change in (os.setresgid, os.setresuid):
        try:
            change(0, 0, 0)
        except OSError as error:
            if error.errno != 22:  # EINVAL: id 0 is not mapped; the namespace's rights are had
                raise


def is_same(pid: int, kind: str) -> bool:
    """Whether a process is in the caller's namespace of a kind."""
    theirs = os.stat(namespace_path(pid, kind))
    ours = os.stat(namespace_path(os.getpid(), kind))
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def namespace_path(pid: int, kind: str) -> str:
    """Where /proc shows a namespace of a process."""
    return f"/proc/{pid}/ns/{_PROC_NAMES.get(kind, kind)}"
