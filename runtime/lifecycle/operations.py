"""What is done to a container that was created: start, kill, delete, pause, resume, update."""

from __future__ import annotations

import errno
import os
import select
from time import monotonic, sleep

from runtime.errors import ContainerError, PyrunError
from runtime.lifecycle.kept import spec_of
from runtime.lifecycle.state import ContainerDirectory, State, directories, open_process, report
from runtime.oci.json_text import to_text
from runtime.record import Record
from runtime.sandbox.reports import raise_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runtime.cgroup.group import Group
    from runtime.oci.resources import Resources
    from runtime.oci.spec import Hook, Spec
else:
    import _signal as signal

_DEATH_S = 10  # how long a killed process may take to be gone


class Seen(Record):
    """A container as it is at this moment."""

    state: State
    status: str  # created, running, paused, stopped


def group_of(state: State) -> Group | None:
    """The control groups of a container, if it has any."""
    if not state.group or not state.group.get("places"):
        return None
    from runtime.cgroup.group import Group

    return Group.from_json(state.group)


def look(directory: ContainerDirectory) -> Seen:
    """Read a container's state, and see what has become of it."""
    state = directory.read()
    if not state.is_alive:
        return Seen(state=state, status="stopped")
    if _awaits_start(directory):
        return Seen(state=state, status="created")
    group = group_of(state)
    frozen = group is not None and group.is_frozen()
    return Seen(state=state, status="paused" if frozen else "running")


def _awaits_start(directory: ContainerDirectory) -> bool:
    """Whether the first process is not its payload yet: till then it holds a pipe for reading.

    That the pipe is there says nothing: a `start` that was killed did not remove it.
    """
    try:
        os.close(os.open(f"{directory.path}/reply", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise ContainerError(f"{directory.path}/reply: {error.strerror}") from error
    return True


def look_at_all(root: str) -> list[Seen]:
    """Every container below a state directory, by id."""
    found = []
    for directory in directories(root):
        try:
            found.append(look(directory))
        except ContainerError:
            # Made but not recorded yet, gone since it was listed, or damaged: `state` says so.
            continue
    return found


def start_container(directory: ContainerDirectory) -> None:
    """Let a created container's process run (runtime.md "Start").

    Raises ContainerError in any other status, CommandError if the exec fails.
    """
    with directory:
        seen = look(directory)
        if seen.status != "created":
            raise _wrong(seen, "start", "created")
        spec = spec_of(directory)
        answer = _say_start(directory, seen.state)
        if answer:
            raise_report(answer, spec.process.args[0])
        for name in ("start", "reply"):
            directory.remove_file(name)
        run_poststart(spec, seen.state)


def _say_start(directory: ContainerDirectory, state: State) -> bytes:
    """Tell the waiting process to go on; what it reports if that fails, else nothing."""
    reply = os.open(f"{directory.path}/reply", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            go = os.open(f"{directory.path}/start", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            raise ContainerError(f"container {state.id!r} is stopped") from None
        os.write(go, b"s")
        os.close(go)
        os.set_blocking(reply, True)
        answer = b""
        # Ends when its last writer, the container's process, becomes its payload.
        while chunk := _read(reply):
            answer += chunk
        return answer
    finally:
        os.close(reply)


def _read(fd: int) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
    return os.read(fd, 4096)


def run_poststart(spec: Spec, state: State) -> None:
    """Run the hooks of a container that was just started; a failure is only logged (config.md)."""
    if spec.hooks is None or not spec.hooks.poststart:
        return
    from runtime.sandbox.hooks import run_hooks

    try:
        run_hooks(
            "poststart",
            spec.hooks.poststart,
            to_text(report(state, "running", state.pid)).encode(),
        )
    except ContainerError as error:
        os.write(2, f"pyrun: warning: {error.message}\n".encode())


def kill_container(directory: ContainerDirectory, number: int, *, everyone: bool = False) -> None:
    """Send a signal to the first process, or to all of them (runtime.md "Kill").

    Raises ContainerError unless the container is created, running or paused.
    """
    seen = look(directory)
    group = group_of(seen.state)
    if everyone and group is not None:
        for pid in group.processes():
            _signal(pid, number)
        return
    if seen.status == "stopped":
        raise _wrong(seen, "kill", "created or running")
    pidfd = open_process(seen.state)
    try:
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    if number == signal.SIGKILL and seen.status == "paused" and group is not None:
        group.thaw()  # a frozen process of cgroup v1 dies only once it runs again


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended since it was listed


def delete_container(directory: ContainerDirectory, *, force: bool = False) -> None:
    """Remove what is left of a stopped container (runtime.md "Delete"); `force` kills it first.

    Raises ContainerError for one that is not stopped. A deletion that was interrupted can be
    repeated.
    """
    if directory.remove_empty():
        return
    with directory:
        try:
            seen = look(directory)
        except ContainerError:
            if directory.exists("state.json") and not force:
                raise  # damaged: nothing says that it is stopped
            from runtime.lifecycle.remnants import remove_unrecorded

            remove_unrecorded(directory)
            return
        if seen.status != "stopped" and not force:
            raise _wrong(seen, "delete", "stopped")
        _end_processes(seen.state)
        group = group_of(seen.state)
        if group is not None:
            group.kill()
            group.remove()
        try:
            hooks = spec_of(directory).hooks
        except PyrunError as error:
            # Nothing else is left by now, and a damaged file must not keep the rest for ever.
            os.write(2, f"pyrun: warning: {error.message}\n".encode())
            hooks = None
        directory.remove()
        if hooks is not None and hooks.poststop:
            run_poststop(hooks.poststop, seen.state)


def _end_processes(state: State) -> None:
    try:
        pidfd = open_process(state)
    except ContainerError:
        return  # it is stopped already
    try:
        group = group_of(state)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if group is not None and group.is_frozen():
            group.thaw()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_DEATH_S * 1000):
            raise ContainerError(
                f"container {state.id!r}: process {state.pid} does not die",
                hint="it may wait for a device or a network filesystem",
            )
    finally:
        os.close(pidfd)


def run_poststop(hooks: tuple[Hook, ...], state: State) -> None:
    """Run the hooks of a container that is gone, or that could not be created."""
    from runtime.sandbox.hooks import run_hooks

    # config.md: a failure is logged; the others still run.
    for hook in hooks:
        try:
            run_hooks("poststop", (hook,), to_text(report(state, "stopped", 0)).encode())
        except ContainerError as error:
            os.write(2, f"pyrun: warning: {error.message}\n".encode())


def pause_container(directory: ContainerDirectory) -> None:
    """Freeze every process of a container."""
    with directory:
        seen = look(directory)
        if seen.status != "running":
            raise _wrong(seen, "pause", "running")
        _freezable(seen).freeze()


def resume_container(directory: ContainerDirectory) -> None:
    """Let a frozen container run again."""
    with directory:
        seen = look(directory)
        if seen.status != "paused":
            raise _wrong(seen, "resume", "paused")
        _freezable(seen).thaw()


def _freezable(seen: Seen) -> Group:
    group = group_of(seen.state)
    if group is None:
        raise ContainerError(
            f"container {seen.state.id!r} has no control group, so it cannot be frozen",
            hint="root, or a user with a delegated group (systemd: Delegate=yes), can have one",
        )
    return group


def update_container(directory: ContainerDirectory, resources: Resources) -> None:
    """Change the limits of a container that is created, running or paused."""
    with directory:
        seen = look(directory)
        if seen.status == "stopped":
            raise _wrong(seen, "update", "created, running or paused")
        group = group_of(seen.state)
        if group is None:
            raise ContainerError(f"container {seen.state.id!r} has no control group to limit")
        if resources.devices:
            from runtime.cgroup.devices import rules_for

            rules = rules_for(resources.devices, spec_of(directory).devices)
            resources = resources.replace(devices=rules)
        changed = group.apply(resources)
        directory.write(seen.state.replace(group=changed.to_json()))


def wait_until_gone(state: State, timeout_s: float) -> bool:
    """Whether a container's first process ends within a time."""
    ends = monotonic() + timeout_s
    while state.is_alive:
        if monotonic() > ends:
            return False
        sleep(0.01)
    return True


def _wrong(seen: Seen, verb: str, wanted: str) -> ContainerError:
    return ContainerError(
        f"cannot {verb} container {seen.state.id!r}: it is {seen.status}, not {wanted}"
    )
