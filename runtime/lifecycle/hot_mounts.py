"""Mounts in a running container; `mounts add` and `mounts remove`, by the JSON of a spec's.

The tree is cloned where the caller is, gets its attributes while it is detached, and is moved to
its place by a process that has joined the container's mount namespace. Nothing of the container is
executed. In a container with a user namespace of its own the tree is first copied through a less
privileged mount namespace: that locks its flags, so that read-only stays read-only there even for
who holds CAP_SYS_ADMIN in it (mount_namespaces(7), "Restrictions"). Only root can have that: a
caller without rights outside sets the flags in the container's own user namespace, where a process
with CAP_SYS_ADMIN may change them again. In a container that shares our user namespace, who asks
for `locked` has the tree go through a user namespace that is there only for that.
"""

from __future__ import annotations

import errno
import os
import socket

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
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.lifecycle.state import ContainerDirectory, State
    from runtime.oci.spec import Mount, Spec
    from runtime.sandbox.mount_options import MountOptions


def change_mounts(directory: ContainerDirectory, path: str, *, add: bool) -> None:
    """Add or remove the mounts that a file names, in order; the first that fails ends it."""
    try:
        with open(path, "rb") as file:
            document = parse_json_value(file.read(), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    wanted = parse_mounts(document, path)
    for mount in wanted:
        if add and not mounts.is_bind(mount):
            raise ContainerError(f"mount {mount.destination}: only binds can be added")
    with directory:
        if add:
            add_mounts(directory, wanted)
        else:
            remove_mounts(directory, wanted)


def add_mounts(
    directory: ContainerDirectory, wanted: tuple[Mount, ...], *, locked: bool = False
) -> None:
    """Add mounts to a running container, whose directory is locked; the first failure ends it.

    With `locked`, read-only ones stay so whatever capabilities the container has. Sources are
    looked up where the caller is. Raises ContainerError.
    """
    state = _running(directory)
    for mount in wanted:
        _add(state.pid, open_process(state), mount, _mapping(directory, mount), locked=locked)


def remove_mounts(directory: ContainerDirectory, wanted: tuple[Mount, ...]) -> None:
    """Remove mounts of a running container, by their destinations; raises ContainerError."""
    state = _running(directory)
    for mount in wanted:
        pidfd = open_process(state)
        try:
            call_in_child(lambda m=mount, fd=pidfd: _remove(fd, m))  # type: ignore[misc]
        finally:
            os.close(pidfd)


def _running(directory: ContainerDirectory) -> State:
    seen = look(directory)
    if seen.status not in ("running", "created"):
        raise ContainerError(f"container {directory.id!r} is {seen.status}, not running")
    return seen.state


def _mapping(directory: ContainerDirectory, mount: Mount) -> Spec | None:
    """The container's spec, if it says how the mount's ids are mapped."""
    if not (sort_options(mount.options).idmap or mount.uid_mappings or mount.gid_mappings):
        return None
    import runtime.sandbox.idmap  # noqa: F401  # used where nothing may be imported

    return spec_of(directory)


def _add(pid: int, pidfd: int, mount: Mount, spec: Spec | None, *, locked: bool) -> None:
    try:
        if namespaces.is_same(pid, "user"):
            call_in_child(lambda: _add_plain(pidfd, mount, spec, locked=locked))
            return
        if not mounts.is_bind(mount):
            raise ContainerError(f"mount {mount.destination}: only binds can be added")
        mount_ns = os.open(namespaces.namespace_path(pid, "mount"), os.O_RDONLY | os.O_CLOEXEC)
        call_in_child(lambda: _add_locked(pidfd, mount_ns, mount, spec))
        os.close(mount_ns)
    finally:
        os.close(pidfd)


def _add_plain(pidfd: int, mount: Mount, spec: Spec | None, *, locked: bool) -> None:
    block_imports()
    options = sort_options(mount.options)
    read_only = (options.set_attributes | options.set_below) & syscalls.MOUNT_ATTR_RDONLY
    if in_user_namespace() or (locked and read_only):
        # The caller's mounts are not ours to clone there, and the place to lock a tree is needed.
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
    if mounts.is_bind(mount):
        tree = mounts.open_source(mount, options, spec)
    else:
        tree = _new_tree(mount, options)
    if locked and read_only:
        tree = _locked(tree)
    syscalls.setns(pidfd, syscalls.CLONE_NEWNS)
    _attach(mount, tree)


def _new_tree(mount: Mount, options: MountOptions) -> int:
    try:
        return mounts.new_filesystem(
            mount.type, options.data, options.set_attributes, mount.source
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"mount {mount.destination}: {mount.type}: {reason}") from error


def _locked(tree: int) -> int:
    """A copy of a tree whose flags nobody can clear; the caller's mount namespace is its own."""
    directory = _is_directory(tree)
    source = _put_aside(tree, directory=directory)
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            copied = syscalls.open_tree(syscalls.AT_FDCWD, source, recursive=True)
            socket.send_fds(theirs, [b"t"], [copied])
            os._exit(0)
        except OSError as error:
            theirs.send((error.errno or 0).to_bytes(2))
        finally:
            os._exit(1)
    theirs.close()
    said, fds, _, _ = socket.recv_fds(ours, 16, 1)
    os.waitpid(child, 0)
    if not fds:
        number = int.from_bytes(said)
        raise ContainerError(f"read-only mounts cannot be locked here: {os.strerror(number)}")
    return fds[0]


def _put_aside(tree: int, *, directory: bool) -> str:
    """Attach a tree at a place that is there on every machine, in this mount namespace alone."""
    source = "/proc" if directory else "/proc/version"
    place = os.open(source, os.O_PATH | os.O_CLOEXEC)
    syscalls.move_mount(tree, place)
    os.close(place)
    os.close(tree)
    return source


def _add_locked(pidfd: int, mount_ns: int, mount: Mount, spec: Spec | None) -> None:
    """Through a mount namespace of the container's user namespace, which locks the flags."""
    block_imports()
    options = sort_options(mount.options)
    if os.geteuid() == 0:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        tree = mounts.open_source(mount, options, spec)
        source = _put_aside(tree, directory=_is_directory(tree))
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
        mounts.attach(mount.replace(type="bind"), root, tree)  # whatever it was: it is there
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
