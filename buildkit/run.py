"""RUN: a process on the root filesystem, in the same sandbox that `pyrun` uses.

Or by chroot, where no sandbox is to be had.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from buildkit.copied_snapshot import Tree
from buildkit.errors import BuildError
from buildkit.furniture import Furniture
from buildkit.processes import run_container, run_in_chroot
from buildkit.snapshot import Snapshot, stubs
from buildkit.steps import RunStep
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
_HOSTS = f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{HOSTNAME}\n"


def execute_run(
    step: RunStep,
    snapshot: Snapshot,
    *,
    store: Store,
    work: Workspace,
    output: Callable[[bytes], None],
) -> None:
    """Run the step's process in a container; raises BuildError unless it ends with status 0."""
    mounts = _network_files(work, host_network=step.host_network)
    group = _device_group()
    # Who may make device nodes and open them has the host's disk.
    granted = capabilities.BUILD_DEFAULT
    if group is None and not in_user_namespace():
        granted -= {"MKNOD"}
    try:
        status = run_container(
            to_spec(_process(step, granted), mounts, host_network=step.host_network),
            snapshot.rootfs(stubs(snapshot)),
            scratch=store.scratch,
            output=output,
            final=Entry(
                seccomp=filter_for(None, granted, cache=f"{store.root}/seccomp"),
                keyring="_ses.pybuild",
            ),
            group=group,
        )
    finally:
        if group is not None:
            remove_group(group)
    _judge(status)


def execute_run_in_chroot(
    step: RunStep, tree: Tree, *, work: Workspace, output: Callable[[bytes], None]
) -> None:
    """Run the step's process with a tree as its root; raises as `execute_run` does."""
    assert step.host_network, "nothing else is planned here"
    # The machine's own name stays what it is: it must lead somewhere.
    files = {"/etc/hosts": f"{_HOSTS}127.0.0.1\t{os.uname().nodename}\n"}
    files["/etc/resolv.conf"] = _resolv_conf()
    furniture = Furniture(tree.state, tree.root, work.directory("aside"), files)
    _judge(run_in_chroot(_process(step), tree.root, output=output))
    furniture.remove()


def to_spec(process: Process, mounts: tuple[Mount, ...], *, host_network: bool) -> Spec:
    """The container of a RUN, with more mounts than every container has."""
    return Spec(
        process=process,
        hostname=HOSTNAME,
        mounts=(*defaults.mounts(host_network=host_network), *mounts),
        namespaces=defaults.namespaces(host_network=host_network),
        masked_paths=defaults.masked_paths(),
        readonly_paths=defaults.READONLY_PATHS,
    )


def _process(step: RunStep, granted: frozenset[str] = capabilities.BUILD_DEFAULT) -> Process:
    return Process(
        args=step.args,
        env=(*step.proxies, *step.env),
        cwd=step.cwd,
        user=step.user,
        capabilities=Capabilities.granted(granted),
        no_new_privileges=False,  # Dockerfiles rely on sudo and the like
    )


def _judge(status: int) -> None:
    if status:
        raise BuildError(f"exited with status {status}", hint=_explain(status))


def _device_group() -> Group | None:
    """A control group that gives access to the default devices alone, where one can be had."""
    if in_user_namespace():
        return None  # where no device node can be made
    try:
        group = make_group(f"pybuild/{group_name()}", Resources(devices=DEFAULT_RULES))
        sweep_beside(group)
        return group
    except ContainerError:  # a container around us has no writable control groups
        return None


def _network_files(work: Workspace, *, host_network: bool) -> tuple[Mount, ...]:
    """Name resolution for the step alone: bound over the image's files, so never in the layer."""
    files = {"hosts": _HOSTS, "resolv.conf": _resolv_conf() if host_network else ""}
    mounts = []
    for name, content in files.items():
        path = f"{work.path}/{name}"
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        mounts.append(Mount(destination=f"/etc/{name}", type="bind", source=path))
    return tuple(mounts)


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
