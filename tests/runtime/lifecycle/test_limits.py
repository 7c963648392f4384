"""pause, resume, update: a container's control groups while it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from runtime.cgroup.layout import find_layout
from tests.runtime.lifecycle.edits import bind, linux
from tests.runtime.lifecycle.runtime_calls import FOREVER, Runtime, as_root, groups_of
from tests.support import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]

pytestmark = as_root
COUNTER = "i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.01; done"


def _limit(box: str, controller: str, first: str, second: str) -> str:
    """A limit as the kernel has it, by its file in v1 or v2."""
    hierarchy = find_layout().hierarchy_of(controller)
    if hierarchy is None:
        pytest.skip(f"no {controller} controller here")
    folder = next(path for path in groups_of(box) if path.startswith(hierarchy.mount + "/"))
    return Path(folder, first if hierarchy.version == 1 else second).read_text().strip()


def test_a_paused_container_stands_still_until_it_is_resumed(oci: Runtime, bundle: Bundle) -> None:
    data = oci.room.directory("data", {"count": ""})
    box = oci.started(bundle(COUNTER, bind(data, "/data")))
    wait_for(lambda: (data / "count").read_text() != "")
    oci.ok("pause", box)
    assert oci.status(box) == "paused"
    before = (data / "count").read_text()
    time.sleep(0.2)
    assert (data / "count").read_text() == before
    assert "it is paused, not running" in oci.refused("pause", box)
    oci.ok("resume", box)
    assert oci.status(box) == "running"
    wait_for(lambda: (data / "count").read_text() not in ("", before))
    assert "it is running, not paused" in oci.refused("resume", box)


def test_only_a_running_container_can_be_paused(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle(FOREVER))
    assert "it is created, not running" in oci.refused("pause", box)
    oci.stop(box)
    assert "it is stopped, not running" in oci.refused("pause", box)


@pytest.mark.parametrize("how", ["kill", "delete"])
def test_a_paused_container_can_be_killed(how: str, oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    oci.ok("pause", box)
    if how == "kill":
        oci.stop(box)
        oci.ok("delete", box)
    else:
        oci.ok("delete", "--force", box)
    assert list(oci.root.iterdir()) == []


def test_limits_are_changed_by_options(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER, linux(resources={"memory": {"limit": 64 << 20}})))
    oci.ok("update", "--memory", "128m", "--pids-limit", "77", box)
    assert _limit(box, "memory", "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert _limit(box, "pids", "pids.max", "pids.max") == "77"
    event = json.loads(oci.ok("events", "--stats", box))
    assert event["data"]["memory"]["usage"]["limit"] == 128 << 20


def test_limits_are_changed_by_a_file_or_standard_input(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    file = oci.room.place / "resources.json"
    file.write_text(json.dumps({"pids": {"limit": 12}, "cpu": {"shares": 512}}))
    oci.ok("update", "--resources", file, box)
    assert _limit(box, "pids", "pids.max", "pids.max") == "12"
    assert _limit(box, "cpu", "cpu.shares", "cpu.weight") in ("512", "20", "59")
    oci.ok("update", "-r", "-", box, stdin=b'{"pids": {"limit": 13}}')
    assert _limit(box, "pids", "pids.max", "pids.max") == "13"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "much"], "--memory 'much'"),
        (["--cpuset-cpus", "999"], "cpu.cpus"),
        (["--blkio-weight", "99999"], "blockIO.weight"),
        (["--resources", "/nothing"], "--resources /nothing: No such file"),
    ],
)
def test_a_limit_that_cannot_be_is_named(
    options: list[str], words: str, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER))
    assert words in oci.refused("update", *options, box)


def test_a_stopped_container_cannot_be_updated(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    oci.stop(box)
    said = oci.refused("update", "--pids-limit", "5", box)
    assert "it is stopped, not created, running or paused" in said


def test_a_limit_that_is_updated_holds(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle("read x < /dev/zero; " + FOREVER))
    oci.ok("update", "--pids-limit", "3", box)
    done = oci("exec", box, "sh", "-c", "sleep 5 & sleep 5 & sleep 5 & sleep 5 & wait")
    assert "fork" in done.stderr


def test_the_groups_path_is_the_configs(oci: Runtime, bundle: Bundle) -> None:
    name = f"/pyrun-test-{oci.room.mark}/deep/er"
    path = bundle("cat /proc/self/cgroup", linux(cgroupsPath=name), lambda c: c["linux"].update(
        namespaces=[n for n in c["linux"]["namespaces"] if n["type"] != "cgroup"]))  # fmt: skip
    out = oci.output_of(path)
    assert [line for line in out.splitlines() if line.endswith(f":{name}")]
    assert groups_of(oci.room.mark) == []
