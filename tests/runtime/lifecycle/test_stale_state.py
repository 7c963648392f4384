"""What a killed process, a damaged file or a pid that came again leaves: seen for what it is."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.lifecycle.runtime_calls import (
    Runtime,
    alive,
    as_root,
    as_root_and_user,
    end_marked,
    groups_of,
    marked,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]


@as_root_and_user
def test_a_container_whose_process_was_killed_is_stopped(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle())
    os.kill(oci.state(box)["pid"], signal.SIGKILL)
    oci.wait_stopped(box)
    oci.ok("delete", box)


@as_root_and_user
def test_a_pid_that_another_process_has_by_now_is_not_the_container(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle())
    file = oci.root / box / "state.json"
    text = file.read_text()
    with subprocess.Popen(["sleep", "100"], **oci.caller.switch) as other:
        file.write_text(json.dumps(json.loads(text) | {"pid": other.pid}))
        assert oci.state(box)["status"] == "stopped"
        assert "it is stopped" in oci.refused("kill", box, "KILL")
        assert "is stopped, not running" in oci.refused("exec", box, "true")
        file.write_text(text)
        assert oci.status(box) == "running"
        file.write_text(json.dumps(json.loads(text) | {"pid": other.pid}))
        oci.ok("delete", box)
        assert alive(other.pid)
        other.kill()
    # Its own process was lost with its pid.
    end_marked(oci.room.mark)


@pytest.mark.parametrize("content", ["", '{"id": "x", "pid": 1', "[]", '{"pid": "1"}'])
@as_root
def test_a_damaged_state_is_named_and_can_be_deleted(
    content: str, oci: Runtime, bundle: Bundle
) -> None:
    other = oci.started(bundle())
    box = oci.started(bundle())
    file = oci.root / box / "state.json"
    file.write_text(content)
    for verb in (["state", box], ["kill", box], ["start", box], ["exec", box, "true"]):
        assert f"{file}: this state is damaged" in oci.refused(*verb)
    assert f"{file}: this state is damaged" in oci.refused("delete", box)
    assert oci.ok("list", "-q") == f"{other}\n"
    oci.ok("delete", "--force", box)
    assert [path.name for path in oci.root.iterdir()] == [other]
    assert groups_of(box) == []


@as_root
def test_a_directory_without_a_state_is_incomplete_and_can_be_deleted(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true")
    oci.run(path)
    for files in ([], ["lock"], ["lock", "config.json"]):
        box = oci.new_id()
        (oci.root / box).mkdir()
        for name in files:
            (oci.root / box / name).touch()
        oci.room.give(oci.root / box)
        assert f"container '{box}'" in oci.refused("state", box)
        assert f"container '{box}' exists already" in oci.refused("create", "-b", path, box)
        oci.ok("delete", box)
        assert list(oci.root.iterdir()) == []


@as_root
def test_a_container_with_a_damaged_configuration_can_be_deleted(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle())
    for name in ("config.json", "kept"):
        (oci.root / box / name).write_text("{")
    result = oci("delete", "--force", box)
    assert result.status == 0, result
    assert result.stderr.startswith("pyrun: warning: "), result
    assert list(oci.root.iterdir()) == []


@as_root
def test_a_start_that_was_killed_leaves_a_running_container(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle())
    # As `start` would, up to the moment at which it is killed.
    fd = os.open(oci.root / box / "start", os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"s")
    os.close(fd)
    assert until(lambda: oci.status(box) == "running")
    assert "it is running, not created" in oci.refused("start", box)
    assert oci.ok("exec", box, "echo", "in") == "in\n"


@as_root_and_user
def test_a_create_that_is_killed_before_it_recorded_the_process_leaves_none(
    oci: Runtime, bundle: Bundle
) -> None:
    """`state.json` cannot be written here, and `create` is killed at the signal for that."""
    path, box = bundle(), oci.new_id()
    call = oci.popen("create", "-b", path, box, stdout=subprocess.DEVNULL)
    assert until(lambda: (oci.root / box / "reply").exists())
    call.kill()
    call.wait()
    if oci("state", box).status == 0:
        assert oci.status(box) in ("created", "stopped")
    else:
        assert until(lambda: not marked(oci.room.mark), 5)
    oci.ok("delete", "--force", box)
    assert until(lambda: not marked(oci.room.mark), 5)


@pytest.mark.slow
def test_a_create_killed_at_any_time_can_be_deleted_and_done_again(
    oci: Runtime, bundle: Bundle
) -> None:
    path, chance = bundle(), random.Random(4)
    for _ in range(30):
        box = oci.new_id()
        call = oci.popen("create", "-b", path, box, stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.25))
        call.kill()
        call.wait()
        _recover(oci, path, box)


@pytest.mark.slow
def test_a_start_killed_at_any_time_leaves_it_created_running_or_stopped(
    oci: Runtime, bundle: Bundle
) -> None:
    path, chance = bundle(), random.Random(5)
    for _ in range(20):
        box = oci.create(path)
        call = oci.popen("start", box)
        time.sleep(chance.uniform(0, 0.12))
        call.kill()
        call.wait()
        if oci.status(box) == "created":
            oci.ok("start", box)
        assert oci.status(box) == "running"
        oci.ok("delete", "--force", box)


@pytest.mark.slow
def test_a_delete_killed_at_any_time_can_be_repeated(oci: Runtime, bundle: Bundle) -> None:
    path, chance = bundle(), random.Random(6)
    for _ in range(20):
        box = oci.create(path)
        call = oci.popen("delete", "--force", box)
        time.sleep(chance.uniform(0, 0.15))
        call.kill()
        call.wait()
        _recover(oci, path, box)


def _recover(oci: Runtime, path: Path, box: str) -> None:
    """After a verb was killed: deleting works, nothing is left, and the id can be used."""
    oci.ok("delete", "--force", box)
    assert until(lambda: not marked(oci.room.mark), 5), marked(oci.room.mark)
    assert groups_of(box) == []
    assert not oci.root.exists() or list(oci.root.iterdir()) == []
    oci.ok("create", "-b", path, box, stdout=subprocess.DEVNULL)
    oci.ok("delete", "--force", box)
