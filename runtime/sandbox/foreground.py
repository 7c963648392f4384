"""Waiting for a container in the foreground: signals go on to it, its status becomes ours."""

from __future__ import annotations

import os

from runtime.sandbox.running import FORWARDED, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runtime.sandbox.running import Container
else:
    import _signal as signal


def hold_signals() -> None:
    """Block what `attend` handles: from here on none is lost, nor acts on this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})


def attend(container: Container, *, interactive: bool) -> int:
    """Wait until the container ends, and return its exit status; signals must be held."""
    if container.master is not None:
        from runtime.sandbox import terminal

        return terminal.attend(container, interactive=interactive)
    killed_by = 0
    while True:
        number = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD}).si_signo
        if number != signal.SIGCHLD:
            killed_by = number if container.send(number) else killed_by
        pid, wait_status = os.waitpid(container.pid, os.WNOHANG)
        if pid:
            return 128 + killed_by if killed_by else exit_status(wait_status)
