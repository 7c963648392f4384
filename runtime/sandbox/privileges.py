"""What a process may do, just before it becomes the payload: ids, capabilities, limits.

The order is capabilities(7)'s: the bounding set while SETPCAP is there, then the ids with the
capabilities kept, then the other sets.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError
from runtime.sandbox import capabilities, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Capabilities, Process, Rlimit, User
    from runtime.sandbox.capabilities import Held


def setgroups_allowed() -> bool:
    """Whether this user namespace lets processes change their groups; asks the host's /proc."""
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read(4) != b"deny"
    except OSError:  # a kernel without user namespaces
        return True


def become_user(user: User, granted: Capabilities, *, held: Held, groups_allowed: bool) -> None:
    """Take a user's ids and exactly the granted capabilities, as far as the caller has them.

    Raises ContainerError for ids that mean nothing in this user namespace.
    """
    capabilities.limit_bounding(capabilities.capability_mask(granted.bounding), held)
    try:
        if groups_allowed:
            os.setgroups(user.additional_gids)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise ContainerError(
                f"user {user.uid}:{user.gid} cannot be had: CAP_SETUID or CAP_SETGID is missing"
            ) from error
        if error.errno != errno.EINVAL:
            raise
        raise ContainerError(
            f"user {user.uid}:{user.gid} does not exist in this user namespace: "
            "without root, ids other than 0 need a range in /etc/subuid and /etc/subgid"
        ) from error
    permitted = capabilities.capability_mask(granted.permitted) & held.effective
    inheritable = capabilities.capability_mask(granted.inheritable) & held.effective
    capabilities.set_capabilities(
        effective=capabilities.capability_mask(granted.effective) & permitted,
        permitted=permitted,
        inheritable=inheritable,
    )
    ambient = capabilities.capability_mask(granted.ambient) & permitted & inheritable
    capabilities.raise_ambient(ambient)


def set_rlimits(limits: tuple[Rlimit, ...]) -> None:
    """Set resource limits; raises ContainerError that names the one that was refused."""
    import resource

    for limit in limits:
        # Spelled as the specification does: RLIMIT_NOFILE.
        number: int = getattr(resource, limit.type)
        soft, hard = (
            -1 if value >= (1 << 63) - 1 else value for value in (limit.soft, limit.hard)
        )
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as error:
            raise ContainerError(
                f"process.rlimits: {limit.type}: soft {limit.soft}, hard {limit.hard}: {error}",
                hint="only CAP_SYS_RESOURCE may raise a hard limit",
            ) from error


def has_outside_settings(process: Process) -> bool:
    """Whether `set_from_outside` has anything to do."""
    return not (
        process.oom_score_adj is None and process.scheduler is None and process.io_priority is None
    )


def set_from_outside(pid: int, process: Process) -> None:
    """Set what the host's side sets for a container's process: OOM score, scheduling, I/O.

    Raises ContainerError that names the field.
    """
    set_oom_score(pid, process)
    if process.scheduler is not None or process.io_priority is not None:
        from runtime.sandbox.scheduling import set_scheduling

        set_scheduling(pid, process)


def set_oom_score(pid: int, process: Process) -> None:
    """Set a process's OOM score if it has another one; raises ContainerError that names it."""
    if process.oom_score_adj is None:
        return
    text = str(process.oom_score_adj)
    try:
        with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
            if file.read().strip() == text:
                return
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise ContainerError(f"process.oomScoreAdj: {text}: {error.strerror}") from error
