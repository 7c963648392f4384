"""`pyrun`: from the command line to the exit status. Only this module prints and exits."""

from __future__ import annotations

import gc
import os
import sys

from runtime.errors import CommandError, ContainerError, PyrunError, StoreError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.bundle import Options
    from runtime.cgroup.group import Group
    from runtime.cgroup.unasked import PidsGroup
    from runtime.command_line import CommandLine
    from runtime.oci.spec import Spec
    from runtime.sandbox.running import Container
    from runtime.store.known import KnownImage
    from runtime.store.store import Store
else:
    import _signal as signal

# Of containers that live; in runtime.engine.cli is what does each.
_VERBS = frozenset(
    {
        "attach",
        "commit",
        "container",
        "cp",
        "create",
        "diff",
        "enter",
        "events",
        "exec",
        "export",
        "healthcheck",
        "inspect",
        "kill",
        "logs",
        "mount",
        "pause",
        "ps",
        "rename",
        "restart",
        "rm",
        "run",
        "secret",
        "start",
        "stats",
        "stop",
        "top",
        "umount",
        "unpause",
        "update",
        "volume",
        "wait",
    }
)


def run_and_exit() -> NoReturn:
    """Run `pyrun` and end the process at once: an orderly end costs two milliseconds."""
    gc.disable()  # what little garbage there is goes with the process
    status = main()
    if sys.stdout is not None:  # the caller may have closed it
        sys.stdout.flush()
    if status == 0 and "runtime.startup" in sys.modules:
        from runtime.startup import leave

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that was asked for is done
        leave(sys.argv[1:])
    os._exit(status)


def main() -> int:
    """Run `pyrun` with the process's arguments; returns the exit status."""
    _open_standard_descriptors()
    # If the caller ignores it, that is inherited, and there is nothing to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        # The script let an interrupt end the process; what is done from here on is to be undone.
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return _main(sys.argv[1:])
    except PyrunError as error:
        _complain(error)
        return error.status
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("PYBUILD_DEBUG"):
            raise
        hint = "this is a fault of pyrun; PYBUILD_DEBUG=1 shows where"
        _complain(PyrunError(f"internal error: {error!r}", hint=hint))
        return PyrunError.status


def _open_standard_descriptors() -> None:
    """Open what the caller closed of these three: another file would take its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _main(arguments: list[str]) -> int:
    # A verb wins over an image of that name, which `./oci` and `-- oci` still mean.
    if arguments[:1] == ["oci"]:
        from runtime.lifecycle.cli import main as oci

        return oci(arguments[1:])
    if arguments[:1] == ["bundle"]:
        from runtime.bundle_cli import main as bundle

        return bundle(arguments[1:])
    if arguments[:1] == ["info"]:
        from runtime.info_cli import main as info

        return info(arguments[1:])
    if arguments and arguments[0] in _VERBS:
        from runtime.engine.cli import main as engine

        return engine(arguments)
    from runtime.command_line import HELP, CommandLine

    line = CommandLine(arguments)
    if line.help:
        print(HELP, end="")
        return 0
    if line.version:
        from runtime import VERSION

        print(f"pyrun {VERSION}")
        return 0
    return run(line)


def run(line: CommandLine) -> int:
    """Run one image in the foreground and return its exit status."""
    from runtime.bundle import entry_of, to_spec
    from runtime.sandbox.container import Placement, start
    from runtime.sandbox.foreground import attend, hold_signals
    from runtime.sandbox.rootfs import Overlay
    from runtime.sandbox.userns import become_root, refuse_plain_container
    from runtime.store.known import forget
    from runtime.store.store import default_root

    root = line.root or default_root()
    become_root()
    store, image = _prepared(line, root)
    spec = to_spec(image, line.options)
    if spec.process.terminal and line.options.interactive and not os.isatty(0):
        raise UsageError("-i and -t: standard input is not a terminal", hint="leave -t out")
    hold_signals()
    stdin = 0 if line.options.interactive else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    final = entry_of(spec, line.options, store.root)
    group = _group(spec, line.options)
    try:
        placement = Placement(scratch=store.scratch, stdio=(stdin, 1, 2), group=group)
        try:
            container = start(spec, Overlay(lowers=image.lowers), placement, final)
        except CommandError:
            raise
        except ContainerError:
            refuse_plain_container()  # which says better what is missing
            forget(image)
            raise
        _watch(image, store, container)
        return attend(container, interactive=line.options.interactive)
    finally:
        if group is not None:
            from runtime.cgroup.unasked import remove_group

            remove_group(group)


def _prepared(line: CommandLine, root: str) -> tuple[Store, KnownImage]:
    """The image with its layers, in the store or in memory."""
    from runtime.store.known import AUTO, TMPFS, know
    from runtime.store.store import Store

    asked = (root, line.image, line.platform, line.options.volumes)
    if line.rootfs == TMPFS:
        from runtime.store.memory import unpack_to_memory

        return unpack_to_memory(*asked)
    try:
        store = Store(root)
        found = know(store, line.image, line.platform, rootfs=line.rootfs, verify=line.verify)
    except StoreError as error:
        # A store that somebody named is the one that is meant.
        if line.rootfs != AUTO or line.root or os.environ.get("PYBUILD_ROOT"):
            raise
        from runtime.store.memory import unpack_instead

        return unpack_instead(error, *asked)
    return store, found


def _watch(image: KnownImage, store: Store, container: Container) -> None:
    """End a container when an archive that it runs from is written to; blobs never are."""
    from runtime.store.known import places_outside

    if places := places_outside(store, image):
        from runtime.erofs.lease import hold_leases

        hold_leases(places, container.kill)


def _group(spec: Spec, options: Options) -> Group | PidsGroup | None:
    from runtime.bundle import asks_for_limits
    from runtime.sandbox.userns import in_user_namespace

    inside = in_user_namespace()
    # Who may make device nodes, or mount /dev's filesystem anew, has the host's disk otherwise.
    reaches_devices = not inside and spec.process.capabilities.bounding & {"MKNOD", "SYS_ADMIN"}
    if asks_for_limits(options) or reaches_devices:
        from runtime.limits import asked_group

        return asked_group(options, limit_devices=bool(reaches_devices))
    if inside:
        return None  # without root there is none to be had unasked
    from runtime.cgroup.unasked import group_name, unasked_group

    return unasked_group(group_name())


def _complain(error: PyrunError) -> None:
    hint = f"hint: {error.hint}\n" if error.hint else ""
    text = f"pyrun: {error.message}\n{hint}"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:  # nobody listens
        pass
