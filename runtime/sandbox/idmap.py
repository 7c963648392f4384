"""Id maps of new user namespaces (user_namespaces(7)), and namespaces that are only maps."""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import IDMapping

    Maps = tuple[IDMapping, ...]


def write_maps(pid: int, users: Maps, groups: Maps) -> None:
    """Give the user namespace of a process its maps; the caller is outside of it.

    Without rights over the ids, by newuidmap(1) and newgidmap(1), or, if the only id is the
    caller's own, directly. Raises ContainerError that says what is missing.
    """
    try:
        _write(pid, "uid", users)
        _write(pid, "gid", groups)
        return
    except PermissionError:
        pass  # no rights over the ids: the ways that need none follow
    if _is_own(users, os.geteuid()) and _is_own(groups, os.getegid()):
        with open(f"/proc/{pid}/setgroups", "w", encoding="utf-8") as file:
            file.write("deny")
        _write(pid, "gid", groups)
        if not _is_written(pid, "uid"):
            _write(pid, "uid", users)
        return
    for program, kind, maps in (("newuidmap", "uid", users), ("newgidmap", "gid", groups)):
        if not _is_written(pid, kind):
            _map_by_helper(program, pid, maps)


def _lines(maps: Maps) -> str:
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in maps)


def _write(pid: int, kind: str, maps: Maps) -> None:
    # In UTF-8 for its digits, too: another codec would be a module to load, perhaps too late.
    try:
        with open(f"/proc/{pid}/{kind}_map", "w", encoding="utf-8") as file:
            file.write(_lines(maps))
    except PermissionError:
        raise
    except OSError as error:
        shown = ", ".join(_lines(maps).splitlines())
        raise ContainerError(f"{kind} map {shown!r}: {error.strerror}") from error


def _is_own(maps: Maps, own: int) -> bool:
    return len(maps) == 1 and (maps[0].host_id, maps[0].size) == (own, 1)


def _is_written(pid: int, kind: str) -> bool:
    with open(f"/proc/{pid}/{kind}_map", "rb") as file:
        return bool(file.read(1))


def _map_by_helper(program: str, pid: int, maps: Maps) -> None:
    import subprocess

    argv = [program, str(pid), *_lines(maps).split()]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ContainerError(
            f"mapping more ids than one's own needs {program}",
            hint="install it (Debian: uidmap, Fedora: shadow-utils), or map only one id",
        ) from None
    if done.returncode:
        raise ContainerError(
            f"{' '.join(argv)}: {done.stderr.strip() or f'status {done.returncode}'}",
            hint="/etc/subuid and /etc/subgid say which ids a user may map (subuid(5))",
        )


def mapped_namespace(users: Maps, groups: Maps) -> int:
    """A descriptor of a user namespace with these maps, for idmapped mounts (mount_setattr(2))."""
    wait_read, wait_write = os.pipe2(os.O_CLOEXEC)
    pid = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        os.close(wait_write)
        os.read(wait_read, 1)  # ends with the caller, or when it has what it wants
        os._exit(0)
    os.close(wait_read)
    try:
        write_maps(pid, users, groups)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(wait_write)
        os.waitpid(pid, 0)
