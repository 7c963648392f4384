"""RUN: a process on the root filesystem, in the same sandbox that `pyrun` uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from buildkit.by_hand import run_by_hand
from buildkit.errors import HostError
from buildkit.mount_points import make_mount_points
from buildkit.preparation import Prepared
from buildkit.processes import run_container
from buildkit.run_mounts import RunMounts
from buildkit.run_options import RunOptions
from buildkit.run_process import (
    HOSTNAME,
    hosts_of,
    judge,
    process_of,
    resolv_conf,
    shell_of,
    write_file,
)
from buildkit.snapshot import Snapshot
from buildkit.state import Settings
from buildkit.steps import RunStep
from runtime.cgroup.devices import DEFAULT_RULES
from runtime.cgroup.group import Group, make_group
from runtime.cgroup.unasked import group_name, remove_group, sweep_beside
from runtime.errors import ContainerError
from runtime.oci.resources import Resources
from runtime.oci.spec import Mount, Process, Spec
from runtime.sandbox import capabilities, defaults
from runtime.sandbox.entry import Entry
from runtime.sandbox.userns import in_user_namespace
from runtime.seccomp.load import filter_for
from runtime.store.store import Store
from runtime.store.workspace import Workspace

_ALWAYS_MOUNTED = (("/dev", True), ("/proc", True), ("/sys", True))


def execute_run(
    step: RunStep,
    snapshot: Snapshot,
    prepared: Prepared,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    output: Callable[[bytes], None],
) -> None:
    """Run the step's process in a container.

    Raises BuildError unless it ends with status 0, LocatedError for one of its mounts.
    """
    options = settings.run
    host_network = options.network_of(step) == "host"
    group = _group(step, options.resources)
    # Who may make device nodes and open them has the host's disk.
    granted = capabilities.BUILD_DEFAULT
    if step.insecure:
        granted = capabilities.ALL
    elif group is None and not in_user_namespace():
        granted -= {"MKNOD"}
    try:
        with ExitStack() as stack:
            mounts = RunMounts(
                step, prepared, settings=settings, store=store, work=work, stack=stack
            )
            _add_files(step, mounts, work, options, host_network=host_network)
            for volume in options.volumes:
                mounts.points.append((volume.destination, os.path.isdir(volume.source)))
            process = process_of(step, options, tuple(mounts.env), granted)
            spec = to_spec(
                process,
                (*options.volumes, *mounts.mounts),
                host_network=host_network,
                shm_bytes=options.shm_bytes,
            )
            if step.insecure:
                spec = spec.replace(masked_paths=(), readonly_paths=())
            points = f"{snapshot.work}.points"
            made = make_mount_points(snapshot.lowers, (*_ALWAYS_MOUNTED, *mounts.points), points)
            rootfs = snapshot.rootfs(points) if made else snapshot.rootfs()
            final = _entry(step, granted, store)
            status = 0
            if not step.by_hand:
                status = run_container(
                    spec,
                    rootfs,
                    scratch=store.scratch,
                    output=output,
                    prepare=mounts.prepare,
                    final=final,
                    group=group,
                )
            if step.by_hand or (status and settings.shell_on_failure):
                run_by_hand(
                    spec.replace(process=shell_of(step, process)),
                    rootfs,
                    scratch=store.scratch,
                    prepare=mounts.prepare,
                    final=final,
                    group=group,
                )
    finally:
        if group is not None:
            remove_group(group)
    judge(step, status)


def to_spec(
    process: Process,
    mounts: tuple[Mount, ...],
    *,
    host_network: bool,
    shm_bytes: int = defaults.SHM_BYTES,
) -> Spec:
    """The container of a RUN, with more mounts than every container has."""
    return Spec(
        process=process,
        hostname=HOSTNAME,
        mounts=(*defaults.mounts(host_network=host_network, shm_bytes=shm_bytes), *mounts),
        namespaces=defaults.namespaces(host_network=host_network),
        masked_paths=defaults.masked_paths(),
        readonly_paths=defaults.READONLY_PATHS,
    )


def _entry(step: RunStep, granted: frozenset[str], store: Store) -> Entry:
    seccomp = b""
    if not step.insecure:
        seccomp = filter_for(None, granted, cache=f"{store.root}/seccomp")
    return Entry(seccomp=seccomp, keyring="_ses.pybuild")


def _group(step: RunStep, asked: Resources) -> Group | None:
    """The control group of a step: the limits that were asked for; the default devices alone.

    Nobody asks for the latter, so they are left out where there is no group to be had.
    """
    wanted = asked
    if not (in_user_namespace() or step.insecure):  # where no device node can be made
        wanted = wanted.replace(devices=DEFAULT_RULES)
    if wanted == Resources():
        return None
    try:
        group = make_group(f"pybuild/{group_name()}", wanted)
    except ContainerError as error:
        if asked != Resources():
            raise HostError(error.message, hint=error.hint) from error
        return None  # a container around us has no writable control groups
    sweep_beside(group)
    return group


def _add_files(
    step: RunStep, mounts: RunMounts, work: Workspace, options: RunOptions, *, host_network: bool
) -> None:
    """What the step alone sees: name resolution, and a script that names its interpreter.

    Bound over the image's files, so never in the layer.
    """
    files = {
        "/etc/hosts": hosts_of(options),
        "/etc/resolv.conf": resolv_conf() if host_network else "",
    }
    for path, content in files.items():
        place = f"{work.path}/{os.path.basename(path)}"
        write_file(place, content)
        mounts.bind(path, place, directory=False)
    if step.script is not None:
        write_file(f"{work.path}/script", step.script.content, mode=0o755)
        # In /dev, which is new: no mount point is needed in the image.
        mounts.mounts.append(
            Mount(
                destination=step.args[0],
                type="bind",
                source=f"{work.path}/script",
                options=("bind", "ro"),
            )
        )
