"""The commands before anything of the project is loaded."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.support import command, environment, wait_for_script


def _default_interrupt() -> None:
    # A test runner in the background ignores it, and its children would.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["pybuild", "pyrun", "pyrun-oci"])
def test_an_early_interrupt_ends_a_command_without_a_word(name: str) -> None:
    seen = 0
    for moment_ms in range(0, 30, 2):
        process = subprocess.Popen(
            [*command(name), "--help"],
            env=environment(None),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_default_interrupt,
        )
        seen += wait_for_script(process)
        time.sleep(moment_ms / 1000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert (process.returncode in (0, 130, -signal.SIGINT), err) == (True, b"")
    assert seen > 0
