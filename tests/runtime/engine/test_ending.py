"""`stop`, `kill`, `wait` and `rm`."""

from __future__ import annotations

import signal
import subprocess
import time

from tests.runtime.engine.engine_calls import Engine
from tests.support import wait_for

_POLITE = "trap 'echo bye; exit 0' {}; echo ready; while :; do sleep 0.05; done"


def test_stop_sends_the_signal_that_the_container_wants(everyones: Engine) -> None:
    identity = everyones.background(_POLITE.format("USR1"), "--stop-signal", "SIGUSR1")
    everyones.says(identity, "ready")
    everyones.done("stop", identity)
    assert everyones.done("wait", identity) == "0"
    assert "bye" in everyones("logs", identity).stdout


def test_stop_kills_what_does_not_listen_when_its_time_is_over(engine: Engine) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    identity = engine.background(script, "--stop-timeout", "1")
    engine.says(identity, "ready")
    began = time.monotonic()
    engine.done("stop", identity)
    assert time.monotonic() - began >= 1
    assert engine.done("wait", identity) == "137"
    other = engine.background(script, "--stop-timeout", "1000")
    engine.says(other, "ready")
    engine.done("stop", "-t", "0", other)
    assert engine.done("wait", other) == "137"


def test_stop_does_not_wait_for_a_first_process_that_the_kernel_spares(engine: Engine) -> None:
    identity = engine.background("sleep 1000; true", "--stop-timeout", "1000")
    engine.done("stop", identity)
    assert engine.done("stop", identity) == identity  # which is stopped: as docker has it


def test_kill_sends_any_signal(engine: Engine) -> None:
    identity = engine.background(_POLITE.format("HUP"))
    engine.says(identity, "ready")
    engine.done("kill", "-s", "HUP", identity)
    assert engine.done("wait", identity) == "0"
    failed = engine("kill", identity)
    assert failed.status == 125
    assert "exited, not running" in failed.stderr
    assert engine("kill", "-s", "NOSUCH", identity).status == 125


def test_wait_waits_for_the_end_and_prints_each_status(engine: Engine) -> None:
    ended = engine.background("exit 2")
    running = engine.background("sleep 1000")
    process = engine.popen("wait", ended, running, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"2\n"
    assert process.poll() is None
    engine.done("kill", running)
    assert process.communicate(timeout=20)[0] == b"137\n"


def test_rm_spares_what_runs_unless_forced(engine: Engine) -> None:
    identity = engine.background("sleep 1000")
    spared = engine("rm", identity)
    assert spared.status == 125
    assert f"`pyrun rm -f {identity}`" in spared.stderr
    engine.done("rm", "-f", identity)
    assert engine.remains() == []


def test_all_that_are_named_are_tried_and_the_first_error_counts(engine: Engine) -> None:
    identity = engine.done("create", engine.image, "true")
    failed = engine("rm", "nobody", identity, "nothing")
    assert failed.status == 125
    assert "'nobody'" in failed.stderr
    assert "'nothing'" in failed.stderr
    assert engine.remains() == []


def test_everything_of_a_container_ends_with_it(engine: Engine) -> None:
    identity = engine.background("sleep 1000 & sleep 1000 & echo ready; sleep 1000")
    engine.says(identity, "ready")
    run = engine.file(identity, "run.json")
    engine.done("kill", identity)
    engine.done("wait", identity)
    assert engine.processes() == []
    assert run["monitor"] > 0


def test_a_first_process_that_is_killed_from_outside_is_noted(engine: Engine) -> None:
    import os

    identity = engine.background("sleep 1000")
    os.kill(engine.file(identity, "run.json")["pid"], signal.SIGKILL)
    wait_for(lambda: engine.done("ps", "-q") == "")
    assert engine.done("wait", identity) == "137"
