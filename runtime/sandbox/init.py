"""The in-container stage: from a forked child to the container's process.

It runs with the host's rights and a stranger's files in sight. So everything that it needs is
imported before the fork; before the root changes, imports are blocked; descriptors above the
standard three are closed by the exec; the process is not dumpable, so nothing inside can look
into it. What goes wrong is reported as bytes on a pipe, which the exec closes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys

from runtime.errors import CommandError, ContainerError, PyrunError
from runtime.oci.spec import User
from runtime.record import Record
from runtime.sandbox import capabilities, mounts, syscalls
from runtime.sandbox.rootfs import make_private
from runtime.sandbox.rootpath import make_directories, open_in_root
from runtime.sandbox.users import Account, look_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.oci.spec import Process, Spec
    from runtime.sandbox.rootfs import RootFilesystem
else:  # the modules below these two import enum: two milliseconds
    import _signal as signal
    import _socket as socket

_CLONE_FLAGS = {
    "mount": syscalls.CLONE_NEWNS,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "network": syscalls.CLONE_NEWNET,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}
_TIOCSPTLCK, _TIOCGPTPEER, _TIOCSCTTY = 0x40045431, 0x5441, 0x540E  # asm-generic/ioctls.h
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h


class Start(Record):
    """All that the child needs to become the container."""

    spec: Spec
    rootfs: RootFilesystem
    scratch: str  # an empty directory to mount the root on
    stdio: tuple[int, int, int]
    report: int  # write end of the pipe for failures
    terminal_socket: int | None  # takes the pty's master, if the process has a terminal
    devices: tuple[str, ...]  # where it gets a /dev of its own
    prepare: Callable[[], None] | None  # called in the mount namespace, before the root is


def become(start: Start) -> NoReturn:
    """Turn the calling child process into the container's process, or exit having reported why."""
    try:
        _become(start)
    except PyrunError as error:
        message = f"{error.status} {error.message}"
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        message = f"125 {where}{error.strerror}"
    except BaseException as error:  # what is not foreseen must not unwind into the parent's code
        message = f"125 internal error: {error!r}"
    os.write(start.report, os.fsencode(message)[:4000])
    os._exit(125)


def _become(start: Start) -> NoReturn:
    _leave_parent(start.report)
    wanted = {namespace.type for namespace in start.spec.namespaces}
    flags = sum(flag for kind, flag in _CLONE_FLAGS.items() if kind in wanted)
    syscalls.unshare(flags)
    make_private()
    os.umask(0)
    if start.prepare is not None:
        start.prepare()
    root = start.rootfs.attach(start.scratch)
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _furnish(start, root_fd)
    process = start.spec.process
    account = _account(process, root_fd)
    _make_working_directory(root_fd, process.cwd)
    stdio = _open_terminal(start, root_fd) if process.terminal else start.stdio
    if "network" in wanted:
        _loopback_up()
    if "uts" in wanted and start.spec.hostname:
        syscalls.sethostname(start.spec.hostname)
    _block_imports()
    root_settings = start.spec.root
    _change_root(root_fd, readonly=root_settings is not None and root_settings.readonly)
    _connect(stdio, controlling=process.terminal)
    _execute(process, account)


def _leave_parent(report: int) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    poll = select.poll()
    poll.register(report, 0)
    if poll.poll(0):  # POLLERR: the reader is gone, so the parent died before the line above
        os._exit(125)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    os.setsid()
    # What is ignored stays so across exec: by Python SIGPIPE (`yes | head` would not end), by our
    # caller perhaps others.
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:  # SIGKILL, SIGSTOP, and two that are libc's own
            pass
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _furnish(start: Start, root_fd: int) -> None:
    """Attach what belongs inside the root, then hide what must not be seen there."""
    for path in start.devices:
        mounts.attach_devices(root_fd, path)
    for mount in start.spec.mounts:
        mounts.attach(mount, root_fd)
    if start.spec.masked_paths:
        mounts.mask(start.spec.masked_paths, root_fd)
    mounts.make_readonly(start.spec.readonly_paths, root_fd)


def _account(process: Process, root_fd: int) -> Account:
    if isinstance(process.user, User):
        return Account(user=process.user)
    return look_up(root_fd, process.user)


def _make_working_directory(root_fd: int, path: str) -> None:
    try:
        os.close(make_directories(root_fd, path))
    except OSError as error:
        raise ContainerError(f"working directory {path}: {error.strerror}") from error


def _open_terminal(start: Start, root_fd: int) -> tuple[int, int, int]:
    """Make a pty on the container's own devpts; its master goes to the parent.

    Everything is by descriptor: the image cannot put another device in the way (CVE-2025-52565).
    """
    flags = os.O_RDWR | os.O_NOCTTY
    master = open_in_root(root_fd, "/dev/pts/ptmx", flags, follow=False)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    slave: int = fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    if os.isatty(0):  # the caller's: its size must be there before the process asks for it
        fcntl.ioctl(slave, _TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, bytes(8)))
    console = mounts.mount_point(root_fd, "/dev/console", directory=False, exact=True)
    tree = syscalls.open_tree(slave, "")
    syscalls.move_mount(tree, console)
    assert start.terminal_socket is not None
    channel = socket.socket(fileno=start.terminal_socket)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))
    channel.sendmsg([b"\0"], [rights])
    for fd in (tree, console, master):
        os.close(fd)
    return slave, slave, slave


def _loopback_up() -> None:
    request = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)
    with_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    fcntl.ioctl(with_socket.fileno(), _SIOCSIFFLAGS, request)
    with_socket.close()


class _NoImports:
    """A finder that finds nothing and says so: the image's Python modules are not ours."""

    def find_spec(self, name: str, *_: object) -> NoReturn:
        raise ImportError(f"import of {name} after the root changed")


def _block_imports() -> None:
    sys.path[:] = []
    sys.meta_path[:] = [_NoImports()]


def _change_root(root_fd: int, *, readonly: bool) -> None:
    """Make the root the only one (pivot_root(2), "pivot_root(".", ".")")."""
    if readonly:
        syscalls.mount_setattr(root_fd, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
    os.fchdir(root_fd)
    syscalls.pivot_root(".", ".")
    # The old root now lies over the new one, at the same place.
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _connect(stdio: tuple[int, int, int], *, controlling: bool) -> None:
    # Through high numbers first: one of the three may sit at a place that another must take.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in stdio]
    for number, fd in enumerate(copies):
        os.dup2(fd, number)
    if controlling:
        fcntl.ioctl(0, _TIOCSCTTY, 0)
    # Also descriptors that our caller leaked to us (CVE-2024-21626).
    syscalls.close_range_cloexec(3)


def _execute(process: Process, account: Account) -> NoReturn:
    _give_up_privileges(process, account.user)
    try:
        os.chdir(process.cwd)
    except OSError as error:
        raise CommandError(f"{process.cwd}: {error.strerror}", status=126) from error
    if not os.getcwd().startswith("/"):  # "(unreachable)": outside of the root
        raise ContainerError(f"{process.cwd}: is outside of the container")
    umask = account.user.umask
    os.umask(0o022 if umask is None else umask)
    environment = dict(item.partition("=")[::2] for item in process.env)
    environment.setdefault("HOME", account.home)
    _exec_search(process.args, environment)


def _give_up_privileges(process: Process, user: User) -> None:
    mask = capabilities.capability_mask(process.capabilities.bounding)
    held = capabilities.held_capabilities()
    mask &= held
    capabilities.limit_bounding(mask, held)
    try:
        if _setgroups_allowed():
            os.setgroups(user.additional_gids)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ContainerError(
            f"user {user.uid}:{user.gid} does not exist in this user namespace: "
            "without root, ids other than 0 need a range in /etc/subuid and /etc/subgid"
        ) from error
    # A user other than root gets none (capabilities(7), "Effect of user ID changes").
    capabilities.set_capabilities(mask if user.uid == 0 else 0)
    # The change of ids cleared this one (prctl(2), PR_SET_PDEATHSIG).
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _setgroups_allowed() -> bool:
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read(4) != b"deny"
    except OSError:  # no /proc in this container: not a user namespace of ours
        return True


def _exec_search(args: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replace the process as execvpe(3) does; raises CommandError with docker's statuses."""
    name = args[0]
    if not name:
        raise CommandError("the command is an empty string", status=127)
    if "/" in name:
        candidates = [name]
    else:
        directories = environment.get("PATH", "").split(":")
        candidates = [f"{directory or '.'}/{name}" for directory in directories]
    refused: OSError | None = None
    for candidate in candidates:
        try:
            os.execve(candidate, args, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            # The file may be there and its interpreter or loader not.
            if os.path.lexists(candidate) and refused is None:
                refused = error
        except OSError as error:
            refused = error
    if refused is None:
        where = "no such file" if "/" in name else "not found in PATH"
        raise CommandError(f"{name}: {where}", status=127)
    raise _refusal(name, refused)


def _refusal(name: str, error: OSError) -> CommandError:
    if error.errno == errno.ENOENT:
        return CommandError(
            f"{name}: exists, but its interpreter or loader does not (or it is a dangling link)",
            status=127,
        )
    if error.errno == errno.ENOEXEC:
        return CommandError(
            f"{name}: not a program of this machine, nor a script with a #! line", status=126
        )
    return CommandError(f"{name}: {error.strerror}", status=126)
