"""list, ps, features, spec, events: what is printed about containers and the runtime."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import linux
from tests.runtime.lifecycle.runtime_calls import (
    FOREVER,
    Runtime,
    as_root,
    as_root_and_user,
    as_user,
    until,
)
from tests.support import run, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]


@as_root_and_user
def test_list_shows_every_container_with_its_status(oci: Runtime, bundle: Bundle) -> None:
    assert oci.ok("list") == "ID   PID   STATUS   BUNDLE   CREATED   OWNER\n"
    assert (oci.ok("list", "-q"), oci.ok("list", "-f", "json")) == ("", "[]\n")
    path = bundle(FOREVER)
    created, running, stopped = oci.create(path), oci.started(path), oci.create(path)
    oci.stop(stopped)
    listed = {one["id"]: one for one in json.loads(oci.ok("list", "--format", "json"))}
    assert {name: one["status"] for name, one in listed.items()} == {
        created: "created",
        running: "running",
        stopped: "stopped",
    }
    owner = listed[running].pop("owner")
    assert owner == (f"#{oci.caller.uid}" if oci.caller.name == "lone" else oci.caller.name)
    assert listed[running] == oci.state(running)
    assert oci.ok("list", "-q").split() == sorted((created, running, stopped))
    rows = [line.split() for line in oci.ok("list").splitlines()]
    assert rows[0] == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert [row[2] for row in rows[1:]] == [listed[row[0]]["status"] for row in rows[1:]]


@as_root_and_user
def test_ps_shows_the_processes_of_one_container(oci: Runtime, bundle: Bundle) -> None:
    oci.started(bundle("sleep 1005"))
    box = oci.started(bundle("sleep 1006 & sleep 1007 & echo ready; wait"))
    oci.wait_written(box, "ready")
    assert until(lambda: len(json.loads(oci.ok("ps", "-f", "json", box))) == 3)
    pids = json.loads(oci.ok("ps", "--format", "json", box))
    assert oci.state(box)["pid"] in pids
    lines = oci.ok("ps", box).splitlines()
    assert lines[0].split() == ["PID", "PPID", "UID", "STATE", "COMMAND"]
    assert sorted(int(line.split()[0]) for line in lines[1:]) == sorted(pids)
    assert sum("sleep 1006" in line or "sleep 1007" in line for line in lines) >= 2
    assert "sleep 1005" not in "".join(lines)


@as_root
def test_ps_cannot_be_made_to_steer_a_terminal(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(["sh", "-c", "sleep 1000; true", "\x1b]0;title\x07\nline"]))
    out = oci.ok("ps", box)
    assert "?]0;title??line" in out
    assert len(out.splitlines()) == 3


@as_root
def test_formats_that_are_not_known_are_named(oci: Runtime, bundle: Bundle) -> None:
    assert "--format 'xml': table or json expected" in oci.refused("list", "-f", "xml")
    box = oci.started(bundle(FOREVER))
    assert "--format 'xml': table or json expected" in oci.refused("ps", "-f", "xml", box)
    oci.stop(box)
    assert f"container '{box}' is stopped" in oci.refused("ps", box)


@as_root
def test_features_are_those_of_the_specification(oci: Runtime) -> None:
    found = json.loads(oci.ok("features"))
    assert found["ociVersionMin"] == "1.0.0"
    assert found["ociVersionMax"] >= "1.2.0"
    assert set(found["hooks"]) == {
        *("prestart", "createRuntime", "createContainer"),
        *("startContainer", "poststart", "poststop"),
    }
    assert {"ro", "rro", "rbind", "idmap", "tmpcopyup", "nosuid"} <= set(found["mountOptions"])
    linux_part = found["linux"]
    assert set(linux_part["namespaces"]) == {
        *("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
    }
    assert "CAP_SYS_ADMIN" in linux_part["capabilities"]
    assert linux_part["seccomp"]["enabled"] is True
    assert "SCMP_ACT_ERRNO" in linux_part["seccomp"]["actions"]
    assert "SCMP_CMP_MASKED_EQ" in linux_part["seccomp"]["operators"]
    assert linux_part["mountExtensions"]["idmap"]["enabled"] is True
    for name in ("cgroup", "apparmor", "selinux", "intelRdt"):
        assert isinstance(linux_part[name], dict)
    assert isinstance(found["annotations"], dict)
    assert {"org.pybuild.landlock", "org.pybuild.image"} <= {
        *found["potentiallyUnsafeConfigAnnotations"]
    }


@as_root_and_user
def test_the_example_runs_as_it_is_written(oci: Runtime, bundle: Bundle) -> None:
    """But for the terminal, which a test has not."""
    path = bundle(FOREVER)
    (path / "config.json").unlink()
    kind = [] if oci.caller.is_root else ["--rootless"]
    oci.ok("spec", *kind, "--bundle", path)
    said = oci.refused("spec", *kind, "--bundle", path)
    assert f"{path}/config.json exists already" in said
    config = json.loads((path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    config["process"]["terminal"] = False
    (path / "config.json").write_text(json.dumps(config))
    done = oci.run(path, stdin=b"echo from $(hostname)\n")
    assert (done.status, done.stdout) == (0, "from pyrun\n"), done


@pytest.mark.needs_program("runc")
@as_root
def test_the_example_runs_under_runc(oci: Runtime, bundle: Bundle) -> None:
    # Its cgroup mount needs a cgroup namespace that Debian's runc makes on cgroup v1, too.
    path = bundle("echo from $(hostname)")
    done = run([which("runc"), "--root", oci.room.place / "runc", "run", "-b", path, oci.new_id()],
               env=oci.env)  # fmt: skip
    assert (done.status, done.stdout) == (0, "from pyrun\n"), done


@as_root
def test_stats_are_the_figures_of_the_containers_groups(oci: Runtime, bundle: Bundle) -> None:
    limits = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    path = bundle("sleep 1000 & echo ready; wait", linux(resources=limits))
    box = oci.started(path)
    oci.wait_written(box, "ready")
    event = json.loads(oci.ok("events", "--stats", box))
    assert (event["type"], event["id"]) == ("stats", box)
    data = event["data"]
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["memory"]["usage"]["usage"] > 0
    assert data["pids"] == {"current": 2, "limit": 50}
    assert data["cpu"]["usage"]["total"] > 0
    oci.stop(box)


@as_root
def test_events_tell_of_an_out_of_memory_kill_and_end_with_the_container(
    oci: Runtime, bundle: Bundle
) -> None:
    limits = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    script = "read x; tail -c 200m /dev/zero; echo after; read x"
    box = oci.new_id()
    running = oci.popen(
        *("run", "-b", bundle(script, linux(resources=limits)), box),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    assert until(lambda: oci("state", box).status == 0)
    following = oci.popen("events", "--interval", "1", box, stdout=subprocess.PIPE)
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())
    assert first["type"] == "stats"
    running.stdin.write(b"go\n")
    running.stdin.flush()
    assert running.stdout.readline() == b"after\n"
    kinds = set()
    while "oom" not in kinds:
        kinds.add(json.loads(following.stdout.readline())["type"])
    running.stdin.close()
    assert running.wait(10) == 1
    assert following.wait(10) == 0
    running.stdout.close()
    following.stdout.close()


@as_user
def test_a_user_without_groups_is_told_so(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    assert "has no control group" in oci.refused("events", "--stats", box)
    assert "has no control group" in oci.refused("pause", box)
    assert "has no control group" in oci.refused("update", "--memory", "64m", box)
    assert oci.status(box) == "running"


@as_root
def test_version_and_help_are_printed(oci: Runtime) -> None:
    lines = oci.ok("--version").splitlines()
    assert lines[0].startswith("pyrun version ")
    assert lines[1].startswith("spec: 1.")
    assert oci.ok("--help").startswith("usage: pyrun oci ")
