"""The last steps of a process on its way into a container: rights, limits, filters, the exec.

`equip` runs while the host's files can still be used, `execute` when only the container's are in
sight, and imports nothing. A container's first process and `exec` both go through here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from runtime.errors import CommandError, ContainerError
from runtime.oci.spec import User
from runtime.record import Record
from runtime.sandbox import privileges, syscalls
from runtime.sandbox.users import Account, home_of, look_up
from runtime.stub import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.oci.spec import Hook, Process
    from runtime.sandbox.capabilities import Held
    from runtime.sandbox.hooks import Stub
    from runtime.sandbox.landlock import Ruleset

_TIOCSCTTY = 0x540E  # asm-generic/ioctls.h
_PERSONALITIES = {"": 0, "LINUX": 0, "LINUX32": 0x0008}  # include/uapi/linux/personality.h


class Entry(Record):
    """What is asked of a process's last steps, beside its runtime-spec `Process`."""

    seccomp: bytes = b""  # struct sock_filter[]; empty: none
    seccomp_flags: int = 0
    # A socket for the listener of that filter, whose process then needs CAP_SYS_ADMIN; and the
    # filter where there can be no listener.
    listener: int = -1
    seccomp_unheard: bytes = b""
    landlock: Ruleset | None = None
    init: bool = False  # a reaper is PID 1, and the process its child
    keyring: str = ""  # the name of a new session keyring
    personality: str = ""
    preserved_fds: int = 0  # descriptors from 3 on that the process gets
    dies_with_parent: bool = True
    start_hooks: tuple[Hook, ...] = ()
    state: Callable[[int, str], bytes] | None = None  # pid, status -> JSON, for the hooks


class Equipment(Record):
    """What the exec needs of the host's files."""

    stub: int  # the sealed memfd that becomes the payload
    install_filter: Callable[[], None] | None  # None: the stub does it, or there is none
    hook_stub: Stub | None  # for startContainer hooks, which are programs of the container

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What whoever equipped a child closes for itself."""
        return (self.stub,) if self.hook_stub is None else (self.stub, self.hook_stub.memfd)


class Prepared(Record):
    """An entry with all that was looked up in the container's files."""

    entry: Entry
    process: Process
    equipment: Equipment
    account: Account
    environment: tuple[str, ...]
    held: Held
    groups_allowed: bool
    landlock_fd: int


def equip(entry: Entry, process: Process, report: int) -> Equipment:
    """Load and make what the exec needs; afterwards nothing has to be imported any more."""
    if process.rlimits:
        import resource  # noqa: F401  # used when the root has changed
    hook_stub = None
    if entry.start_hooks:
        from runtime.sandbox.hooks import Stub

        hook_stub = Stub(memfd=enter.prepare(report=report), report=report)
    if entry.landlock is not None:
        import runtime.sandbox.landlock  # noqa: F401  # likewise
    filtered = process.no_new_privileges
    install_filter = None
    if entry.listener >= 0:
        from runtime.seccomp.listener import listening_installer

        install_filter = listening_installer(entry.seccomp, entry.seccomp_unheard, entry.listener)
    elif entry.seccomp and not filtered:
        # Only who has CAP_SYS_ADMIN, or can gain no privileges, may install one (seccomp(2)): it
        # must be there before the capabilities go, and allow what is done after that.
        from runtime.seccomp.load import filter_installer

        install_filter = filter_installer(entry.seccomp, entry.seccomp_flags)
    stub = enter.prepare(
        report=report,
        seccomp=entry.seccomp if filtered and entry.listener < 0 else b"",
        seccomp_flags=entry.seccomp_flags,
        init=entry.init,
    )
    return Equipment(stub=stub, install_filter=install_filter, hook_stub=hook_stub)


def prepare(
    entry: Entry,
    process: Process,
    equipment: Equipment,
    root_fd: int,
    *,
    held: Held,
    groups_allowed: bool,
) -> Prepared:
    """Look up in the container's files who the process is, and what landlock rules are about."""
    account = _account(process, root_fd)
    environment = process.env
    if not any(item.startswith("HOME=") for item in environment):
        environment = (*environment, f"HOME={account.home}")
    if entry.preserved_fds:
        environment = _listening(environment)
    landlock_fd = -1
    if entry.landlock is not None:
        from runtime.sandbox import landlock

        landlock_fd = landlock.prepare(entry.landlock, root_fd)
    return Prepared(
        entry=entry,
        process=process,
        equipment=equipment,
        account=account,
        environment=environment,
        held=held,
        groups_allowed=groups_allowed,
        landlock_fd=landlock_fd,
    )


def _account(process: Process, root_fd: int) -> Account:
    if not isinstance(process.user, User):
        return look_up(root_fd, process.user)
    if any(item.startswith("HOME=") for item in process.env):
        return Account(user=process.user)
    return Account(user=process.user, home=home_of(root_fd, process.user.uid))


def _listening(environment: tuple[str, ...]) -> tuple[str, ...]:
    """Socket activation (sd_listen_fds(3)): the process that is meant has PID 1 now."""
    return tuple(
        "LISTEN_PID=1" if item.startswith("LISTEN_PID=") else item for item in environment
    )


class _NoImports:
    """A finder that finds nothing and says so: the image's Python modules are not ours."""

    def find_spec(self, name: str, *_: object) -> NoReturn:
        raise ImportError(f"import of {name} after the root changed")


def block_imports() -> None:
    """Let no module be loaded from here on."""
    sys.path[:] = []
    sys.meta_path[:] = [_NoImports()]


def connect(stdio: tuple[int, int, int], *, controlling: bool) -> None:
    """Make three descriptors the standard ones; every other is closed by the exec.

    The root is the container's by now: the host's null device becomes its own, for root in the
    container could change the mode and owner of any node that it is given.
    """
    null = _own_null()
    # Through high numbers first: one of the three may sit at a place that another must take.
    copies = [
        fcntl.fcntl(
            null if null >= 0 and _is_null(os.fstat(fd)) else fd, fcntl.F_DUPFD_CLOEXEC, 10
        )
        for fd in stdio
    ]
    for number, fd in enumerate(copies):
        os.dup2(fd, number)
    if controlling:
        fcntl.ioctl(0, _TIOCSCTTY, 0)
    # Also descriptors that our caller leaked to us (CVE-2024-21626).
    syscalls.close_range_cloexec(3)


def _own_null() -> int:
    """The container's null device, for reading and writing; -1 if it has none."""
    path = "/dev/null"
    try:
        if not _is_null(os.lstat(path)):
            return -1
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(path, flags)
    except OSError:  # a container need not have one
        return -1
    if _is_null(os.fstat(fd)):
        return fd
    os.close(fd)  # another since it was looked at
    return -1


def _is_null(status: os.stat_result) -> bool:
    return (status.st_mode & 0o170000, status.st_rdev) == (0o020000, os.makedev(1, 3))


def execute(
    prepared: Prepared, report: int, resume: Callable[[int], None] | None = None
) -> NoReturn:
    """Give up what the process may not have, and exec; raises PyrunError if it cannot be.

    `resume` is called with `report` when all is ready but the exec, and returns when that may be
    done; what goes wrong afterwards is reported to the descriptor of the same number.
    """
    entry, process = prepared.entry, prepared.process
    user = prepared.account.user
    if entry.personality:
        syscalls.personality(_PERSONALITIES[entry.personality])
    if entry.keyring:
        _new_keyring(entry.keyring)
    if process.rlimits:
        privileges.set_rlimits(process.rlimits)
    if prepared.equipment.install_filter is not None:
        prepared.equipment.install_filter()
    entered = _enter_directory(process.cwd, refusal=None)
    privileges.become_user(
        user,
        process.capabilities,
        held=prepared.held,
        groups_allowed=prepared.groups_allowed,
    )
    # The change of ids made this what fs.suid_dumpable says (prctl(2), PR_SET_DUMPABLE).
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if entry.dies_with_parent:
        # The change of ids cleared this one (prctl(2), PR_SET_PDEATHSIG).
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    if entered is not None:
        # Perhaps root may not go there and the user may: on NFS, or in another user namespace.
        _enter_directory(process.cwd, refusal=entered)
    try:
        reachable = os.getcwd().startswith("/")
    except FileNotFoundError:  # glibc's word for the kernel's "(unreachable)"
        reachable = False
    if not reachable:
        raise ContainerError(f"{process.cwd}: is outside of the container")
    os.umask(0o022 if user.umask is None else user.umask)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    path = find_program(process.args[0], prepared.environment)
    if resume is not None:
        resume(report)
    if entry.start_hooks:
        from runtime.sandbox.hooks import run_hooks

        assert entry.state is not None
        state = entry.state(os.getpid(), "created")
        run_hooks("startContainer", entry.start_hooks, state, prepared.equipment.hook_stub)
    if prepared.landlock_fd >= 0:
        from runtime.sandbox import landlock

        landlock.restrict(prepared.landlock_fd)
    for fd in range(3, 3 + entry.preserved_fds):
        os.set_inheritable(fd, True)
    environment = dict(item.partition("=")[::2] for item in prepared.environment)
    enter.execute(prepared.equipment.stub, path, process.args, environment, report)


def _new_keyring(name: str) -> None:
    try:
        syscalls.join_session_keyring(name)
    except OSError as error:
        # A kernel without keys, or a sandbox around us that refuses them: nothing is shared then.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            reason = os.strerror(error.errno or 0)
            raise ContainerError(f"session keyring: {reason}") from error


def _enter_directory(path: str, *, refusal: OSError | None) -> OSError | None:
    """Change to the working directory; the first refusal is returned, a second one raised."""
    try:
        os.chdir(path)
    except OSError as error:
        if refusal is None and error.errno in (errno.EACCES, errno.EPERM):
            return error
        raise CommandError(f"{path}: {error.strerror}", status=126) from error
    return None


def find_program(name: str, environment: tuple[str, ...]) -> str:
    """The path that execvp(3) would take; raises CommandError with docker's statuses."""
    if not name:
        raise CommandError("the command is an empty string", status=127)
    if "/" in name:
        candidates = [name]
    else:
        search = [item[5:] for item in environment if item.startswith("PATH=")]
        directories = search[-1].split(":") if search else []
        candidates = [f"{directory or '.'}/{name}" for directory in directories]
    refused: OSError | None = None
    for candidate in candidates:
        try:
            status = os.stat(candidate)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(candidate) and refused is None:  # a link to nothing
                refused = error
            continue
        except OSError as error:
            refused = error
            continue
        if status.st_mode & 0o170000 == 0o100000 and os.access(candidate, os.X_OK):
            return candidate
        refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if refused is None:
        # Engines read these words: podman makes its exit status of them.
        where = "no such file or directory" if "/" in name else "executable file not found in PATH"
        raise CommandError(f"{name}: {where}", status=127)
    raise refusal(name, refused.errno or 0)


def refusal(name: str, number: int) -> CommandError:
    """What an errno of execve(2) means for a command that was found; docker's statuses."""
    if number == errno.ENOENT:
        return CommandError(
            f"{name}: exists, but its interpreter or loader does not (or it is a dangling link)",
            status=127,
        )
    if number == errno.ENOEXEC:
        return CommandError(
            f"{name}: not a program of this machine, nor a script with a #! line", status=126
        )
    return CommandError(f"{name}: {os.strerror(number)}", status=126)
