"""Which line of a heredoc a failed RUN came to, where its interpreter said so."""

from __future__ import annotations

import re


def failed_line(program: str, log: str) -> int:
    """The line of a script, from 1 on, that its interpreter's last complaint names; 0 if none.

    `program` is what the interpreter calls itself, or the script: dash says `/bin/sh: 3: x: not
    found`, other shells `/bin/bash: line 3: x: command not found`, Python `File "/dev/x", line 3`,
    Perl `at /dev/x line 3.`, Ruby and node `/dev/x:3`.
    """
    name = re.escape(program)
    shapes = (
        rf"^{name}: (?:line )?(\d+): ",
        rf'"{name}", line (\d+)',
        rf"at {name} line (\d+)",
        rf"{name}:(\d+)\b",
    )
    complaint = re.compile("|".join(shapes), re.MULTILINE)
    numbers = [int(next(filter(None, found.groups()))) for found in complaint.finditer(log)]
    return numbers[-1] if numbers else 0
