"""The line of a heredoc at which a RUN failed, where its interpreter says so."""

from __future__ import annotations

import shutil

import pytest

from buildkit.script_lines import failed_line
from tests.buildkit.support import SHELL, Pybuild, add_program


@pytest.mark.parametrize(
    ("program", "log", "line"),
    [
        ("/bin/sh", "/bin/sh: 3: x: not found\n", 3),
        ("/bin/bash", "/bin/bash: line 12: x: command not found\n", 12),
        ("/bin/sh", "/bin/sh: 3: x: not found\n/bin/sh: 5: y: not found\n", 5),
        ("/dev/pipes/E", 'Traceback:\n  File "/dev/pipes/E", line 7, in <module>\n', 7),
        ("/dev/pipes/E", "Illegal division by zero at /dev/pipes/E line 4.\n", 4),
        ("/dev/pipes/E", "/dev/pipes/E:2:in `<main>': no (RuntimeError)\n", 2),
        ("/bin/sh", "other: 3: x: not found\nin /bin/sh: 3: x\n", 0),
        ("/bin/sh", "/bin/sh: x: not found\n", 0),
        ("/b.n/sh", "/bin/sh: 3: x: not found\n", 0),
    ],
)
def test_what_interpreters_say(program: str, log: str, line: int) -> None:
    assert failed_line(program, log) == line


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("shebang", [True, False])
def test_a_failed_heredoc_is_shown_at_the_line_that_failed(
    pybuild: Pybuild, shell: str, shebang: bool
) -> None:
    add_program(pybuild.context / "root", shell)
    program = shutil.which(shell)
    first = f"#!{program}" if shebang else ": begin"
    text = f"""{SHELL}COPY root /
SHELL ["{program}", "-c"]
RUN <<-END
\t{first}
\techo fine
\tno-such-program --flag
\tEND
RUN echo never
"""
    ended = pybuild.try_build(text)
    assert ended.status == 1
    assert "/Containerfile:9:1: " in ended.stderr
    assert "exited with status 127\n    9 | \tno-such-program --flag\n" in ended.stderr
    assert "--at=6" in ended.stderr  # a shell can only be opened where the instruction is


def test_a_heredoc_whose_shell_says_no_line_is_shown_at_the_instruction(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN <<END\ntrue\nfalse\nEND\n")
    assert ended.status == 1
    assert "/Containerfile:4:1: " in ended.stderr
