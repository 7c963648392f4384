"""What a monitor does before its container runs: pipes, the socket, control groups, the start."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext

from runtime.engine.protocol import ATTACH
from runtime.engine.record import NAMESPACES, ContainerRecord
from runtime.errors import ContainerError
from runtime.lifecycle.create import make_container_group, now
from runtime.lifecycle.kept import keep
from runtime.lifecycle.state import State, process_start, report
from runtime.oci.json_text import to_text
from runtime.record import Record
from runtime.sandbox.container import Placement, start
from runtime.sandbox.running import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from runtime.cgroup.group import Group
    from runtime.lifecycle.state import ContainerDirectory
    from runtime.oci.spec import Spec
    from runtime.sandbox.entry import Entry
    from runtime.sandbox.rootfs import RootFilesystem
    from runtime.store.store import Store


class Job(Record):
    """What a monitor is to do."""

    store: Store
    path: str  # of the container's directory
    record: ContainerRecord
    spec: Spec
    rootfs: RootFilesystem
    entry: Entry


def pipes(record: ContainerRecord, null: int) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The container's standard descriptors, and the other ends: input (or -1), stdout, stderr.

    With a terminal there are no other ends.
    """
    if record.terminal:
        return (null, null, null), ()
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    if not record.interactive:
        return (null, out_write, err_write), (-1, out_read, err_read)
    in_read, in_write = os.pipe2(os.O_CLOEXEC)
    return (in_read, out_write, err_write), (in_write, out_read, err_read)


def start_container(
    job: Job, directory: ContainerDirectory, stdio: tuple[int, int, int]
) -> tuple[Group, Container]:
    """Start it in groups of its own; raises PyrunError, and leaves no group behind then."""
    state = State(
        id=job.record.id,
        pid=0,
        start_time=0,
        bundle=job.path,
        rootfs=f"{job.path}/rootfs",
        created=now(),
        uid=os.getuid(),
    )
    keep(directory, job.spec, job.entry.seccomp, job.entry.seccomp_flags)
    group = _group(job)

    def noted(pid: int) -> State:
        started = process_start(pid)[1]
        return state.replace(pid=pid, start_time=started, group=group.to_json())

    try:
        with _complete(job) as spec:
            container = start(
                spec,
                job.rootfs,
                Placement(
                    scratch=job.store.scratch,
                    stdio=stdio,
                    group=group,
                    state=lambda pid, status: to_text(report(state, status, pid)).encode(),
                    record=lambda pid: directory.write(noted(pid)),
                ),
                job.entry,
            )
    except BaseException:
        group.kill()
        group.remove()
        raise
    return group, container


def listen(path: str) -> socket.socket:
    """A socket in a container's directory; by a short path, for theirs may be long."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{ATTACH}")
    finally:
        os.close(directory)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _complete(job: Job) -> AbstractContextManager[Spec]:
    """The configuration to start with: what is secret in it is not kept."""
    if not job.record.secrets:
        return nullcontext(job.spec)
    from runtime.engine.secret_mounts import with_secrets

    return with_secrets(job.store, job.path, job.record, job.spec)


def _group(job: Job) -> Group:
    """The container's control groups; what nobody asked for may be missing in them."""
    resources = job.spec.resources
    try:
        return make_container_group(job.spec, job.record.id)
    except ContainerError:
        if resources is None or resources.pids_limit is None or job.record.asked_pids:
            raise
    # Perhaps for the limit that nobody asked for: without it, the error tells.
    without = job.spec.replace(resources=resources.replace(pids_limit=None))
    return make_container_group(without, job.record.id)


def namespaces_of(pid: int) -> dict[str, str]:
    """The namespaces of a process that is ours to look at, which to others it may not be."""
    found = {}
    for name in NAMESPACES:
        try:
            link = os.readlink(f"/proc/{pid}/ns/{name}")
        except OSError:  # not in this kernel; or it has ended
            continue
        found[name] = link.partition("[")[2].rstrip("]")
    return found
