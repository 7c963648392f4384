"""RUN: a process on the root filesystem, in the same sandbox that `pyrun` uses.

Or by chroot, where no sandbox is to be had.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from buildkit.by_hand import run_by_hand, run_by_hand_in_chroot
from buildkit.copied_snapshot import Tree, Trees
from buildkit.errors import HostError, RunFailed
from buildkit.furniture import Furniture
from buildkit.mount_points import make_mount_points
from buildkit.preparation import Prepared
from buildkit.processes import run_container, run_in_chroot
from buildkit.run_mounts import RunMounts
from buildkit.run_options import RunOptions
from buildkit.snapshot import Snapshot
from buildkit.state import Settings
from buildkit.steps import RunStep
from buildkit.tree_mounts import TreeMounts
from runtime.cgroup.devices import DEFAULT_RULES
from runtime.cgroup.group import Group, make_group
from runtime.cgroup.unasked import group_name, remove_group, sweep_beside
from runtime.errors import ContainerError
from runtime.oci.resources import Resources
from runtime.oci.spec import Capabilities, Mount, Process, Spec
from runtime.sandbox import capabilities, defaults
from runtime.sandbox.entry import Entry
from runtime.sandbox.userns import in_user_namespace
from runtime.seccomp.load import filter_for
from runtime.store.store import Store
from runtime.store.workspace import Workspace

HOSTNAME = "pybuild"
_ALWAYS_MOUNTED = (("/dev", True), ("/proc", True), ("/sys", True))
_HOSTS = f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{HOSTNAME}\n"


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
            process = _process(step, options, tuple(mounts.env), granted)
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
                    spec.replace(process=_shell(step, process)),
                    rootfs,
                    scratch=store.scratch,
                    prepare=mounts.prepare,
                    final=final,
                    group=group,
                )
    finally:
        if group is not None:
            remove_group(group)
    _judge(step, status)


def execute_run_in_chroot(
    step: RunStep,
    trees: Trees,
    tree: Tree,
    prepared: Prepared,
    *,
    settings: Settings,
    store: Store,
    work: Workspace,
    output: Callable[[bytes], None],
) -> None:
    """Run the step's process with a tree as its root; raises as `execute_run` does."""
    options = settings.run
    assert options.network_of(step) == "host", "nothing else is planned here"
    # The machine's own name stays what it is: it must lead somewhere.
    files = {"/etc/hosts": f"{_hosts(options)}127.0.0.1\t{os.uname().nodename}\n"}
    files["/etc/resolv.conf"] = _resolv_conf()
    with ExitStack() as stack:
        mounts = TreeMounts(
            step, prepared, trees, settings=settings, store=store, work=work, stack=stack
        )
        if step.script is not None:
            path = f"{work.path}/script"
            _write(path, step.script.content, mode=0o755)
            mounts.given[step.args[0]] = path
        furniture = Furniture(tree.state, tree.root, work.directory("aside"), files, mounts.given)
        process = _process(step, options, tuple(mounts.env))
        try:
            status = 0 if step.by_hand else run_in_chroot(process, tree.root, output=output)
            if step.by_hand or (status and settings.shell_on_failure):
                run_by_hand_in_chroot(_shell(step, process), tree.root)
        finally:  # a cache that was moved there must not go with the tree
            furniture.remove()
    _judge(step, status)


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


def _process(
    step: RunStep,
    options: RunOptions,
    env: tuple[str, ...],
    granted: frozenset[str] = capabilities.BUILD_DEFAULT,
) -> Process:
    return Process(
        args=step.args,
        env=(*step.proxies, *step.env, *env),
        cwd=step.cwd,
        user=step.user,
        capabilities=Capabilities.granted(granted),
        no_new_privileges=False,  # Dockerfiles rely on sudo and the like
        rlimits=options.rlimits,
    )


def _entry(step: RunStep, granted: frozenset[str], store: Store) -> Entry:
    seccomp = b""
    if not step.insecure:
        seccomp = filter_for(None, granted, cache=f"{store.root}/seccomp")
    return Entry(seccomp=seccomp, keyring="_ses.pybuild")


def _shell(step: RunStep, process: Process) -> Process:
    """A shell in the place of the step's process, on our terminal if we have one."""
    terminal = os.isatty(0) and os.isatty(1)
    return process.replace(args=(step.shell,), terminal=terminal)


def _judge(step: RunStep, status: int) -> None:
    if status:
        failure = RunFailed(f"exited with status {status}", hint=_explain(status))
        failure.program, failure.script_lines = step.args[0], step.script_lines
        raise failure


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
        "/etc/hosts": _hosts(options),
        "/etc/resolv.conf": _resolv_conf() if host_network else "",
    }
    for path, content in files.items():
        place = f"{work.path}/{os.path.basename(path)}"
        _write(place, content)
        mounts.bind(path, place, directory=False)
    if step.script is not None:
        _write(f"{work.path}/script", step.script.content, mode=0o755)
        # In /dev, which is new: no mount point is needed in the image.
        mounts.mounts.append(
            Mount(
                destination=step.args[0],
                type="bind",
                source=f"{work.path}/script",
                options=("bind", "ro"),
            )
        )


def _write(path: str, content: str, *, mode: int = 0o644) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    os.chmod(path, mode)


def _hosts(options: RunOptions) -> str:
    return _HOSTS + "".join(f"{address}\t{name}\n" for name, address in options.hosts)


def _resolv_conf() -> str:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:  # a machine without a network
        return ""


def _explain(status: int) -> str | None:
    match status:
        case 126:
            return "126: a command was found but could not be executed"
        case 127:
            return "127: a command was not found"
        case 137:
            return "137: killed (SIGKILL); often the machine ran out of memory"
        case _ if status > 128:
            return f"{status}: killed by signal {status - 128}"
        case _:
            return None
