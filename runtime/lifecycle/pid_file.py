"""`--pid-file`: where an engine reads the pid of a container's process."""

from __future__ import annotations

import os

from runtime.errors import ContainerError


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid file, whole or not at all: its reader may look at any moment."""
    if path:
        aside = f"{path}.{os.getpid()}"
        try:
            with open(aside, "w", encoding="ascii") as file:
                file.write(str(pid))
            os.rename(aside, path)
        except OSError as error:
            raise ContainerError(f"--pid-file {path}: {error.strerror}") from error
