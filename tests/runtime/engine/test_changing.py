"""`inspect`, `rename`, `pause`, `restart`, `update`, `container prune`, `top` and `stats`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.runtime.engine.engine_calls import Engine
from tests.support import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _inspected(engine: Engine, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(engine.done("inspect", name))[0]
    return document


def test_inspect_shows_what_was_asked_for_and_what_became_of_it(
    engine: Engine, tmp_path: Path
) -> None:
    options = ("--name", "seen", "-e", "A=b", "-l", "k=v", "-w", "/tmp", "-u", "alice")
    more = ("-m", "64m", "--pids-limit", "50", "-v", f"{tmp_path}:/data:ro", "--entrypoint", "sh")
    identity = engine.done("create", *options, *more, engine.image, "-c", "sleep 1000")
    found = _inspected(engine, "seen")
    assert (found["Id"], found["Name"], found["Path"]) == (identity, "seen", "sh")
    state = found["State"]
    assert (state["Status"], state["Running"], state["Pid"]) == ("created", False, 0)
    assert found["Config"]["Entrypoint"] == ["sh"]
    assert found["Config"]["Cmd"] == ["-c", "sleep 1000"]
    assert "A=b" in found["Config"]["Env"]
    config = found["Config"]
    assert (config["User"], config["WorkingDir"], config["Labels"]) == (
        "alice",
        "/tmp",
        {"k": "v"},
    )
    limits = found["HostConfig"]
    assert (limits["Memory"], limits["PidsLimit"]) == (64 << 20, 50)
    mount = next(one for one in found["Mounts"] if one["Destination"] == "/data")
    assert (mount["Source"], mount["RW"]) == (str(tmp_path), False)
    engine.done("start", "seen")
    form = "{{.State.Status}} {{.State.Pid}} {{.Config.StopSignal}}"
    pid = engine.file(identity, "run.json")["pid"]
    assert engine.done("inspect", "-f", form, "seen") == f"running {pid} SIGTERM"
    assert Path(_inspected(engine, "seen")["LogPath"]).exists()
    engine.done("kill", "seen")
    engine.done("wait", "seen")
    state = _inspected(engine, "seen")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 137, 0)
    assert state["StartedAt"] < state["FinishedAt"]


def test_inspect_shows_those_that_are_there_and_names_the_others(engine: Engine) -> None:
    engine.done("create", "--name", "there", engine.image, "true")
    found = engine("inspect", "there", "not-there")
    assert found.status == 125
    assert [one["Name"] for one in json.loads(found.stdout)] == ["there"]
    assert "'not-there'" in found.stderr


def test_a_container_that_ran_out_of_memory_says_so(engine: Engine) -> None:
    engine.done("create", "-m", "16m", "--name", "fat", engine.image, "tail", "/dev/zero")
    assert engine("start", "-a", "fat").status == 137
    assert engine.done("inspect", "-f", "{{.State.OOMKilled}}", "fat") == "true"


def test_a_new_name_is_taken_and_the_old_one_free(engine: Engine) -> None:
    identity = engine.background("sleep 1000", "--name", "old", "--rm")
    other = engine.done("create", "--name", "other", engine.image, "true")
    taken = engine("rename", "old", "other")
    assert taken.status == 125
    assert f"taken by container {other[:12]}" in taken.stderr
    engine.done("rename", identity[:10], "new")
    assert engine("inspect", "old").status == 125
    again = engine.done("create", "--name", "old", engine.image, "true")
    engine.done("stop", "new")  # its monitor knows it by the old name, and removes it
    wait_for(lambda: "new" not in engine.done("ps", "-a", "--format", "{{.Names}}"))
    assert engine.done("inspect", "-f", "{{.Id}}", "old") == again
    assert engine("rename", "old", "no/name").status == 125


def test_a_container_that_is_paused_stands_still(engine: Engine) -> None:
    identity = engine.background("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
    engine.says(identity, "3")
    engine.done("pause", identity)
    said = engine("logs", identity).stdout
    assert "(Paused)" in engine.done("ps")
    assert engine.done("inspect", "-f", "{{.State.Paused}}", identity) == "true"
    assert engine("logs", identity).stdout == said
    assert engine("pause", identity).status == 125
    engine.done("unpause", "--all")
    wait_for(lambda: len(engine("logs", identity).stdout) > len(said))
    engine.done("pause", identity)
    engine.done("rm", "-f", identity)


def test_stop_ends_what_is_paused(engine: Engine) -> None:
    identity = engine.background("sleep 1000", "--stop-timeout", "1")
    engine.done("pause", identity)
    engine.done("stop", identity)
    assert engine.done("wait", identity) == "137"


def test_restart_ends_and_starts(everyones: Engine) -> None:
    identity = everyones.background("echo up; sleep 1000")
    everyones.says(identity, "up")
    pid = everyones.file(identity, "run.json")["pid"]
    everyones.done("restart", "-t", "0", identity)
    wait_for(lambda: everyones("logs", identity).stdout == "up\nup\n")
    assert everyones.file(identity, "run.json")["pid"] != pid
    everyones.done("kill", identity)
    everyones.done("wait", identity)
    everyones.done("restart", identity)
    assert everyones.done("ps", "-q") == identity[:12]


def test_limits_change_at_once_and_for_later_starts(engine: Engine) -> None:
    identity = engine.background("sleep 1000", "-m", "64m", "--pids-limit", "20")
    engine.done("update", "-m", "32m", "--cpus", "0.5", identity)
    form = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}"
    assert engine.done("inspect", "-f", form, identity) == f"{32 << 20} 20 500000000"
    assert _limits_of(engine, identity) == (32 << 20, 20)
    engine.done("restart", "-t", "0", identity)
    assert _limits_of(engine, identity) == (32 << 20, 20)
    assert engine("update", identity).status == 125
    assert engine("update", "-m", "lots", identity).status == 125


def _limits_of(engine: Engine, identity: str) -> tuple[int, int]:
    state = json.loads(Path(f"/run/pyrun/{identity}/state.json").read_text())
    found = []
    for names in (("memory.limit_in_bytes", "memory.max"), ("pids.max",)):
        files = [
            Path(place["directory"], name) for place in state["group"]["places"] for name in names
        ]
        found.append(next(int(file.read_text()) for file in files if file.exists()))
    return found[0], found[1]


def test_prune_removes_those_that_do_not_run(engine: Engine) -> None:
    running = engine.background("sleep 1000")
    ended = engine.background("true", "-l", "keep=yes")
    engine.done("wait", ended)
    waiting = engine.done("create", engine.image, "true")
    assert engine.done("container", "prune", "-f", "--filter", "status=created") == waiting
    assert engine.done("container", "prune", "-f") == ended
    assert engine.done("ps", "-aq", "--no-trunc") == running


def test_top_lists_the_processes(engine: Engine) -> None:
    identity = engine.background("sleep 1001 & sleep 1002 & echo ready; wait")
    engine.says(identity, "ready")
    wait_for(lambda: "sleep 1002" in engine.done("top", identity))
    table = engine.done("top", identity)
    assert table.splitlines()[0].split()[0] == "PID"
    assert "sleep 1001" in table
    engine.done("kill", identity)
    engine.done("wait", identity)
    assert engine("top", identity).status == 125


def test_stats_are_those_of_the_container(engine: Engine) -> None:
    identity = engine.background("sleep 1000 & while :; do :; done", "--name", "busy", "-m", "64m")
    row = json.loads(engine.done("stats", "--no-stream", "--format", "json", "busy"))
    assert (row["ID"], row["Name"], row["PIDs"]) == (identity[:12], "busy", "2")
    assert float(row["CPUPerc"].rstrip("%")) > 1
    assert re.fullmatch(r"[\d.]+[KM]iB / 64MiB", row["MemUsage"])
    head, line = engine.done("stats", "--no-stream").splitlines()
    assert "MEM USAGE / LIMIT" in head
    assert "busy" in line
    assert engine("stats", "--no-stream", "--format", "{{.No}}").status == 125


def test_events_are_told_as_they_come_and_afterwards(everyones: Engine) -> None:
    everyones.done("rm", everyones.done("create", everyones.image, "true"))
    form = "{{.Action}} {{.Name}}"
    process = everyones.popen("events", "--format", form, stdout=subprocess.PIPE)
    assert process.stdout is not None
    wait_for(lambda: "SigCgt" in Path(f"/proc/{process.pid}/status").read_text())
    _until_it_reads(process.pid)
    everyones.done("run", "--name", "told", "--rm", "-l", "a=b", everyones.image, "true")
    told = [process.stdout.readline().decode().strip() for _ in range(4)]
    process.terminate()
    process.communicate()
    assert told == ["create told", "start told", "die told", "remove told"]
    filters = ("--filter", "container=told", "--filter", "event=die", "--filter", "label=a=b")
    past = everyones.done("events", "--stream=false", "--format", "json", *filters)
    event = json.loads(past.splitlines()[-1])
    assert (event["Action"], event["Attributes"]["exitCode"]) == ("die", "0")
    assert everyones.done("events", "--since", "1h", "--until", "59m") == ""
    line = everyones.done("events", "--since", "1h", "--until", "0s", *filters).splitlines()[-1]
    assert re.match(r"20\S+Z container die [0-9a-f]{64} \(a=b, exitCode=0, image=", line)


def _until_it_reads(pid: int) -> None:
    def sleeps() -> bool:
        links = []
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
            except FileNotFoundError:
                continue
        return any(link.endswith("/containers/events") for link in links)

    wait_for(sleeps)


def test_the_file_of_events_is_bounded(tmp_path: Path) -> None:
    from runtime.engine.events import _append
    from runtime.engine.log_reader import RotatedLines

    path = str(tmp_path / "events")
    line = b"x" * 999 + b"\n"
    for _ in range(2500):
        _append(path, line)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["events", "events.1"]
    assert all(one.stat().st_size <= 1 << 20 for one in tmp_path.iterdir())
    assert len(list(RotatedLines(path, 2).new())) > 1000
