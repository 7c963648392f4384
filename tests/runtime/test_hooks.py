"""`run_hooks`: what a hook gets, and what is said of one that fails (config.md "Hooks")."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.oci.spec import Hook
from runtime.sandbox.hooks import run_hooks


def shell(script: str, **choices: object) -> Hook:
    """A hook that runs a script."""
    return Hook(path="/bin/sh", args=("sh", "-c", script), **choices)  # type: ignore[arg-type]


def failure(*hooks: Hook) -> str:
    """What is said when the hooks of a point fail."""
    with pytest.raises(ContainerError) as caught:
        run_hooks("poststart", hooks, b"{}")
    return str(caught.value)


def test_a_hook_gets_the_state_its_arguments_and_only_its_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'cat > {out}; echo "$0 $1" >> {out}; cat /proc/$$/environ >> {out}'
    hook = Hook(path="/bin/sh", args=("name", "-c", script, "zero", "one"), env=("A=1", "B=x=y"))
    run_hooks("prestart", (hook,), b"state" * 10_000 + b"\n")
    state, words, environment = out.read_text().split("\n")
    assert state == "state" * 10_000
    assert words == "zero one"
    assert environment == "A=1\0B=x=y\0"


def test_a_hook_without_arguments_gets_its_path(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $#" > {tmp_path}/out\n')
    program.chmod(0o755)
    run_hooks("prestart", (Hook(path=str(program)),), b"")
    assert (tmp_path / "out").read_text() == f"{program} 0\n"


def test_hooks_run_in_order_until_one_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = failure(
        shell(f"echo one >> {out}"), shell(f"echo two >> {out}; exit 3"), shell(f"echo 3 >> {out}")
    )
    assert words == "hooks.poststart[1]: /bin/sh: ended with status 3"
    assert out.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo first; echo last >&2; exit 1", "ended with status 1: last"),
        ("kill -9 $$", "killed by signal 9"),
        ("yes | head -c 3000000; echo end; exit 2", "ended with status 2: end"),
        ("printf '\\377'; exit 1", "ended with status 1: \\xff"),
    ],
)
def test_a_failure_says_how_it_ended_and_its_last_line(script: str, words: str) -> None:
    assert failure(shell(script)) == f"hooks.poststart[0]: /bin/sh: {words}"


def test_a_program_that_is_missing_is_named() -> None:
    words = "hooks.poststart[0]: /nothing: ended with status 127: No such file or directory"
    assert failure(Hook(path="/nothing")) == words


def test_a_hook_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    hook = shell(f"echo $$ > {tmp_path}/pid; exec sleep 100", timeout_s=1)
    assert failure(hook) == "hooks.poststart[0]: /bin/sh: not finished after 1 s"
    assert 0.9 < time.monotonic() - began < 5
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


def test_a_hook_that_writes_all_the_time_is_stopped_in_time_too() -> None:
    began = time.monotonic()
    assert "not finished after 1 s" in failure(shell("exec yes", timeout_s=1))
    assert time.monotonic() - began < 5


def test_a_process_that_a_hook_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    run_hooks("poststart", (shell(f"sleep 3 & echo $! > {tmp_path}/pid"),), b"")
    assert time.monotonic() - began < 2
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    run_hooks("poststart", (shell("exit 0"),), b"")
    failure(shell("exit 1"))
    assert len(os.listdir("/proc/self/fd")) == before
