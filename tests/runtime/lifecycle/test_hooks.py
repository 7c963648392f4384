"""Hooks at the six points of a container's life (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import hook
from tests.runtime.lifecycle.runtime_calls import (
    Runtime,
    as_root,
    as_root_and_user,
    groups_of,
    marked,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.lifecycle.runtime_calls import Edit

    Bundle = Callable[..., Path]

POINTS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def _noting(point: str, log: Path, **more: object) -> Edit:
    """A hook that adds its point and the status that it is given to a file."""
    script = f'echo "{point} $(sed -E \'s/.*"status":"([a-z]+)".*/\\1/\')" >> {log}'
    path = "/bin/sh"
    return hook(point, path, "-c", script, env=["PATH=/bin:/usr/bin"], **more)


def test_hooks_run_in_order_with_the_status_of_their_point(oci: Runtime, bundle: Bundle) -> None:
    place = oci.room.directory("log", {"log": ""})
    log = place / "log"
    # startContainer runs in the container, where only its own files are.
    inside = hook("startContainer", "/bin/sh", "-c", "cat > /dev/shm/state; echo $0 $# $A", "b",
                  env=["A=1"])  # fmt: skip
    path = bundle(
        "cat /dev/shm/state; sleep 1000",
        *(_noting(point, log) for point in POINTS if point != "startContainer"),
        inside,
        _noting("createRuntime", log),
    )
    box = oci.create(path)
    assert log.read_text().splitlines() == [
        "prestart creating",
        "createRuntime creating",
        "createRuntime creating",
        "createContainer creating",
    ]
    oci.ok("start", box)
    assert log.read_text().splitlines()[4:] == ["poststart running"]
    state = json.loads(oci.wait_written(box, "}"))
    # By the container's own count, as runtime.md wants the pid there.
    assert (state["id"], state["status"], state["pid"]) == (box, "created", 1)
    oci.ok("delete", "--force", box)
    assert log.read_text().splitlines()[5:] == ["poststop stopped"]


@as_root
def test_a_hook_gets_the_whole_state_its_own_arguments_and_environment_alone(
    oci: Runtime, bundle: Bundle
) -> None:
    out = oci.room.place / "out"
    script = f"{{ cat; echo; env; echo $0 $1; ls /proc/self/fd; }} > {out}"
    path = bundle(
        "sleep 1000",
        hook("createRuntime", "/bin/sh", "-c", script, "zero", "one", env=["ONLY=this"]),
        lambda config: config.update(annotations={"a": "b"}),
    )
    box = oci.create(path)
    first, *rest = out.read_text().splitlines()
    state = oci.state(box)
    assert json.loads(first) == state | {"status": "creating"}
    assert "ONLY=this" in rest
    assert "zero one" in rest
    assert {line.partition("=")[0] for line in rest if "=" in line} <= {
        *("ONLY", "PWD", "OLDPWD", "SHLVL", "_", "PATH")
    }
    assert [line for line in rest if line.isdigit()] == ["0", "1", "2", "3"]


@as_root
def test_create_container_hooks_are_in_the_containers_namespaces_with_the_hosts_files(
    oci: Runtime, bundle: Bundle
) -> None:
    out = oci.room.place / "out"
    script = f"cat /proc/sys/kernel/hostname > {out}; test -x /usr/bin/env && echo host >> {out}"
    path = bundle("true", hook("createContainer", "/bin/sh", "-c", script))
    oci.output_of(path)
    assert out.read_text() == "pyrun\nhost\n"


@pytest.mark.parametrize("point", ["prestart", "createRuntime", "createContainer"])
@as_root_and_user
def test_a_failing_hook_of_create_stops_it_and_nothing_is_left(
    point: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true", hook(point, "/bin/sh", "-c", "echo why >&2; exit 3"))
    said = oci.refused("create", "-b", path, oci.new_id())
    assert f"hooks.{point}[0]: /bin/sh: ended with status 3: why" in said
    assert list(oci.root.iterdir()) == []
    assert until(lambda: not marked(oci.room.mark), 2)
    assert groups_of(oci.room.mark) == []


@as_root
def test_a_failing_start_container_hook_fails_start_and_stops_the_container(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.create(bundle("echo never", hook("startContainer", "/bin/sh", "-c", "exit 3")))
    assert "hooks.startContainer[0]: /bin/sh: ended with status 3" in oci.refused("start", box)
    oci.wait_stopped(box)
    assert oci.written(box) == ""
    oci.ok("delete", box)


@as_root
def test_a_failing_poststart_or_poststop_hook_is_a_warning(oci: Runtime, bundle: Bundle) -> None:
    log = oci.room.place / "log"
    path = bundle(
        "sleep 1000",
        hook("poststart", "/bin/false"),
        hook("poststop", "/bin/false"),
        _noting("poststop", log),
    )
    box = oci.create(path)
    started = oci("start", box)
    assert started.status == 0
    assert "warning: hooks.poststart[0]: /bin/false: ended with status 1" in started.stderr
    assert oci.status(box) == "running"
    deleted = oci("delete", "--force", box)
    assert deleted.status == 0
    assert "warning: hooks.poststop[0]: /bin/false" in deleted.stderr
    assert log.read_text() == "poststop stopped\n"


@as_root
def test_a_hook_that_takes_too_long_is_killed(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", hook("createRuntime", "/bin/sleep", "1000", timeout=1))
    said = oci.refused("create", "-b", path, oci.new_id())
    assert "hooks.createRuntime[0]: /bin/sleep: not finished after 1 s" in said
    assert list(oci.root.iterdir()) == []


@as_root
def test_a_hook_that_is_not_there_or_no_program_is_named(oci: Runtime, bundle: Bundle) -> None:
    for program, words in (("/nothing", "No such file"), ("/etc/passwd", "Permission denied")):
        said = oci.refused("create", "-b", bundle("true", hook("prestart", program)), oci.new_id())
        assert f"hooks.prestart[0]: {program}: " in said
        assert words in said


@as_root
def test_a_hook_that_leaves_a_process_behind_is_not_waited_for(
    oci: Runtime, bundle: Bundle
) -> None:
    pid_file = oci.room.place / "pid"
    script = f"sleep 1000 & echo $! > {pid_file}"
    path = bundle("true", hook("createRuntime", "/bin/sh", "-c", script, env=["PATH=/bin"]))
    try:
        oci.output_of(path)
    finally:
        os.kill(int(pid_file.read_text()), 9)


@as_root
def test_a_hook_can_be_a_large_talker(oci: Runtime, bundle: Bundle) -> None:
    script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1"
    path = bundle("true", hook("prestart", "/bin/sh", "-c", script, env=["PATH=/usr/bin:/bin"]))
    said = oci.refused("create", "-b", path, oci.new_id())
    assert said.endswith("ended with status 1: the end\n")


@as_root
def test_hooks_of_run_are_those_of_create_and_start(oci: Runtime, bundle: Bundle) -> None:
    log = oci.room.place / "log"
    points = [point for point in POINTS if point != "startContainer"]
    path = bundle("true", *(_noting(point, log) for point in points))
    oci("run", "-b", path, oci.new_id(), stdin=subprocess.DEVNULL)
    assert [line.split()[0] for line in log.read_text().splitlines()] == points
