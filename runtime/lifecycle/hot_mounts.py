"""`mounts add` and `mounts remove`: mounts in a running container, by the JSON of a spec's.

The tree is cloned where the caller is, gets its attributes while it is detached, and is moved to
its place by a process that has joined the container's mount namespace. Nothing of the container is
executed. In a container with a user namespace of its own the tree is first copied through a less
privileged mount namespace: that locks its flags, so that read-only stays read-only there even for
who holds CAP_SYS_ADMIN in it (mount_namespaces(7), "Restrictions"). Only root can have that: a
caller without rights outside sets the flags in the container's own user namespace, where a process
with CAP_SYS_ADMIN may change them again.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.kept import spec_of
from runtime.lifecycle.operations import look
from runtime.lifecycle.state import open_process
from runtime.oci.config import parse_mounts
from runtime.oci.reader import parse_json_value
from runtime.sandbox import mounts, namespaces, syscalls
from runtime.sandbox.child import call_in_child
from runtime.sandbox.entry import block_imports
from runtime.sandbox.mount_options import sort_options
from runtime.sandbox.rootfs import make_private
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.lifecycle.state import ContainerDirectory
    from runtime.oci.spec import Mount, Spec


def change_mounts(directory: ContainerDirectory, path: str, *, add: bool) -> None:
    """Add or remove the mounts that a file names, in order; the first that fails ends it."""
    try:
        with open(path, "rb") as file:
            document = parse_json_value(file.read(), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    wanted = parse_mounts(document, path)
    with directory:
        seen = look(directory)
        if seen.status not in ("running", "created"):
            raise ContainerError(f"container {directory.id!r} is {seen.status}, not running")
        for mount in wanted:
            if add:
                _add(seen.state.pid, open_process(seen.state), mount, _mapping(directory, mount))
            else:
                pidfd = open_process(seen.state)
                call_in_child(lambda m=mount, fd=pidfd: _remove(fd, m))  # type: ignore[misc]
                os.close(pidfd)


def _mapping(directory: ContainerDirectory, mount: Mount) -> Spec | None:
    """The container's spec, if it says how the mount's ids are mapped."""
    if not (sort_options(mount.options).idmap or mount.uid_mappings or mount.gid_mappings):
        return None
    import runtime.sandbox.idmap  # noqa: F401  # used where nothing may be imported

    return spec_of(directory)


def _add(pid: int, pidfd: int, mount: Mount, spec: Spec | None) -> None:
    if not mounts.is_bind(mount):
        os.close(pidfd)
        raise ContainerError(f"mount {mount.destination}: only binds can be added")
    own_users = not namespaces.is_same(pid, "user")
    try:
        if own_users:
            mount_ns = os.open(namespaces.namespace_path(pid, "mount"), os.O_RDONLY | os.O_CLOEXEC)
            call_in_child(lambda: _add_locked(pidfd, mount_ns, mount, spec))
            os.close(mount_ns)
        else:
            call_in_child(lambda: _add_plain(pidfd, mount, spec))
    finally:
        os.close(pidfd)


def _add_plain(pidfd: int, mount: Mount, spec: Spec | None) -> None:
    block_imports()
    tree = mounts.open_source(mount, sort_options(mount.options), spec)
    syscalls.setns(pidfd, syscalls.CLONE_NEWNS)
    _attach(mount, tree)


def _add_locked(pidfd: int, mount_ns: int, mount: Mount, spec: Spec | None) -> None:
    """Through a mount namespace of the container's user namespace, which locks the flags."""
    block_imports()
    options = sort_options(mount.options)
    if os.geteuid() == 0:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        tree = mounts.open_source(mount, options, spec)
        # A place that is there on every machine, in this namespace alone.
        source = "/proc" if _is_directory(tree) else "/proc/version"
        place = os.open(source, os.O_PATH | os.O_CLOEXEC)
        syscalls.move_mount(tree, place)
        os.close(place)
        os.close(tree)
        spec = None  # it is mapped by now
    else:
        source = mount.source
    syscalls.setns(pidfd, syscalls.CLONE_NEWUSER)
    namespaces.become_root_inside()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    copied = mounts.open_source(mount.replace(source=source), options, spec)
    syscalls.setns(mount_ns, syscalls.CLONE_NEWNS)
    _attach(mount, copied)


def _attach(mount: Mount, tree: int) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _make_place(mount, root, directory=_is_directory(tree))
        mounts.attach(mount, root, tree)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"mount {mount.destination}: {reason}") from error


def _is_directory(tree: int) -> bool:
    return os.stat(tree).st_mode & 0o170000 == 0o040000


def _make_place(mount: Mount, root: int, *, directory: bool) -> None:
    """Make the mount point; on a read-only root by a writable clone that only we can see."""
    try:
        os.close(mounts.mount_point(root, mount.destination, directory=directory))
    except OSError as error:
        if error.errno != errno.EROFS or not _is_on_root(mount.destination, root):
            raise
        clone = syscalls.open_tree(root, "")
        syscalls.mount_setattr(clone, clear_attributes=syscalls.MOUNT_ATTR_RDONLY)
        os.close(mounts.mount_point(clone, mount.destination, directory=directory))
        os.close(clone)


def _is_on_root(path: str, root: int) -> bool:
    """Whether what is there of a path is on the root's own mount: the clone has no other."""
    flags = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV
    path = os.path.normpath(path)
    while True:
        path = os.path.dirname(path)  # ends at the root itself
        try:
            os.close(syscalls.openat2(root, path, os.O_PATH, resolve=flags))
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        return True


def _remove(pidfd: int, mount: Mount) -> None:
    block_imports()
    flags = syscalls.CLONE_NEWNS
    if not _may_join(pidfd, flags):
        flags |= syscalls.CLONE_NEWUSER
        syscalls.setns(pidfd, flags)
    parent, _, name = os.path.normpath(mount.destination).rpartition("/")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By its directory's descriptor: the container may put a link in the way of a path, and
        # have what hides /proc/kcore removed instead. Nobody can replace the mount point itself.
        os.fchdir(open_in_root(root, parent or "/", follow=False))
        os.lstat(name)
    except OSError as error:
        raise ContainerError(f"mount {mount.destination}: {error.strerror}") from error
    try:
        syscalls.umount2(name, syscalls.MNT_DETACH | 8)  # UMOUNT_NOFOLLOW
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"mount {mount.destination}: {reason}") from error


def _may_join(pidfd: int, flags: int) -> bool:
    try:
        syscalls.setns(pidfd, flags)
    except PermissionError:  # without rights over the mounts but in their user namespace
        return False
    return True
