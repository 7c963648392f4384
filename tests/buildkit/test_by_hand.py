"""A shell where a build stands: pybuild shell, --on-fail=shell; and what a failed RUN says."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Pybuild

TEXT = f"""\
{SHELL}
ENV a=env
ARG b=arg
WORKDIR /w
RUN echo 1 > /first
RUN --mount=type=tmpfs,target=/t \\
    echo 2 > /second
COPY Containerfile /third
"""
LOOK = "ls /first /second /third /t 2>/dev/null; echo $a $b $PWD; touch /second; exit 3\n"


def _shell(pybuild: Pybuild, text: str, *words: str, typed: str = LOOK) -> tuple[list[str], str]:
    """What a shell says to what is typed, and what pybuild says."""
    pybuild.write(text)
    ended = subprocess.run(
        [*pybuild.command, "shell", *words, pybuild.context],
        input=typed, capture_output=True, text=True, check=False,
        env=pybuild.environment(), cwd=pybuild.work, **pybuild.caller.switch,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split(), ended.stderr


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["--at=8"], []),
        (["--at=9"], ["/first", "/t:"]),
        (["--at=10"], ["/first", "/t:"]),
        (["--at=11"], ["/first", "/second"]),
        ([], ["/first", "/second", "/third"]),
    ],
)
def test_a_shell_is_where_a_line_would_be_carried_out(
    anybody: Pybuild, words: list[str], seen: list[str]
) -> None:
    found, _ = _shell(anybody, TEXT, *words)
    assert found[:-3] == seen
    assert found[-3:] == ["env", "arg", "/w"]


def test_what_is_done_by_hand_is_not_kept(anybody: Pybuild) -> None:
    _shell(anybody, TEXT, typed="echo by hand > /first; rm -r /w\n")
    image = anybody.build(TEXT)
    assert image.read("first") == b"1\n"
    assert "w" in image.files


def test_a_shell_writes_no_image(anybody: Pybuild) -> None:
    _shell(anybody, TEXT)
    assert os.listdir(anybody.work) == []


@pytest.mark.parametrize("word", ["shell", "verify-reproducible"])
@pytest.mark.parametrize("option", ["-o=x.tar", "-t=x", "--iidfile=x", "--metadata-file=x"])
def test_what_would_name_a_result_is_refused(pybuild: Pybuild, word: str, option: str) -> None:
    pybuild.write(TEXT)
    ended = pybuild.run(word, *option.split("="), pybuild.context)
    assert ended.status == 2
    assert f"pybuild {word} writes nothing: {option.split('=')[0]}" in ended.stderr


def test_another_stage_is_opened_by_its_name(anybody: Pybuild) -> None:
    text = f"{SHELL.replace('scratch', 'scratch AS a')}RUN echo 1 > /n\nFROM scratch\n"
    assert _shell(anybody, text, "--target=a", typed="cat /n\n")[0] == ["1"]


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (TEXT, ["--at=99"], "no instruction of a stage is there"),
        (TEXT, ["--at=x"], "the number of a line"),
        ("FROM scratch\nCOPY Containerfile /\n", [], "/bin/sh"),
        (f"{SHELL}RUN false\n", [], "exited with status 1"),
    ],
)
def test_a_shell_that_cannot_be_is_an_error(
    pybuild: Pybuild, text: str, words: list[str], message: str
) -> None:
    pybuild.write(text)
    ended = pybuild.run("shell", *words, pybuild.context)
    assert ended.status in (1, 2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_failure_names_the_command_that_opens_a_shell_there(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN echo 1 > /n\nRUN cat /n && exit 4\n"
    ended = anybody.try_build(text)
    assert ended.status == 1
    [line] = [line for line in ended.stderr.splitlines() if "opens a shell there" in line]
    words = shlex.split(line.split("`")[1])
    assert words[0] == "pybuild"
    again = subprocess.run(
        [*anybody.command, *words[1:]],
        input="cat /n; echo from within\n", capture_output=True, text=True, check=True,
        env=anybody.environment(), cwd=anybody.work, **anybody.caller.switch,
    )  # fmt: skip
    assert again.stdout == "1\nfrom within\n"


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_on_fail_opens_a_shell_in_what_the_step_left(anybody: Pybuild) -> None:
    anybody.write(f"{SHELL}RUN echo left > /n && exit 4\n")
    ended = subprocess.run(
        [*anybody.command, "--on-fail=shell", anybody.context],
        input="cat /n\n", capture_output=True, text=True, check=False,
        env=anybody.environment(), cwd=anybody.work, **anybody.caller.switch,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == "left\n"
    assert "exited with status 4" in ended.stderr
    assert anybody.try_build(f"{SHELL}RUN true\n", "--on-fail=bash").status == 2


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_terminal_is_a_terminal_in_the_shell(anybody: Pybuild) -> None:
    anybody.write(f"{SHELL}RUN echo left > /n && exit 4\n")
    typed = ["tty; sleep 60", "\x03", "echo $((40+2))", "exit"]
    said = _on_a_terminal(anybody, ["--on-fail=shell", anybody.context], typed)
    assert "/dev/pts/" in said
    assert "42" in said
    assert "exited with status 4" in said


def _on_a_terminal(pybuild: Pybuild, words: list[str | Path], typed: list[str]) -> str:
    """Type lines one after the other, each when nothing was said for a moment."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(pybuild.work)
        switch = pybuild.caller.switch
        if switch:
            os.setgroups(switch["extra_groups"])
            os.setgid(switch["group"])
            os.setuid(switch["user"])
        argv = [str(word) for word in (*pybuild.command, *words)]
        os.execvpe(argv[0], argv, pybuild.environment())
    said = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 1.5)[0]:
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:  # EIO: all who had the terminal have ended
                break
            said += chunk
        elif typed:
            line = typed.pop(0)
            os.write(master, line.encode() + (b"" if line == "\x03" else b"\n"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    os.close(master)
    return said.decode("utf-8", "replace")
