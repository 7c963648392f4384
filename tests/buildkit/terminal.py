"""Commands on a terminal of some size, and all that it got."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from tests.buildkit.support import Pybuild


def on_a_terminal(
    pybuild: Pybuild,
    *words: str | Path,
    columns: int = 80,
    rows: int = 24,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Status of `pybuild`, and what it wrote to its standard error, a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [*pybuild.command, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave, cwd=pybuild.work,
        env=pybuild.environment({"TERM": "xterm", **(env or {})}), **pybuild.caller.switch,
    )  # fmt: skip
    os.close(slave)
    said = b""
    while True:
        try:
            chunk = os.read(master, 1 << 16)
        except OSError:  # EIO: nobody has the terminal any more
            break
        said += chunk
    os.close(master)
    return process.wait(60), said.decode()
