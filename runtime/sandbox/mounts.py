"""Mounts of a container: from runtime-spec `Mount` values to the kernel.

A mount is made detached, gets its attributes, and is then moved to a place that was opened by
descriptor inside the root. So no path is resolved twice, and no half-made mount can be seen.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.sandbox.mount_options import sort_options
from runtime.sandbox.rootpath import make_directories, make_file, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.oci.spec import IDMapping, Mount, Spec
    from runtime.sandbox.mount_options import MountOptions

    Trees = Mapping[int, int]  # index of a mount -> descriptor of its tree

# A stranger's image must not choose where these land: a symlink there is refused
# (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
_EXACT_PLACES = frozenset({"proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"})
# A bind of one of these lies about the machine's size, as lxcfs does; it cannot fool a check.
_PROC_FILES = frozenset(
    "/proc/cpuinfo /proc/diskstats /proc/loadavg /proc/meminfo /proc/slabinfo /proc/stat "
    "/proc/swaps /proc/uptime".split()
)


def is_bind(mount: Mount) -> bool:
    """Whether a mount shows files that are already there."""
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def open_sources(spec: Spec) -> dict[int, int]:
    """Open, in the caller's mount namespace, the trees that the container itself could not.

    Those are: what its user namespace may not reach, id-mapped ones (which need rights over the
    filesystem), and ones that must share mount events with the caller's. The caller closes them.
    """
    new_user = any(n.type == "user" and n.path is None for n in spec.namespaces)
    privileged = new_user and os.geteuid() == 0
    trees: dict[int, int] = {}
    try:
        for index, mount in enumerate(spec.mounts):
            options = sort_options(mount.options)
            mapped = bool(options.idmap or mount.uid_mappings or mount.gid_mappings)
            shares = options.propagation in (syscalls.MS_SHARED, syscalls.MS_SLAVE)
            if is_bind(mount) and (privileged or mapped or shares):
                trees[index] = open_source(mount, options, spec if mapped else None)
    except BaseException:
        close_trees(trees)
        raise
    return trees


def close_trees(trees: Trees) -> None:
    """Close what `open_sources` returned."""
    for fd in trees.values():
        os.close(fd)


def open_source(mount: Mount, options: MountOptions, spec: Spec | None = None) -> int:
    """Return the detached tree of a bind, with its attributes; id-mapped if a spec is given.

    Raises ContainerError that names the mount.
    """
    where = f"mount {mount.destination}: {mount.source}"
    try:
        tree = syscalls.open_tree(
            syscalls.AT_FDCWD,
            mount.source,
            recursive=options.recursive,
            follow=options.follow_source,
        )
    except OSError as error:
        raise ContainerError(f"{where}: {os.strerror(error.errno or 0)}") from error
    try:
        if spec is not None:
            _map_ids(tree, mount, options, spec)
        _set_attributes(tree, options)
    except OSError as error:
        os.close(tree)
        raise ContainerError(f"{where}: {os.strerror(error.errno or 0)}") from error
    return tree


def _map_ids(tree: int, mount: Mount, options: MountOptions, spec: Spec) -> None:
    from runtime.sandbox.idmap import mapped_namespace

    users: tuple[IDMapping, ...] = mount.uid_mappings or spec.uid_mappings
    groups: tuple[IDMapping, ...] = mount.gid_mappings or spec.gid_mappings
    namespace = mapped_namespace(users, groups)
    try:
        syscalls.mount_setattr(
            tree,
            set_attributes=syscalls.MOUNT_ATTR_IDMAP,
            userns_fd=namespace,
            recursive=options.idmap == "ridmap",
        )
    except OSError as error:
        raise ContainerError(
            f"mount {mount.destination}: {mount.source}: ids cannot be mapped: "
            f"{os.strerror(error.errno or 0)}",
            hint="the filesystem must support it, and only its owner (root) may ask for it",
        ) from error
    finally:
        os.close(namespace)


def _set_attributes(tree: int, options: MountOptions) -> None:
    if options.set_attributes or options.clear_attributes:
        syscalls.mount_setattr(
            tree,
            set_attributes=options.set_attributes,
            clear_attributes=options.clear_attributes,
        )
    if options.set_below or options.clear_below:
        syscalls.mount_setattr(
            tree,
            set_attributes=options.set_below,
            clear_attributes=options.clear_below,
            recursive=True,
        )


def new_filesystem(
    fstype: str,
    data: tuple[tuple[str, str | None], ...] = (),
    attributes: int = 0,
    source: str = "",
) -> int:
    """Return a detached mount of a new filesystem; `source` is what /proc/mounts will call it."""
    context = syscalls.fsopen(fstype)
    try:
        syscalls.fsconfig_set(context, "source", source or fstype)
        for key, value in data:
            syscalls.fsconfig_set(context, key, value)
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, attributes)
    finally:
        os.close(context)


def attach(mount: Mount, root_fd: int, tree: int | None = None) -> None:
    """Make one mount below the root; its mount point is made if it is missing.

    `tree` is its source if that was opened before. Raises ContainerError that names the mount's
    destination.
    """
    options = sort_options(mount.options)
    try:
        if is_bind(mount):
            _attach_bind(mount, options, root_fd, tree)
        else:
            _attach_new(mount, options, root_fd)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"mount {mount.destination}: {reason}") from error


def _attach_bind(mount: Mount, options: MountOptions, root_fd: int, tree: int | None) -> None:
    if tree is None:
        tree = open_source(mount, options)
    kind = os.stat(tree).st_mode & 0o170000
    target = mount_point(
        root_fd,
        mount.destination,
        directory=kind == 0o040000,
        exact=not options.follow_destination,
    )
    if mount.destination not in _PROC_FILES and _is_on_proc(target, root_fd):
        raise ContainerError(f"mount {mount.destination}: nothing may cover /proc")
    _move(tree, target, options)


def _attach_new(mount: Mount, options: MountOptions, root_fd: int) -> None:
    try:
        tree = new_filesystem(mount.type, options.data, options.set_attributes, mount.source)
    except OSError as error:
        if error.errno == errno.ENODEV:
            message = f"mount {mount.destination}: this kernel has no filesystem {mount.type!r}"
            raise ContainerError(message) from error
        if mount.type != "sysfs" or error.errno != errno.EPERM:
            raise
        # The kernel makes a new one only for who owns the network namespace (as podman does).
        tree = syscalls.open_tree(syscalls.AT_FDCWD, "/sys", recursive=True)
        read_only = options.set_attributes | syscalls.MOUNT_ATTR_RDONLY
        syscalls.mount_setattr(tree, set_attributes=read_only, recursive=True)
    exact = mount.type in _EXACT_PLACES or mount.destination.strip("/") == "dev"
    target = mount_point(root_fd, mount.destination, directory=True, exact=exact)
    if os.stat(target).st_mode & 0o170000 != 0o040000:
        raise ContainerError(f"mount {mount.destination}: the image has no directory there")
    if mount.type != "proc" and _is_on_proc(target, root_fd):
        # By its own choice, or led there by a symlink of the image: /run -> /proc/sys.
        raise ContainerError(f"mount {mount.destination}: nothing may cover /proc")
    if options.copy_up:
        from runtime.sandbox.tree_copy import copy_tree

        copy_tree(target, tree)
    _move(tree, target, options)


def _move(tree: int, target: int, options: MountOptions) -> None:
    syscalls.move_mount(tree, target)
    if options.propagation:
        # Only an attached mount takes part in propagation.
        syscalls.mount_setattr(
            tree, propagation=options.propagation, recursive=options.propagation_below
        )
    os.close(target)
    os.close(tree)


def _is_on_proc(target: int, root_fd: int) -> bool:
    """Whether a place is on the container's procfs: masks and checks must not meet a fake one."""
    try:
        proc = open_in_root(root_fd, "/proc", follow=False)
    except OSError:
        return False
    device = os.stat(proc).st_dev
    os.close(proc)
    return device != os.stat(root_fd).st_dev and device == os.stat(target).st_dev


def mount_point(root_fd: int, path: str, *, directory: bool, exact: bool = False) -> int:
    """Open the place of a mount inside the root, making it if it is missing.

    With `exact`, no component may be a symlink.
    """
    try:
        return open_in_root(root_fd, path, follow=not exact)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ContainerError(f"mount {path}: the image has a symbolic link there") from error
    return make_directories(root_fd, path) if directory else make_file(root_fd, path)
