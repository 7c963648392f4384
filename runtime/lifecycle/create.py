"""`create` and `run`: from a bundle to a process that waits for `start`, or runs.

Whatever goes wrong, nothing half-made is left: no process, no control group, no directory.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.lifecycle.kept import keep, seccomp_filter
from runtime.lifecycle.operations import run_poststart, run_poststop
from runtime.lifecycle.pid_file import write_pid_file
from runtime.lifecycle.state import ContainerDirectory, State, process_start, report
from runtime.oci.config import read_config
from runtime.oci.json_text import to_text
from runtime.record import Record
from runtime.sandbox.container import Placement, start
from runtime.sandbox.entry import Entry
from runtime.sandbox.rootfs import Unpacked
from runtime.sandbox.running import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.cgroup.group import Group
    from runtime.oci.spec import Spec
    from runtime.sandbox.landlock import Ruleset
    from runtime.sandbox.rootfs import RootFilesystem

LANDLOCK_ANNOTATION = "org.pybuild.landlock"
INIT_ANNOTATION = "org.pybuild.init"
IMAGE_ANNOTATION = "org.pybuild.image"  # what is mounted at root.path, if anything
STORE_ANNOTATION = "org.pybuild.store"


class CreateOptions(Record):
    """What `create` and `run` were asked for beside the configuration."""

    bundle: str = "."
    config: str = ""  # another configuration than BUNDLE/config.json
    pid_file: str = ""
    console_socket: str = ""
    preserved_fds: int = 0
    new_keyring: bool = True
    detach: bool = False
    init: bool = False


def create(
    directory: ContainerDirectory, options: CreateOptions, *, waits: bool
) -> tuple[Container, State]:
    """Create a container; with `waits` its process waits for `start`, else it runs at once.

    Raises ContainerError, or CommandError for a command that cannot be executed.
    """
    bundle = os.path.realpath(options.bundle)
    config = options.config or f"{bundle}/config.json"
    spec = read_config(config)
    rootfs = _rootfs(spec, bundle)
    _check_terminal(spec, options, waits=waits)
    _check_fds(options.preserved_fds)
    directory.make()
    with directory:
        try:
            return _create(directory, options, spec, bundle, rootfs, config, waits=waits)
        except BaseException:
            directory.remove()
            raise


def _create(
    directory: ContainerDirectory,
    options: CreateOptions,
    spec: Spec,
    bundle: str,
    rootfs: str,
    config: str,
    *,
    waits: bool,
) -> tuple[Container, State]:
    with open(config, "rb") as file:
        directory.write_file("config.json", file.read())
    state = State(
        id=directory.id,
        pid=0,
        start_time=0,
        bundle=bundle,
        rootfs=rootfs,
        created=now(),
        uid=os.getuid(),
        annotations=spec.annotations,
    )
    entry = _entry(spec, options, state)
    keep(directory, spec, entry.seccomp, entry.seccomp_flags)
    group = make_container_group(spec, directory.id)
    directory.write_file("group.json", to_text(group.to_json()).encode())
    pipes: tuple[int, ...] = ()
    container = None
    try:
        console = None
        if options.console_socket:
            from runtime.sandbox.console import connect_console_socket

            console = connect_console_socket(options.console_socket)
        if waits:
            pipes = _make_pipes(directory)
        root, scratch = _root(spec, rootfs)
        placement = Placement(
            scratch=scratch,
            group=group,
            console=console,
            state=lambda pid, status: to_text(report(state, status, pid)).encode(),
            record=lambda pid: directory.write(_with_process(state, pid, group)),
            resume=_waiter(*pipes) if waits else None,
        )
        container = start(spec, root, placement, entry)
        state = _with_process(state, container.pid, group)
        write_pid_file(options.pid_file, container.pid)
        if not waits:
            run_poststart(spec, state)
        return container, state
    except BaseException:
        if container is not None:
            container.kill()
        group.kill()
        group.remove()
        if spec.hooks is not None and spec.hooks.poststop:
            # They undo what the hooks before them did (runtime.md "Lifecycle", steps 12 and 13).
            run_poststop(spec.hooks.poststop, state)
        raise
    finally:
        for fd in pipes:
            os.close(fd)


def _with_process(state: State, pid: int, group: Group) -> State:
    return state.replace(pid=pid, start_time=process_start(pid)[1], group=group.to_json())


def _rootfs(spec: Spec, bundle: str) -> str:
    if spec.root is None:
        raise ContainerError(f"{bundle}/config.json: root is missing")
    path = os.path.realpath(os.path.join(bundle, spec.root.path))
    if not os.path.isdir(path):
        raise ContainerError(f"root.path: {path} is no directory")
    if path == "/":
        raise ContainerError("root.path: the machine's own root cannot be a container's")
    return path


def _root(spec: Spec, path: str) -> tuple[RootFilesystem, str]:
    """The root filesystem, and a directory to mount things on."""
    annotations = dict(spec.annotations)
    image = annotations.get(IMAGE_ANNOTATION)
    if image is None:
        return Unpacked(path=path), ""
    from runtime.lifecycle.image_root import image_root

    return image_root(spec, image, annotations.get(STORE_ANNOTATION, ""))


def _check_terminal(spec: Spec, options: CreateOptions, *, waits: bool) -> None:
    detached = waits or options.detach
    if spec.process.terminal and detached and not options.console_socket:
        raise ContainerError(
            "process.terminal: a detached container's terminal needs --console-socket"
        )
    if options.console_socket and not spec.process.terminal:
        raise ContainerError("--console-socket: process.terminal is false")


def _check_fds(count: int) -> None:
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError as error:
            raise ContainerError(f"--preserve-fds {count}: {fd} is not open") from error


def _entry(spec: Spec, options: CreateOptions, state: State) -> Entry:
    annotations = dict(spec.annotations)
    program, flags = seccomp_filter(spec)
    hooks = spec.hooks
    return Entry(
        seccomp=program,
        seccomp_flags=flags,
        landlock=_landlock(annotations.get(LANDLOCK_ANNOTATION, "")),
        init=options.init or annotations.get(INIT_ANNOTATION) == "true",
        keyring=f"_ses.{state.id}" if options.new_keyring else "",
        personality=spec.personality,
        preserved_fds=options.preserved_fds,
        dies_with_parent=False,
        start_hooks=() if hooks is None else hooks.start_container,
        state=lambda pid, status: to_text(report(state, status, pid)).encode(),
    )


def _landlock(text: str) -> Ruleset | None:
    if not text:
        return None
    from runtime.sandbox.landlock import parse_rules

    return parse_rules([text])


def make_container_group(spec: Spec, identity: str) -> Group:
    """The control groups of a container, perhaps none; ContainerError if a limit cannot be had."""
    from runtime.cgroup.devices import rules_for
    from runtime.cgroup.group import make_group

    resources = spec.resources
    if resources is not None:
        rules = rules_for(resources.devices, spec.devices)
        resources = resources.replace(devices=rules)
    return make_group(spec.cgroups_path, resources, name=identity, kinds="all")


def _make_pipes(directory: ContainerDirectory) -> tuple[int, int]:
    """Named pipes that outlive this process: where `start` says go, and where it is answered."""
    fds = []
    for name in ("start", "reply"):
        path = f"{directory.path}/{name}"
        os.mkfifo(path, 0o600)
        # For both directions: a pipe that nobody else has open can be opened, and never ends.
        fds.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    return fds[0], fds[1]


def _waiter(go: int, reply: int) -> Callable[[int], None]:
    """What the container's process does before its exec: it waits, by descriptors it inherited."""

    def wait(report_fd: int) -> None:
        os.read(go, 1)
        # Failures from here on are for who started it, and an end without one is its success.
        os.dup2(reply, report_fd, inheritable=False)
        os.close(reply)
        os.close(go)

    return wait


def now() -> str:
    """The present time as RFC 3339, with nanoseconds."""
    from time import gmtime, time_ns

    nanoseconds = time_ns()
    year, month, day, hour, minute, second = gmtime(nanoseconds // 10**9)[:6]
    date = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    return f"{date}.{nanoseconds % 10**9:09}Z"
