"""User namespaces (user_namespaces(7)): which one this process is in, and entering one.

Without root, everything happens in a user namespace in which the caller is root: with the
subordinate ids that subuid(5) grants where newuidmap(1) is there to map them, else with the
caller's own id alone.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.sandbox import syscalls

_INITIAL = [b"0", b"0", b"4294967295"]


def in_user_namespace() -> bool:
    """Whether the caller is in another user namespace than the initial one."""
    try:
        # As bytes: a container's process asks as well, which loads no codec any more.
        with open("/proc/self/uid_map", "rb") as uid_map:
            return uid_map.read().split() != _INITIAL
    except FileNotFoundError:  # a kernel without user namespaces
        return False


def mapped_ids(kind: str) -> tuple[range, ...]:
    """The ids of a kind ("uid" or "gid") that mean anything in the caller's user namespace."""
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as id_map:
            lines = [tuple(map(int, line.split())) for line in id_map]
    except FileNotFoundError:  # a kernel without user namespaces
        return (range(1 << 32),)
    return tuple(range(first, first + count) for first, _, count in lines)


def has_single_id() -> bool:
    """Whether the caller can give no file to another user or group than its own."""
    return any(sum(map(len, mapped_ids(kind))) == 1 for kind in ("uid", "gid"))


def gid_is_mapped(gid: int) -> bool:
    """Whether a group id means anything in the caller's user namespace."""
    return any(gid in ids for ids in mapped_ids("gid"))


def become_root() -> None:
    """Make sure that this process may make namespaces: as root, or in a new user namespace.

    Must be called while the process has one thread. Raises ContainerError where neither is
    possible, with what the machine's owner can do about it.
    """
    if os.geteuid() == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    names = _names(uid)
    uid_range, gid_range = _subordinate("/etc/subuid", names), _subordinate("/etc/subgid", names)
    # The helper stays outside: a process may not map ids that it does not own into itself.
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    caller = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(ready_write)
        started = os.read(ready_read, 1)
        # Not its parent's by now: that may have been killed, and another have taken its place.
        os._exit(_map_ids(caller, (uid, uid_range), (gid, gid_range)) if started else 1)
    os.close(ready_read)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready_write, b"1")
    except OSError as error:
        raise ContainerError(
            f"without root, a user namespace is needed, and this machine refuses it: "
            f"{error.strerror}",
            hint="see kernel.unprivileged_userns_clone and user.max_user_namespaces (sysctl)",
        ) from error
    finally:
        os.close(ready_write)
        _, status = os.waitpid(helper, 0)
    if status != 0:
        _map_own_id(uid, gid)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def refuse_plain_container() -> None:
    """Raise ContainerError, with what to change, if the caller is root and may not mount.

    For when something went wrong, or before it would: the usual start need not ask.
    """
    from runtime.sandbox.capabilities import holds

    if os.geteuid() == 0 and not holds("SYS_ADMIN"):
        raise ContainerError(
            "namespaces are needed, and this process may make none: it is root without "
            "CAP_SYS_ADMIN, as in a plain container",
            hint="docker run --cap-add SYS_ADMIN --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined, or a runner that allows user namespaces",
        )


def subordinate_ids(uid: int) -> tuple[int, int] | None:
    """The first range of user ids (start, count) that subuid(5) grants a user, if it does, and
    subgid(5) as well.
    """
    names = _names(uid)
    users, groups = _subordinate("/etc/subuid", names), _subordinate("/etc/subgid", names)
    return None if groups is None else users


def _names(uid: int) -> set[str]:
    """What subuid(5) may call a user."""
    import pwd

    try:
        return {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return {str(uid)}


def _subordinate(path: str, names: set[str]) -> tuple[int, int] | None:
    """The first range (start, count) of a user in subuid(5) or subgid(5)."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                fields = line.strip().split(":")
                if len(fields) == 3 and fields[0] in names and fields[2] != "0":
                    return int(fields[1]), int(fields[2])
    except (FileNotFoundError, ValueError):
        pass
    return None


def _map_ids(
    pid: int,
    users: tuple[int, tuple[int, int] | None],
    groups: tuple[int, tuple[int, int] | None],
) -> int:
    """Map the caller's id to 0 and its range from 1 on, by the set-uid helpers; 0 if it worked."""
    calls, started = [], []
    failed = False
    for program, (own, subordinate) in (("newuidmap", users), ("newgidmap", groups)):
        if subordinate is None:
            return 1
        numbers = (pid, 0, own, 1, 1, *subordinate)
        calls.append((program, [program, *map(str, numbers)]))
    for program, argv in calls:
        try:
            started.append(os.posix_spawnp(program, argv, os.environ))
        except OSError:
            failed = True
            break
    for helper in started:  # beside each other: each takes a tenth of a start
        failed |= os.waitpid(helper, 0)[1] != 0
    return int(failed)


def _map_own_id(uid: int, gid: int) -> None:
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(content)
