"""Health checks: what asks, what is known of the answers, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.engine.durations import read_duration
from runtime.engine.health import answered, combined, read_health, take_asked
from runtime.engine.health_check import check
from runtime.errors import ContainerError, UsageError
from tests.runtime.engine.engine_calls import Engine
from tests.support import busybox_layer, make_image, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OFTEN = ("--health-interval", "50ms", "--health-retries", "2")
_FOREVER = "trap 'exit 3' TERM; while :; do sleep 0.05; done"


def _health(engine: Engine, identity: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        engine.done("inspect", "-f", "{{json .State.Health}}", identity)
    )
    return shown


def _becomes(engine: Engine, identity: str, status: str) -> None:
    wait_for(lambda: _health(engine, identity)["Status"] == status)


def _checks(engine: Engine, identity: str) -> list[str]:
    return [entry["Start"] for entry in _health(engine, identity)["Log"]]


def test_a_container_becomes_unhealthy_and_healthy_again(everyones: Engine) -> None:
    identity = everyones.background(
        _FOREVER, *_OFTEN, "--health-cmd", "echo asked; test -e /well", "--name", "moody"
    )
    _becomes(everyones, identity, "unhealthy")
    assert "(unhealthy)" in everyones.done("ps", "--filter", "health=unhealthy")
    everyones.done("exec", "moody", "touch", "/well")
    _becomes(everyones, identity, "healthy")
    known = _health(everyones, identity)
    assert known["FailingStreak"] == 0
    assert known["Log"][-1]["ExitCode"] == 0
    assert known["Log"][-1]["Output"] == "asked\n"
    assert len(known["Log"]) <= 5
    assert "(healthy)" in everyones.done("ps")
    words = ("events", "--since", "5m", "--until", "0s", "--filter", "event=health_status")
    said = everyones.done(*words, "--filter", "container=moody", "--format", "{{.Action}}")
    assert said.splitlines()[:2] == ["health_status: unhealthy", "health_status: healthy"]
    assert not everyones.done("logs", identity)


def test_the_image_says_how_it_is_asked_unless_the_command_line_does(
    engine: Engine, tmp_path: Path
) -> None:
    check = {"Test": ["CMD", "test", "-e", "/well"], "Interval": 50_000_000, "Retries": 1}
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Healthcheck": check}
    engine.image = str(make_image(tmp_path / "image.tar", [busybox_layer()], config))
    identity = engine.background(_FOREVER)
    other = engine.background(_FOREVER, "--health-cmd", "true")
    without = engine.background(_FOREVER, "--no-healthcheck")
    _becomes(engine, identity, "unhealthy")
    _becomes(engine, other, "healthy")
    shown = json.loads(engine.done("inspect", "-f", "{{json .Config.Healthcheck}}", other))
    assert shown == check | {"Test": ["CMD-SHELL", "true"]}
    assert _health(engine, without) is None
    assert "ealth" not in engine.done("ps", "--filter", f"id={without}", "--format", "{{.Status}}")


def test_a_check_that_takes_too_long_is_killed_with_what_it_began(engine: Engine) -> None:
    command = "sleep 7654 & sleep 7654"
    identity = engine.background(
        _FOREVER, *_OFTEN, "--health-cmd", command, "--health-timeout", "100ms"
    )
    _becomes(engine, identity, "unhealthy")
    entry = _health(engine, identity)["Log"][-1]
    assert entry["ExitCode"] == -1
    assert "exceeded timeout (0.1s)" in entry["Output"]
    before = _checks(engine, identity)
    wait_for(lambda: not set(before) & set(_checks(engine, identity)))
    listed = engine.done("top", identity)
    assert listed.count("sleep 7654") <= 2  # of the check at work, if there is one


def test_failures_while_it_starts_do_not_count(engine: Engine) -> None:
    identity = engine.background(
        _FOREVER,
        "--health-cmd=test -e /well",
        "--health-interval=50ms",
        "--health-retries=1",
        "--health-start-period=10m",
        "--health-start-interval=20ms",
    )
    wait_for(lambda: len(_checks(engine, identity)) == 5)
    assert _health(engine, identity)["Status"] == "starting"
    assert "(health: starting)" in engine.done("ps")
    engine.done("exec", identity, "touch", "/well")
    _becomes(engine, identity, "healthy")
    engine.done("exec", identity, "rm", "/well")
    _becomes(engine, identity, "unhealthy")  # it had started


@pytest.mark.parametrize(("action", "status"), [("kill", "137"), ("stop", "3")])
def test_one_that_is_unhealthy_is_ended_if_that_was_asked_for(
    engine: Engine, action: str, status: str
) -> None:
    identity = engine.background(
        f"{_FOREVER}", *_OFTEN, "--health-cmd", "false", "--health-on-failure", action
    )
    assert engine.done("wait", identity) == status


def test_one_that_is_unhealthy_is_restarted_again_and_again(engine: Engine) -> None:
    script = f"echo up; {_FOREVER}"
    identity = engine.background(
        script, *_OFTEN, "--health-cmd", "false", "--health-on-failure", "restart"
    )
    wait_for(lambda: engine("logs", identity).stdout.count("up") >= 3)
    engine.done("stop", identity)
    assert engine("run", "--rm", "--health-on-failure=restart", engine.image).status == 125


def test_the_monitor_stays_small(engine: Engine) -> None:
    identity = engine.background(_FOREVER, *_OFTEN, "--health-cmd", "true")
    wait_for(lambda: len(_checks(engine, identity)) == 5)
    monitor = engine.file(identity, "run.json")["monitor"]
    text = Path(f"/proc/{monitor}/status").read_text()
    assert int(text.partition("VmRSS:")[2].split()[0]) < 14 << 10  # KiB


def test_one_that_is_paused_is_not_asked(engine: Engine) -> None:
    identity = engine.background(_FOREVER, "--health-cmd", "false", "--health-retries", "1")
    engine.done("pause", identity)
    before = _health(engine, identity)
    assert check(str(engine.store), str(engine.folder(identity))) == "starting"
    assert _health(engine, identity) == before
    assert "(Paused)" in engine.done("ps")
    failed = engine("healthcheck", "run", identity)
    assert failed.status == 125
    assert "is paused" in failed.stderr
    engine.done("unpause", identity)
    assert check(str(engine.store), str(engine.folder(identity))) == "unhealthy"


def test_healthcheck_run_asks_at_once_and_counts(everyones: Engine) -> None:
    identity = everyones.background(
        _FOREVER, "--health-cmd", "test -e /well", "--health-retries", "1"
    )
    assert _health(everyones, identity) == {"Status": "starting", "FailingStreak": 0, "Log": []}
    failed = everyones("healthcheck", "run", identity)
    assert (failed.status, failed.stdout) == (1, "unhealthy\n")
    everyones.done("exec", identity, "touch", "/well")
    assert everyones.done("healthcheck", "run", identity) == ""
    assert _health(everyones, identity)["Status"] == "healthy"


def test_a_command_that_is_not_there_is_a_failure_that_says_so(engine: Engine) -> None:
    identity = engine.background(_FOREVER, "--health-cmd", '["/not/there", "x"]')
    assert engine("healthcheck", "run", identity).status == 1
    entry = _health(engine, identity)["Log"][0]
    assert entry["ExitCode"] == 127
    assert "/not/there" in entry["Output"]


def test_one_without_a_check_cannot_be_asked(engine: Engine) -> None:
    identity = engine.background(_FOREVER)
    failed = engine("healthcheck", "run", identity)
    assert failed.status == 125
    assert "--health-cmd" in failed.stderr
    assert engine("run", "--health-retries", "2", engine.image).status == 125


def test_options_make_what_an_image_would_say() -> None:
    fields = {"health_cmd": '["a", "b"]', "health_interval": "1m30s", "health_retries": "4"}
    asked = take_asked(fields)
    assert not fields
    assert asked == {"Test": ["CMD", "a", "b"], "Interval": 90 * 10**9, "Retries": 4}
    assert (take_asked({"health_cmd": "[ -e /x ]"}) or {})["Test"] == ["CMD-SHELL", "[ -e /x ]"]
    assert take_asked({"no_healthcheck": True}) is None
    image = {"Test": ["CMD-SHELL", "x"], "Timeout": 10**9, "Retries": 0}
    assert combined(image, {"Retries": 4}) == image | {"Retries": 4}
    assert combined(image, {"Test": ["NONE"]}) is None
    assert combined({"Test": ["NONE"]}, {}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"health_cmd": " "},
        {"health_cmd": "[1]"},
        {"health_interval": "5"},
        {"health_timeout": "1us"},
        {"health_retries": "-1"},
        {"health_on_failure": "explode"},
        {"no_healthcheck": True, "health_cmd": "x"},
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        take_asked(fields)


@pytest.mark.parametrize(
    "members",
    [{"Test": ["CMD"]}, {"Test": "x"}, {"Test": ["CMD-SHELL", "x"], "Interval": "1s"}],
)
def test_an_image_that_makes_no_sense_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ContainerError):
        read_health(members)


def test_only_so_many_failures_in_a_row_are_bad_news() -> None:
    state: dict[str, Any] = {"Status": "starting", "FailingStreak": 0, "Log": []}
    state = answered(state, {"ExitCode": 1}, 2, counts=False)
    assert (state["Status"], state["FailingStreak"]) == ("starting", 0)
    state = answered(state, {"ExitCode": 1}, 2, counts=True)
    assert (state["Status"], state["FailingStreak"]) == ("starting", 1)
    state = answered(state, {"ExitCode": 0}, 2, counts=True)
    assert (state["Status"], state["FailingStreak"]) == ("healthy", 0)
    for _ in range(2):
        state = answered(state, {"ExitCode": 1}, 2, counts=True)
    assert (state["Status"], state["FailingStreak"]) == ("unhealthy", 2)
    assert len(state["Log"]) == 5


def test_durations_are_read_as_go_writes_them() -> None:
    known = {"0": 0, "0s": 0, "1h1m1s": 3661 * 10**9, "1.5s": 1_500_000_000, "2ms3us4ns": 2003004}
    assert {text: read_duration(text, "--x") for text in known} == known
    for text in ("", "5", "s", "1x", "-1s", "1..2s", "1.2.3s", "1s2", "9999999999999s"):
        with pytest.raises(UsageError):
            read_duration(text, "--x")
