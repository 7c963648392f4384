"""Pulls and pushes as they are shown: steps with bytes, on a terminal, as lines and as events."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.buildkit.support import SHELL, Pybuild
from tests.buildkit.terminal import on_a_terminal
from tests.runtime.registry.fault_proxy import FaultProxy, slow_answer, slow_request
from tests.runtime.registry.registries import PROGRAM

pytestmark = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")
SIZE = 8 << 20  # bytes of the large layer
COUNT = r"\d+\.\dMB / \d+\.\dMB"


@pytest.fixture
def base(pybuild: Pybuild, seen: FaultProxy) -> str:
    """An image in the registry with a layer of 8 MiB, which this store lacks."""
    name = f"{seen.host}/shown/base:1"
    (pybuild.context / "large").write_bytes(os.urandom(SIZE))
    text = f"{SHELL}COPY large /\n"
    ended = pybuild.try_build(text, "--root", "pusher", "-t", name, "--push")
    assert ended.status == 0, ended.stderr
    return name


def test_a_build_numbers_its_pull_and_its_push_with_its_steps(
    pybuild: Pybuild, seen: FaultProxy, base: str
) -> None:
    app = f"{seen.host}/shown/app:1"
    ended = pybuild.try_build(f"FROM {base}\nRUN true\n", "-t", app, "--push")
    assert ended.status == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("#")]
    assert lines[0] == f"#1 [internal] pull {base}"
    assert re.fullmatch(r"#1 sha256:[0-9a-f]{64}", lines[1])
    assert re.fullmatch(r"#1 DONE \d+\.\ds", lines[2])
    assert lines[3] == "#2 [stage-0 1/1] RUN true"
    assert lines[5:7] == [f"#3 [internal] push {app}", f"#3 {ended.stdout.strip()}"]
    assert re.fullmatch(r"#3 DONE \d+\.\ds", lines[7])
    assert len(lines) == 8


def test_a_terminal_shows_the_bytes_of_a_pull_in_a_build(
    pybuild: Pybuild, seen: FaultProxy, base: str
) -> None:
    seen.on(slow_answer(8, 0.1), "GET", "/blobs/", times=0)
    pybuild.write(f"FROM {base}\nRUN true\n")
    status, said = on_a_terminal(pybuild, pybuild.context)
    assert status == 0, said
    assert len(set(re.findall(rf" => => ({COUNT})", said))) >= 3
    assert re.search(rf" => \[internal\] pull {base} +\d+\.\ds", said)
    assert re.search(r"\[\+\] Finished \d+\.\ds \(2/2\)", said)


def test_a_terminal_shows_the_bytes_of_pulls_and_pushes(
    pybuild: Pybuild, seen: FaultProxy, base: str
) -> None:
    seen.on(slow_answer(8, 0.1), "GET", "/blobs/", times=0)
    status, said = on_a_terminal(pybuild, "pull", base)
    assert status == 0, said
    assert "[+] Pulling " in said
    assert len(set(re.findall(rf" => => ({COUNT})", said))) >= 3
    for record in (pybuild.store / "origins").iterdir():
        record.unlink()
    seen.on(slow_request(8, 0.1), "PUT", "/blobs/", times=0)
    status, said = on_a_terminal(pybuild, "push", base, f"{seen.host}/shown/slow:1")
    assert status == 0, said
    assert "[+] Pushing " in said
    assert len(set(re.findall(rf" => => ({COUNT})", said))) >= 2


@pytest.mark.slow
def test_lines_have_a_count_now_and_then(pybuild: Pybuild, seen: FaultProxy, base: str) -> None:
    seen.on(slow_answer(12, 1.0), "GET", "/blobs/", times=0)
    ended = pybuild.run("pull", base)
    assert ended.status == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert lines[0] == f"#1 [internal] pull {base}"
    assert 2 <= len([line for line in lines if re.fullmatch(rf"#1 {COUNT}", line)]) <= 4


def test_quiet_shows_nothing_of_them(pybuild: Pybuild, seen: FaultProxy, base: str) -> None:
    copy = f"{seen.host}/shown/quiet:1"
    for words in (["pull", base], ["push", base, copy]):
        ended = pybuild.run(words[0], "-q", *words[1:])
        assert (ended.status, ended.stderr) == (0, "")
        assert ended.stdout.startswith("sha256:")
    ended = pybuild.try_build(f"FROM {base}\nLABEL a=b\n", "-q", "-t", copy, "--push")
    assert (ended.status, ended.stderr) == (0, "")


def test_events_have_them_with_their_bytes(pybuild: Pybuild, seen: FaultProxy, base: str) -> None:
    copy = f"{seen.host}/shown/events:1"
    text = f"FROM {base}\nLABEL a=b\n"
    ended = pybuild.try_build(text, "--progress=rawjson", "-t", copy, "--push")
    assert ended.status == 0, ended.stderr
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    vertexes = [vertex for event in events for vertex in event.get("vertexes", ())]
    done = [vertex["name"] for vertex in vertexes if "completed" in vertex]
    assert done == [f"[internal] pull {base}", f"[internal] push {copy}"]
    assert len({vertex["digest"] for vertex in vertexes}) == 2
    # The bytes of each, at the end all of them.
    statuses = [status for event in events for status in event.get("statuses", ())]
    assert {status["vertex"] for status in statuses} == {v["digest"] for v in vertexes}
    ended_ones = [status for status in statuses if "completed" in status]
    assert [status["id"] for status in ended_ones] == done
    assert all(SIZE < status["current"] == status["total"] for status in ended_ones)


def test_one_that_fails_is_a_step_that_failed(pybuild: Pybuild, seen: FaultProxy) -> None:
    name = f"{seen.host}/shown/nothing:1"
    ended = pybuild.try_build(f"FROM {name}\n")
    assert ended.status == 4
    lines = ended.stderr.splitlines()
    assert lines[:2] == [f"#1 [internal] pull {name}", "#1 ERROR"]
    assert "Containerfile:1:6: " in lines[2]
    ended = pybuild.run("pull", name)
    assert ended.stderr.splitlines()[:2] == [f"#1 [internal] pull {name}", "#1 ERROR"]
    assert "404" in ended.stderr
