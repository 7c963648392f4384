"""Starting a container and waiting for it; the host's side of `init`."""

from __future__ import annotations

import os

from runtime.errors import CommandError, ContainerError
from runtime.record import Record
from runtime.sandbox import entry, mounts
from runtime.sandbox.descriptors import Descriptors
from runtime.sandbox.init import Start, become, load
from runtime.sandbox.namespaces import fork_into, open_namespaces
from runtime.sandbox.privileges import has_outside_settings, set_from_outside, set_oom_score
from runtime.sandbox.reports import CREATED, HOOKS, raise_report, report_failure
from runtime.sandbox.rootfs import Unpacked
from runtime.sandbox.running import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Protocol

    from runtime.oci.spec import Spec
    from runtime.sandbox.entry import Entry
    from runtime.sandbox.namespaces import Namespaces
    from runtime.sandbox.rootfs import RootFilesystem

    class ProcessGroup(Protocol):
        """Control groups that a process can be moved to (`runtime.cgroup.group.Group`)."""

        def entries(self, *, unified: bool) -> tuple[int, ...]:
            """Open the files by which a process puts itself there."""

        def open_unified(self) -> int | None:
            """Open the directory that a process can be born in (cgroup v2)."""
else:  # the modules below these two import enum: two milliseconds
    import _signal as signal


class Placement(Record):
    """How a container is started beside what its spec says."""

    scratch: str = ""  # an empty directory that its root is mounted on, where that is needed
    stdio: tuple[int, int, int] = (0, 1, 2)
    devices: tuple[str, ...] = ("/dev",)  # each gets the default devices
    prepare: Callable[[], None] | None = None  # called in its mount namespace, before all else
    group: ProcessGroup | None = None  # its control groups
    console: int | None = None  # a connected --console-socket; None: the master comes to us
    state: Callable[[int, str], bytes] | None = None  # pid, status -> the state as JSON
    record: Callable[[int], None] | None = None  # gets the pid, just before it could run
    resume: Callable[[int], None] | None = None  # in the child: wait for `start`


def start(spec: Spec, rootfs: RootFilesystem, placement: Placement, final: Entry) -> Container:
    """Start a container and return once its process runs, or waits for `start`.

    Raises ContainerError if it cannot be set up, CommandError if its command cannot be executed;
    nothing is left behind then.
    """
    if not spec.process.args:
        raise CommandError("no command: the image has none and none was given", status=125)
    namespaces = open_namespaces(spec)
    try:
        _check_mount_namespace(spec, namespaces)
        trees = mounts.open_sources(spec)
        try:
            rootfs = _reachable(rootfs, namespaces)
            return _start(spec, rootfs, namespaces, trees, placement, final)
        finally:
            mounts.close_trees(trees)
            if isinstance(rootfs, Unpacked) and rootfs.tree is not None:
                os.close(rootfs.tree)
    finally:
        namespaces.close()


def _check_mount_namespace(spec: Spec, namespaces: Namespaces) -> None:
    readonly = spec.root is not None and spec.root.readonly
    if "mount" not in namespaces.new and (
        readonly or spec.mounts or spec.masked_paths or spec.readonly_paths or spec.sysctl
    ):
        raise ContainerError(
            "linux.namespaces: mounts, masked and read-only paths, a read-only root and sysctls "
            "need a new mount namespace"
        )


def _reachable(rootfs: RootFilesystem, namespaces: Namespaces) -> RootFilesystem:
    """The root opened here, if the ids of a new user namespace might not reach it."""
    if not isinstance(rootfs, Unpacked):
        return rootfs
    if "mount" not in namespaces.new:
        return rootfs.replace(own_mounts=False)
    if os.geteuid() == 0 and "user" in namespaces.new:
        from runtime.sandbox.syscalls import AT_FDCWD, open_tree

        return rootfs.replace(tree=open_tree(AT_FDCWD, rootfs.path, recursive=True))
    return rootfs


def _start(
    spec: Spec,
    rootfs: RootFilesystem,
    namespaces: Namespaces,
    trees: dict[int, int],
    placement: Placement,
    final: Entry,
) -> Container:
    with Descriptors() as ours:
        report_read, report_write = ours.pipe()
        permit_read, permit_write = ours.pipe()
        master_channel, channel = _terminal(spec, placement, ours)
        entries, unified = _group_files(placement, ours)
        # Before the fork: a process that was just forked pays for every page that it touches.
        load(spec)
        equipment = entry.equip(final, spec.process, report_write)
        ours.own(*equipment.descriptors)
        new_user = "user" in namespaces.new
        plan = Start(
            spec=spec,
            namespaces=namespaces,
            rootfs=rootfs,
            scratch=placement.scratch,
            stdio=placement.stdio,
            entry=final,
            equipment=equipment,
            permit=permit_read,
            report=report_write,
            awaits_maps=new_user and not namespaces.needs_middle,
            awaits_settings=has_outside_settings(spec.process),
            group_entries=entries,
            trees=trees,
            terminal_socket=channel,
            devices=placement.devices,
            prepare=placement.prepare,
            state=placement.state,
            awaits_record=placement.record is not None,
            resume=placement.resume,
        )
        pid = fork_into(
            namespaces,
            _map_ids(spec) if new_user else None,
            lambda error: report_failure(report_write, error),
            unified,
        )
        if pid == 0:
            os.close(report_read)
            os.close(permit_write)
            become(plan)
        try:
            ours.close(report_write, permit_read)
            _accompany(pid, plan, placement, report_read, permit_write)
            return Container(pid=pid, master=_master(master_channel, channel, ours))
        except BaseException:
            _end(pid)
            raise


def _terminal(
    spec: Spec, placement: Placement, ours: Descriptors
) -> tuple[int | None, int | None]:
    """The ends of what a terminal's master comes by: ours, if it is to come here, and theirs."""
    if not spec.process.terminal or placement.console is not None:
        return None, placement.console
    from runtime.sandbox.console import terminal_channel

    ends = terminal_channel()
    ours.own(*ends)
    return ends


def _master(master_channel: int | None, channel: int | None, ours: Descriptors) -> int | None:
    if master_channel is None or channel is None:
        return None
    from runtime.sandbox.console import receive_master

    ours.close(channel)  # so that a child that sent nothing is noticed
    return receive_master(ours.keep(master_channel))


def _group_files(placement: Placement, ours: Descriptors) -> tuple[tuple[int, ...], int | None]:
    if placement.group is None:
        return (), None
    entries = placement.group.entries(unified=False)
    ours.own(*entries)
    unified = placement.group.open_unified()
    ours.own(unified)
    return entries, unified


def _map_ids(spec: Spec) -> Callable[[int], None]:
    from runtime.sandbox.idmap import write_maps

    def map_ids(pid: int) -> None:
        # Before the process goes on: it will not be dumpable then, and only root may write files
        # in /proc of one that is not (proc(5)). Its children inherit the score.
        set_oom_score(pid, spec.process)
        write_maps(pid, spec.uid_mappings, spec.gid_mappings)

    return map_ids


def _accompany(pid: int, plan: Start, placement: Placement, report: int, permit: int) -> None:
    """Do the host's part, while the child does its own, until it runs or waits for `start`."""
    if plan.awaits_maps:
        os.write(permit, b"m")
    if plan.awaits_settings:
        set_from_outside(pid, plan.spec.process)
        os.write(permit, b"s")
    said = b""
    while chunk := os.read(report, 4096):
        said += chunk
        if said == HOOKS:
            _run_runtime_hooks(pid, plan, placement)
            os.write(permit, b"h")
            said = b""
        elif said == CREATED:
            if placement.record is not None:
                placement.record(pid)
                os.write(permit, b"r")
            if placement.resume is not None:
                return
            said = b""
    if said:
        raise_report(said, plan.spec.process.args[0])


def _run_runtime_hooks(pid: int, plan: Start, placement: Placement) -> None:
    from runtime.sandbox.hooks import run_hooks

    assert plan.spec.hooks is not None
    assert placement.state is not None
    state = placement.state(pid, "creating")
    run_hooks("prestart", plan.spec.hooks.prestart, state)
    run_hooks("createRuntime", plan.spec.hooks.create_runtime, state)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it, or who was to fork it, has ended and was collected
