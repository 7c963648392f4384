"""Calling a function of ours in a child process, which may join or leave namespaces."""

from __future__ import annotations

import os

from runtime.sandbox import syscalls
from runtime.sandbox.reports import raise_report, report_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def call_in_child(function: Callable[[], None]) -> None:
    """Fork, and call the function there; a PyrunError or OSError that it raises is raised here.

    The child is not dumpable: in whatever it joins, nobody may look into it.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            os.umask(0)
            function()
            os._exit(0)
        except BaseException as error:
            report_failure(write_end, error)
            os._exit(125)
    os.close(write_end)
    said = b""
    while chunk := os.read(read_end, 4096):
        said += chunk
    os.close(read_end)
    os.waitpid(child, 0)
    if said:
        raise_report(said, "")
