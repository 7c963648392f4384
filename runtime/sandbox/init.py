"""The in-container stage: from a forked child to the container's process.

It runs with the host's rights and a stranger's files in sight. So everything that it needs is
imported before the fork, and from then on imports are blocked; descriptors above the standard
three are closed by the exec; the process is not dumpable, so nothing inside can look
into it. What goes wrong is reported as bytes on a pipe, which the exec closes.
"""

from __future__ import annotations

import fcntl
import os
import select

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.sandbox import devices, entry, masks, mounts, namespaces, privileges, syscalls
from runtime.sandbox.capabilities import held_capabilities
from runtime.sandbox.mount_options import PROPAGATION
from runtime.sandbox.reports import CREATED, HOOKS, report_failure
from runtime.sandbox.rootfs import set_propagation
from runtime.sandbox.rootpath import make_directories, open_in_root
from runtime.sandbox.signals import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runtime.oci.spec import Spec
    from runtime.sandbox.entry import Entry, Equipment
    from runtime.sandbox.namespaces import Namespaces
    from runtime.sandbox.rootfs import RootFilesystem


class Start(Record):
    """All that the child needs to become the container."""

    spec: Spec
    namespaces: Namespaces
    rootfs: RootFilesystem
    scratch: str  # an empty directory to mount the root on, for the root filesystems that need one
    stdio: tuple[int, int, int]
    entry: Entry
    equipment: Equipment
    permit: int  # read end of the pipe on which the host's side says that its part is done
    report: int  # write end of the pipe for failures
    awaits_maps: bool
    awaits_settings: bool  # OOM score and the like, which the host's side sets
    group_entries: tuple[int, ...]  # files by which the process puts itself into its group
    trees: mounts.Trees
    terminal_socket: int | None  # takes the pty's master, if the process has a terminal
    devices: tuple[str, ...]  # directories that get the default devices
    prepare: Callable[[], None] | None  # called in the mount namespace, before the root is
    state: Callable[[int, str], bytes] | None  # pid, status -> the state as JSON, for hooks
    awaits_record: bool  # runs only once the host's side has recorded who it is
    resume: Callable[[int], None] | None  # waits for `start`; gets the report pipe


def load(spec: Spec) -> None:
    """Import what `become` will use, in the host's side: its ids may not read our files."""
    if any(mount.type == "cgroup" for mount in spec.mounts):
        import runtime.sandbox.cgroup_mount
    if any("tmpcopyup" in mount.options for mount in spec.mounts):
        import runtime.sandbox.tree_copy
    if spec.process.terminal:
        import runtime.sandbox.console
    if spec.sysctl:
        import runtime.sandbox.sysctl
    if spec.hooks is not None and spec.hooks.create_container:
        import runtime.sandbox.hooks  # noqa: F401


def become(start: Start) -> NoReturn:
    """Turn the calling child process into the container's process, or exit having reported why."""
    try:
        _become(start)
    except BaseException as error:  # what is not foreseen must not unwind into the parent's code
        report_failure(start.report, error)
        os._exit(125)


def _become(start: Start) -> NoReturn:
    spec, kinds = start.spec, start.namespaces.new
    entry.block_imports()
    if start.entry.dies_with_parent:
        die_with_parent(start.report)
    os.setsid()
    reset_signals()
    if start.awaits_maps:
        _await(start.permit)
        namespaces.become_root_inside()
        if "ipc" in kinds:
            syscalls.unshare(syscalls.CLONE_NEWIPC)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    _enter_namespaces(start)
    os.umask(0)
    if start.prepare is not None:
        start.prepare()
    groups_allowed, held = privileges.setgroups_allowed(), held_capabilities()
    root_fd = start.rootfs.open_root(start.scratch)
    if start.awaits_settings:
        _await(start.permit)
    if start.group_entries:
        from runtime.cgroup.files import enter

        try:
            enter(start.group_entries)
        except OSError as error:
            raise ContainerError(f"control group: cannot be entered: {error.strerror}") from error
    if "cgroup" in kinds:
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    _furnish(start, root_fd)
    stdio = start.stdio
    if spec.process.terminal:
        from runtime.sandbox.console import open_terminal

        assert start.terminal_socket is not None
        stdio = open_terminal(root_fd, start.terminal_socket, spec.process.console_size)
    _run_hooks_before_pivot(start)
    prepared = entry.prepare(
        start.entry,
        spec.process,
        start.equipment,
        root_fd,
        held=held,
        groups_allowed=groups_allowed,
    )
    _change_root(start, root_fd)
    entry.connect(stdio, controlling=spec.process.terminal)
    entry.execute(prepared, start.report, _pause(start))


def _pause(start: Start) -> Callable[[int], None] | None:
    """What is waited for before the exec: that somebody can find and end it, and `start`."""
    if not start.awaits_record:
        return start.resume

    def wait(report: int) -> None:
        os.write(report, CREATED)
        _await(start.permit)  # a host's side that was killed must not leave a process behind
        if start.resume is not None:
            start.resume(report)

    return wait


def die_with_parent(report: int, number: int = 9) -> None:
    """Let the kernel signal this process when its parent ends; `report` is a pipe to that."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, number)
    poll = select.poll()
    poll.register(report, 0)
    if poll.poll(0):  # POLLERR: the reader is gone, so the parent died before the line above
        os._exit(125)


def _await(permit: int) -> None:
    if not os.read(permit, 1):
        os._exit(125)  # the host's side gave up, and says why itself


def _enter_namespaces(start: Start) -> None:
    spec, kinds = start.spec, start.namespaces.new
    if not start.namespaces.needs_middle:  # else it has joined what could be joined there
        others = tuple(kind for kind, _ in start.namespaces.joined)
        namespaces.join(start.namespaces, others, refused_later=False)
    if "mount" in kinds:
        set_propagation(spec)
    if "network" in kinds:
        _loopback_up()
    if spec.hostname:
        _name(syscalls.sethostname, "hostname", spec.hostname)
    if spec.domainname:
        _name(syscalls.setdomainname, "domainname", spec.domainname)


def _name(change: Callable[[str], None], field: str, value: str) -> None:
    try:
        change(value)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ContainerError(f"{field} {value!r}: {reason}") from error


def _loopback_up() -> None:
    request = b"lo".ljust(16, b"\0") + (1).to_bytes(2, syscalls.BYTE_ORDER) + bytes(22)  # IFF_UP
    fd = syscalls.socket(2, 2)  # AF_INET, SOCK_DGRAM
    fcntl.ioctl(fd, 0x8914, request)  # SIOCSIFFLAGS, linux/sockios.h
    os.close(fd)


def _furnish(start: Start, root_fd: int) -> None:
    """Attach what belongs inside the root, then hide what must not be seen there."""
    spec = start.spec
    own_cgroups = any(namespace.type == "cgroup" for namespace in spec.namespaces)
    for index, mount in enumerate(spec.mounts):
        if mount.type == "cgroup":
            from runtime.sandbox.cgroup_mount import attach_cgroup

            attach_cgroup(mount, root_fd, own=own_cgroups)
        else:
            mounts.attach(mount, root_fd, start.trees.get(index))
    devices.make_devices(root_fd, spec.devices)
    for path in start.devices:
        devices.make_default_devices(root_fd, path)
    if spec.sysctl:
        from runtime.sandbox.sysctl import set_sysctls

        set_sysctls(spec.sysctl)
    if spec.masked_paths:
        masks.mask(spec.masked_paths, root_fd)
    masks.make_readonly(spec.readonly_paths, root_fd)
    make_working_directory(root_fd, spec.process.cwd)


def make_working_directory(root_fd: int, path: str) -> None:
    """Make a working directory that the image lacks, as docker does; raises ContainerError."""
    try:
        os.close(open_in_root(root_fd, path))
        return
    except OSError:
        pass  # making it says what is wrong
    try:
        os.close(make_directories(root_fd, path))
    except OSError as error:
        raise ContainerError(f"working directory {path}: {error.strerror}") from error


def _run_hooks_before_pivot(start: Start) -> None:
    """`createRuntime` by the host's side, then `createContainer` in the container's namespaces."""
    hooks = start.spec.hooks
    if hooks is None:
        return
    if hooks.prestart or hooks.create_runtime:
        os.write(start.report, HOOKS)
        _await(start.permit)
    if hooks.create_container:
        from runtime.sandbox.hooks import run_hooks

        assert start.state is not None
        run_hooks("createContainer", hooks.create_container, start.state(os.getpid(), "creating"))


def _change_root(start: Start, root_fd: int) -> None:
    """Make the root the only one (pivot_root(2), "pivot_root(".", ".")")."""
    spec = start.spec
    os.fchdir(root_fd)
    if "mount" not in start.namespaces.new:
        os.chroot(".")  # the mounts are somebody else's: only this process gets another root
        return
    if spec.root is not None and spec.root.readonly:
        syscalls.mount_setattr(root_fd, set_attributes=syscalls.MOUNT_ATTR_RDONLY)
    syscalls.pivot_root(".", ".")
    # The old root now lies over the new one, at the same place.
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    if spec.rootfs_propagation:
        flag = PROPAGATION[spec.rootfs_propagation.removeprefix("r")]
        recursive = spec.rootfs_propagation.startswith("r")
        syscalls.mount_setattr(root_fd, propagation=flag, recursive=recursive)
