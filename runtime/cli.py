"""`pyrun`: from the command line to the exit status. Only this module prints and exits."""

from __future__ import annotations

import os
import sys

from runtime.errors import CommandError, ContainerError, PyrunError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runtime.command_line import CommandLine
    from runtime.sandbox.container import Container
else:
    import _signal as signal


def run_and_exit() -> NoReturn:
    """Run `pyrun` and end the process at once: an orderly end costs two milliseconds."""
    status = main()
    if sys.stdout is not None:  # the caller may have closed it
        sys.stdout.flush()
    os._exit(status)


def main() -> int:
    """Run `pyrun` with the process's arguments; returns the exit status."""
    _open_standard_descriptors()
    # If the caller ignores it, that is inherited, and there is nothing to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
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
    from runtime.bundle import to_spec
    from runtime.image.source import open_image
    from runtime.sandbox.container import FORWARDED, start
    from runtime.sandbox.rootfs import Overlay
    from runtime.sandbox.userns import become_root, refuse_plain_container
    from runtime.store.store import Store, default_root

    root = line.root or default_root()
    become_root()
    store = Store(root)
    image = open_image(store, line.image)
    spec = to_spec(image.config, line.options)
    if spec.process.terminal and line.options.interactive and not os.isatty(0):
        raise UsageError("-i and -t: standard input is not a terminal", hint="leave -t out")
    lowers = store.layers_of(image)
    # From here on no signal may be lost, nor act on this process instead of the container.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    stdin = 0 if line.options.interactive else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        container = start(spec, Overlay(lowers=lowers), scratch=store.scratch, stdio=(stdin, 1, 2))
    except CommandError:
        raise
    except ContainerError:
        refuse_plain_container()  # which says better what is missing
        raise
    if container.master is not None:
        from runtime.sandbox.terminal import attend

        return attend(container, interactive=line.options.interactive)
    return _wait(container)


def _wait(container: Container) -> int:
    """Pass signals on until the container ends."""
    from runtime.sandbox.container import FORWARDED, exit_status

    killed_by = 0
    while True:
        number = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD}).si_signo
        if number != signal.SIGCHLD:
            killed_by = number if container.send(number) else killed_by
        pid, wait_status = os.waitpid(container.pid, os.WNOHANG)
        if pid:
            return 128 + killed_by if killed_by else exit_status(wait_status)


def _complain(error: PyrunError) -> None:
    hint = f"hint: {error.hint}\n" if error.hint else ""
    text = f"pyrun: {error.message}\n{hint}"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:  # nobody listens
        pass
