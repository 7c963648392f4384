"""Somebody at a terminal in the place of a step's process, to look around."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from buildkit.errors import BuildError, HostError
from runtime.cgroup.group import Group
from runtime.errors import CommandError, ContainerError
from runtime.oci.spec import Process, Spec
from runtime.sandbox.chroot import start_in_chroot
from runtime.sandbox.container import Placement, start
from runtime.sandbox.entry import Entry
from runtime.sandbox.foreground import attend, hold_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.sandbox.rootfs import RootFilesystem

_STDIO = (0, 1, 2)


def run_by_hand(
    spec: Spec,
    rootfs: RootFilesystem,
    *,
    scratch: str,
    prepare: Callable[[], None],
    final: Entry,
    group: Group | None,
) -> None:
    """Run a container on our own standard streams to its end, however that is.

    Raises BuildError if there is no such shell.
    """
    placement = Placement(scratch=scratch, stdio=_STDIO, prepare=prepare, group=group)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        hold_signals()
        attend(start(spec, rootfs, placement, final), interactive=True)
    except CommandError as error:
        raise BuildError(error.message, hint=error.hint) from error
    except ContainerError as error:
        raise HostError(error.message, hint=error.hint) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_by_hand_in_chroot(process: Process, root: str) -> None:
    """The same for a process without namespaces; the terminal is ours, and stays as it is."""
    try:
        running = start_in_chroot(process, root, stdio=_STDIO)
    except CommandError as error:
        raise BuildError(error.message, hint=error.hint) from error
    except ContainerError as error:
        raise HostError(error.message, hint=error.hint) from error
    try:
        os.waitpid(running.pid, 0)
    except BaseException:
        running.kill()
        raise
