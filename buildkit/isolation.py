"""How the steps of a build are kept apart from this machine: in namespaces, or by chroot alone.

Whether there can be namespaces is found out by starting a container in the store: user id,
capabilities, seccomp filter, the filesystem below the store all have a say.
"""

from __future__ import annotations

import os
from contextlib import suppress

from buildkit.errors import BuildError, DiskError, HostError
from buildkit.printing import complain
from buildkit.processes import run_container
from buildkit.run import to_spec
from buildkit.state import CHROOT, NAMESPACES
from runtime.errors import ContainerError
from runtime.oci.spec import Process
from runtime.sandbox.capabilities import holds
from runtime.sandbox.rootfs import Overlay
from runtime.sandbox.userns import become_root, refuse_plain_container
from runtime.store.store import Store
from runtime.store.workspace import Workspace

_CIRCUMSTANCES = (
    "/proc/sys/kernel/random/boot_id",
    "/proc/self/status",
    "/proc/self/uid_map",
    "/proc/self/attr/current",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_pid_namespaces",
)
_RIGHTS = (b"Cap", b"NoNewPrivs", b"Seccomp", b"Uid", b"Gid")  # lines of /proc/PID/status


def settle_isolation(asked: str, store: Store, *, quiet: bool) -> str:
    """What the steps of this build get, for what was asked for; says so if it is less.

    Afterwards this process is root, perhaps in a user namespace of its own. Raises HostError where
    there can be neither, DiskError if the store cannot be written.
    """
    try:
        if asked != CHROOT:
            refuse_plain_container()
        become_root()
        if asked == "auto" and not _is_known(store):
            _try_container(store)
            _remember(store)
    except (ContainerError, HostError) as error:
        if asked == "auto" and os.geteuid() == 0 and holds("SYS_CHROOT"):
            if not quiet:
                complain(_warning(error.message))
            return CHROOT
        raise HostError(error.message, hint=error.hint) from error
    return CHROOT if asked == CHROOT else NAMESPACES


def refusal_of_namespaces(store: Store) -> BuildError | ContainerError | None:
    """Why steps would run by chroot alone; None if they have namespaces. By an attempt.

    Afterwards this process is root, as after `settle_isolation`, which raises where this does.
    """
    try:
        refuse_plain_container()
        become_root()
        _try_container(store)
    except (ContainerError, HostError) as error:
        if os.geteuid() == 0 and holds("SYS_CHROOT"):
            return error
        raise HostError(error.message, hint=error.hint) from error
    return None


def _is_known(store: Store) -> bool:
    """Whether a container was started in this store under the same circumstances before."""
    try:
        with open(_record(store), "rb") as file:
            return file.read() == _circumstances(store)
    except OSError:
        return False


def _remember(store: Store) -> None:
    # A full disk: it is tried again next time.
    with suppress(OSError), open(_record(store), "wb") as file:
        file.write(_circumstances(store))


def _record(store: Store) -> str:
    return f"{store.root}/known/sandbox"


def _circumstances(store: Store) -> bytes:
    """What has a say in it, of this boot of the machine: rights, filters, ids, mounts, limits."""
    said = [str(os.stat(store.root).st_dev).encode()]
    for path in _CIRCUMSTANCES:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            content = str(error.errno).encode()
        if path.endswith("status"):
            lines = content.splitlines()
            content = b"\n".join(line for line in lines if line.startswith(_RIGHTS))
        said.append(content)
    return b"\0".join((*said, os.readlink("/proc/self/ns/mnt").encode()))


def _warning(reason: str) -> str:
    return (
        "pybuild: warning: steps run by chroot only, which is weaker: they share the processes, "
        "network and hostname that pybuild has, and its filter of system calls if there is one, "
        f"and have no /proc: {reason}; --isolation=chroot says that this is wanted"
    )


def _try_container(store: Store) -> None:
    """Start a container with a command that it has not got; raises HostError if it ends before it
    gets that far.
    """
    try:
        with Workspace(store) as work:
            names = ("lower", "upper", "work")
            lower, upper, overlay_work = (work.directory(name) for name in names)
            rootfs = Overlay(lowers=(lower,), upper=upper, work=overlay_work)
            spec = to_spec(Process(args=("/none",)), (), host_network=True)
            run_container(spec, rootfs, scratch=store.scratch, output=lambda _: None)
    except HostError:
        raise
    except BuildError:  # there was no such command, but all else was there
        return
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
