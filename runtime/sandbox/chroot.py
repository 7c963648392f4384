"""A process below another root without any namespace: where neither CAP_SYS_ADMIN nor a user
namespace is to be had, as in a plain container.

chroot(2) confines paths and nothing else: the process has the machine's network, hostname and
other processes in sight, and as root it can leave. So this is for steps of a build that may do
what the builder itself may, never for a stranger's image. In place of a PID namespace a process of
ours adopts what the first one leaves behind, and kills it.
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
from runtime.sandbox import capabilities, syscalls
from runtime.sandbox.descendants import end_descendants
from runtime.sandbox.held import held_mask
from runtime.sandbox.rootpath import make_directories
from runtime.sandbox.users import Account, look_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.oci.spec import Process
else:  # the module below this one imports enum: two milliseconds
    import _signal as signal

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


class Supervised(Record):
    """A process that is running, and all that comes of it; `pid` is a child of ours in between.

    That child ends as the process did (128+N for signal N), once nothing else is left.
    """

    pid: int

    def kill(self) -> None:
        """Kill all of it, and collect it."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)


def start_in_chroot(
    process: Process, root: str, *, stdio: tuple[int, int, int] = (0, 1, 2)
) -> Supervised:
    """Start a process whose `/` is the directory `root`; returns once it runs.

    When it ends, is killed, or the caller dies, every process that came of it is killed. It gets
    those capabilities of `process` that the caller has.
    Raises ContainerError, or CommandError if the command cannot be executed.
    """
    if not process.args:
        raise CommandError("no command: the image has none and none was given", status=125)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(report_read)
        _supervise(process, root, stdio, report_write)
    os.close(report_write)
    report = b""
    while chunk := os.read(report_read, 4096):
        report += chunk
    os.close(report_read)
    if report:
        os.waitpid(pid, 0)
        _raise_report(report)
    return Supervised(pid=pid)


def _raise_report(report: bytes) -> NoReturn:
    status, _, message = os.fsdecode(report).partition(" ")
    if status in ("126", "127"):
        raise CommandError(message, status=int(status))
    raise ContainerError(message)


def _supervise(process: Process, root: str, stdio: tuple[int, int, int], report: int) -> NoReturn:
    """Be the parent of all that comes of the process; SIGTERM ends it."""
    watched = (signal.SIGCHLD, signal.SIGTERM)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        # Ctrl-C at a terminal goes to all of us: the caller decides, and kills.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent(report, signal.SIGTERM)
        syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        first = os.fork()
    except OSError as error:
        os.write(report, b"125 " + os.fsencode(str(error.strerror)))
        os._exit(125)
    if first == 0:
        _become(process, root, stdio, report)
    os.closerange(0, 1 << 16)  # the pipes of the process must end with it
    while True:
        if signal.sigwaitinfo(watched).si_signo == signal.SIGTERM:
            end_descendants()
            os._exit(128 + signal.SIGTERM)
        wait_status = _collect(first)
        if wait_status is not None:
            os._exit(_exit_status(wait_status) if end_descendants() else 125)


def _collect(first: int) -> int | None:
    """Collect what has ended; the wait status of the process `first` once it is among them."""
    while True:
        ended, wait_status = os.waitpid(-1, os.WNOHANG)
        if ended == first:
            return wait_status
        if not ended:
            return None


def _exit_status(wait_status: int) -> int:
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def _die_with_parent(report: int, number: int) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, number)
    poll = select.poll()
    poll.register(report, 0)
    if poll.poll(0):  # POLLERR: the reader is gone, so the caller died before the line above
        os._exit(125)


def _become(process: Process, root: str, stdio: tuple[int, int, int], report: int) -> NoReturn:
    """Turn the calling child into the process, or exit having reported why."""
    try:
        _change_root_and_execute(process, root, stdio, report)
    except PyrunError as error:
        message = f"{error.status} {error.message}"
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        message = f"125 {where}{error.strerror}"
    except BaseException as error:  # what is not foreseen must not unwind into the parent's code
        message = f"125 internal error: {error!r}"
    os.write(report, os.fsencode(message)[:4000])
    os._exit(125)


def _change_root_and_execute(
    process: Process, root: str, stdio: tuple[int, int, int], report: int
) -> NoReturn:
    _die_with_parent(report, signal.SIGKILL)
    os.setsid()
    _reset_signals()
    os.umask(0)
    # All that must be asked of /proc comes before the root changes: below it there is none.
    held, groups_allowed = held_mask(), _setgroups_allowed()
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    account = _account(process, root_fd)
    _make_working_directory(root_fd, process.cwd)
    # Nothing may be imported from here on: the image's Python modules are not ours.
    sys.path[:], sys.meta_path[:] = [], []
    os.fchdir(root_fd)
    try:
        os.chroot(".")
    except PermissionError as error:
        raise ContainerError("chroot is refused: CAP_SYS_CHROOT is missing") from error
    os.chdir("/")
    _connect(stdio)
    _give_up_privileges(process, account.user, held, groups_allowed=groups_allowed)
    try:
        os.chdir(process.cwd)
    except OSError as error:
        raise CommandError(f"{process.cwd}: {error.strerror}", status=126) from error
    os.umask(0o022 if account.user.umask is None else account.user.umask)
    environment = dict(item.partition("=")[::2] for item in process.env)
    environment.setdefault("HOME", account.home)
    _execute(process.args, environment)


def _reset_signals() -> None:
    # What is ignored stays so across exec: SIGPIPE by Python, others perhaps by our caller.
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:  # SIGKILL, SIGSTOP, and two that are libc's own
            pass
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _setgroups_allowed() -> bool:
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read(4) != b"deny"
    except OSError:  # a kernel without user namespaces
        return True


def _account(process: Process, root_fd: int) -> Account:
    if isinstance(process.user, User):
        return Account(user=process.user)
    return look_up(root_fd, process.user)


def _make_working_directory(root_fd: int, path: str) -> None:
    try:
        os.close(make_directories(root_fd, path))
    except OSError as error:
        raise ContainerError(f"working directory {path}: {error.strerror}") from error


def _connect(stdio: tuple[int, int, int]) -> None:
    # Through high numbers first: one of the three may sit at a place that another must take.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in stdio]
    for number, fd in enumerate(copies):
        os.dup2(fd, number)
    syscalls.close_range_cloexec(3)


def _give_up_privileges(process: Process, user: User, held: int, *, groups_allowed: bool) -> None:
    mask = capabilities.capability_mask(process.capabilities.bounding) & held
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    if held >> capabilities.NAMES.index("SETPCAP") & 1:  # else the bounding set stays as it is
        for number in range(len(capabilities.NAMES)):
            if not mask >> number & 1:
                _drop_bounding(number)
    try:
        if groups_allowed:
            os.setgroups(user.additional_gids)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise ContainerError(
            f"user {user.uid}:{user.gid} cannot be had here: without root, ids other than 0 need "
            "a range in /etc/subuid and /etc/subgid; with it, CAP_SETUID and CAP_SETGID"
        ) from error
    # A user other than root gets none (capabilities(7), "Effect of user ID changes").
    mask = mask if user.uid == 0 else 0
    syscalls.capset(effective=mask, permitted=mask, inheritable=0)
    # The change of ids cleared this one (prctl(2), PR_SET_PDEATHSIG).
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _drop_bounding(number: int) -> None:
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel that does not know it
            raise


def _execute(args: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replace the process as execvpe(3) does; raises CommandError with docker's statuses."""
    name = args[0]
    if not name:
        raise CommandError("the command is an empty string", status=127)
    directories = environment.get("PATH", "").split(":")
    refused: OSError | None = None
    for place in [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in directories]:
        try:
            os.execve(place, args, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(place) and refused is None:
                refused = error
        except OSError as error:
            refused = error
    if refused is None:
        where = "no such file" if "/" in name else "not found in PATH"
        raise CommandError(f"{name}: {where}", status=127)
    if refused.errno == errno.ENOENT:
        raise CommandError(
            f"{name}: exists, but its interpreter or loader does not (or it is a dangling link)",
            status=127,
        )
    if refused.errno == errno.ENOEXEC:
        raise CommandError(
            f"{name}: not a program of this machine, nor a script with a #! line", status=126
        )
    raise CommandError(f"{name}: {refused.strerror}", status=126)
