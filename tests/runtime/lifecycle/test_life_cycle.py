"""create, start, state, kill, delete: what each does in every status (runtime.md)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.lifecycle.runtime_calls import (
    FOREVER,
    Runtime,
    alive,
    as_root,
    as_root_and_user,
    marked,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]

READY = "echo ready; while :; do sleep 0.02; done"


def test_a_container_is_created_then_running_then_stopped_then_gone(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.create(bundle("echo hello; cat"))
    assert (oci.status(box), oci.written(box)) == ("created", "")
    oci.ok("start", box)
    oci.wait_written(box, "hello\n")
    oci.wait_stopped(box)
    oci.ok("delete", box)
    assert oci.refused("state", box) == f"pyrun: container '{box}' does not exist\n"


@as_root
def test_a_command_runs_only_once_start_is_called(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle("echo ran"))
    time.sleep(0.2)
    assert oci.written(box) == ""
    oci.ok("start", box)
    assert oci.wait_written(box, "ran") == "ran\n"


@as_root_and_user
def test_state_has_the_fields_of_the_specification(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(FOREVER, lambda c: c.update(annotations={"org.a": "1", "b": 'ü"\n'}))
    box = oci.started(path)
    state = oci.state(box)
    assert state["ociVersion"] == "1.2.0"
    assert (state["id"], state["status"]) == (box, "running")
    assert (state["bundle"], state["rootfs"]) == (str(path), str(path / "rootfs"))
    assert state["annotations"] == {"org.a": "1", "b": 'ü"\n'}
    assert b"trap" in Path(f"/proc/{state['pid']}/cmdline").read_bytes()
    oci.stop(box)
    assert oci.state(box)["pid"] == 0


@as_root
def test_an_id_that_exists_cannot_be_created_again(oci: Runtime, bundle: Bundle) -> None:
    path = bundle()
    box = oci.create(path)
    assert f"container '{box}' exists already" in oci.refused("create", "-b", path, box)
    assert f"container '{box}' exists already" in oci.refused("run", "-b", path, box)
    assert oci.status(box) == "created"


@as_root
@pytest.mark.parametrize("status", ["running", "stopped"])
def test_only_a_created_container_can_be_started(
    status: str, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle())
    if status == "stopped":
        oci.stop(box)
    said = oci.refused("start", box)
    assert said == f"pyrun: cannot start container '{box}': it is {status}, not created\n"


@pytest.mark.parametrize("status", ["created", "running"])
@as_root_and_user
def test_delete_refuses_a_container_that_is_not_stopped_unless_forced(
    status: str, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.create(bundle())
    if status == "running":
        oci.ok("start", box)
    said = oci.refused("delete", box)
    assert said == f"pyrun: cannot delete container '{box}': it is {status}, not stopped\n"
    assert oci.status(box) == status
    pid = oci.state(box)["pid"]
    oci.ok("delete", "--force", box)
    assert not alive(pid)
    assert list(oci.root.iterdir()) == []
    oci.ok("delete", "--force", box)  # engines clean up more than once
    assert "does not exist" in oci.refused("delete", box)


@as_root
def test_a_created_container_that_is_killed_is_stopped(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle("echo never"))
    oci.stop(box)
    assert "it is stopped, not created" in oci.refused("start", box)
    oci.ok("delete", box)
    assert oci.written(box) == ""


@pytest.mark.parametrize("name", ["SIGUSR1", "10"])
@as_root
def test_kill_takes_a_signal_by_name_or_number(name: str, oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(f"trap 'echo usr1' USR1; {READY}"))
    oci.wait_written(box, "ready")
    oci.ok("kill", box, name)
    oci.wait_written(box, "usr1")


@as_root
def test_kill_sends_term_unless_told_otherwise(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(
        bundle("trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.02; done")
    )
    oci.wait_written(box, "ready")
    oci.ok("kill", box)
    oci.wait_stopped(box)
    assert oci.written(box) == "ready\nterm\n"


@as_root
def test_kill_refuses_what_is_no_signal(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle())
    assert "'NOTHING' is no signal" in oci.refused("kill", box, "NOTHING")
    assert "'65' is no signal" in oci.refused("kill", box, "65")
    assert oci.status(box) == "running"


@as_root
def test_kill_refuses_a_stopped_container(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle())
    oci.stop(box)
    said = oci.refused("kill", box)
    assert said == f"pyrun: cannot kill container '{box}': it is stopped, not created or running\n"


@as_root
def test_kill_all_reaches_every_process(oci: Runtime, bundle: Bundle) -> None:
    script = (
        "trap 'echo one' USR1; (trap 'echo two' USR1; echo ready; while :; do sleep 0.02; done) & "
    )
    box = oci.started(bundle(script + "while :; do sleep 0.02; done"))
    oci.wait_written(box, "ready")
    time.sleep(0.1)
    # SIGUSR1 ends the sleeps, too, which only shows that it reached them.
    oci.ok("kill", "--all", box, "USR1")
    oci.wait_written(box, "one\n")
    oci.wait_written(box, "two\n")


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -9 $$' 2>/dev/null; exit $?", 137)],
)
@as_root_and_user
def test_run_ends_as_its_command_does(
    script: str, status: int, oci: Runtime, bundle: Bundle
) -> None:
    result = oci.run(bundle(script))
    assert (result.status, result.stderr.replace("Killed\n", "")) == (status, "")
    assert list(oci.root.iterdir()) == []


@as_root
def test_run_ends_with_128_and_the_signal_that_ended_the_container(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.new_id()
    with oci.popen("run", "-b", bundle("sleep 100"), box) as running:
        assert until(lambda: (oci.root / box / "state.json").exists())
        oci.ok("kill", box, "KILL")
        assert running.wait(10) == 137


@as_root_and_user
def test_run_passes_signals_on(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(f"trap 'exit 3' TERM; {READY}")
    with oci.popen("run", "-b", path, oci.new_id(), stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.terminate()
        assert running.wait(10) == 3


@as_root
@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["/bin/nothing"], 127, "/bin/nothing: no such file or directory"),
        (["nothing"], 127, "nothing: executable file not found in PATH"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/bin"], 126, "/bin: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_executed_is_126_or_127(
    argv: list[str], status: int, words: str, oci: Runtime, bundle: Bundle
) -> None:
    result = oci.run(bundle(argv))
    assert (result.status, result.stderr) == (status, f"pyrun: {words}\n")
    assert list(oci.root.iterdir()) == []


@as_root
@pytest.mark.parametrize("content", ["garbage", "#!/nothing\n"])
def test_a_file_that_the_kernel_refuses_fails_start_and_leaves_it_stopped(
    content: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle(["/x"])
    (path / "rootfs/x").write_text(content)
    (path / "rootfs/x").chmod(0o755)
    box = oci.create(path)
    result = oci("start", box)
    assert result.status in (126, 127), result
    assert result.stderr.startswith("pyrun: /x: "), result
    oci.wait_stopped(box)
    oci.ok("delete", box)


@as_root
def test_create_says_that_a_command_is_missing(oci: Runtime, bundle: Bundle) -> None:
    result = oci("create", "-b", bundle(["nothing"]), oci.new_id())
    assert (result.status, result.stderr) == (
        127,
        "pyrun: nothing: executable file not found in PATH\n",
    )
    assert list(oci.root.iterdir()) == []


@as_root
def test_the_pid_file_holds_the_pid_of_state(oci: Runtime, bundle: Bundle) -> None:
    file = oci.room.place / "pid"
    box = oci.create(bundle(), "--pid-file", file)
    assert int(file.read_text()) == oci.state(box)["pid"]


@as_root_and_user
def test_standard_streams_are_those_of_create(oci: Runtime, bundle: Bundle) -> None:
    read, write = os.pipe()
    os.write(write, b"given\n")
    os.close(write)
    path = bundle("cat; echo err >&2")
    with open(path / "stderr", "wb") as err:
        box = oci.create(path, stdin=read, stderr=err)
    os.close(read)
    oci.ok("start", box)
    oci.wait_stopped(box)
    assert oci.written(box) == "given\n"
    assert (path / "stderr").read_text() == "err\n"


@as_root_and_user
def test_a_detached_run_leaves_a_running_container(oci: Runtime, bundle: Bundle) -> None:
    box = oci.new_id()
    oci.ok("run", "--detach", "--pid-file", oci.room.place / "pid", "-b", bundle(), box)
    assert oci.status(box) == "running"
    assert int((oci.room.place / "pid").read_text()) == oci.state(box)["pid"]


@as_root
def test_keep_leaves_the_stopped_container(oci: Runtime, bundle: Bundle) -> None:
    box = oci.new_id()
    assert oci("run", "--keep", "-b", bundle("exit 4"), box).status == 4
    assert oci.status(box) == "stopped"
    oci.ok("delete", box)


@as_root
def test_another_configuration_can_be_named(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("echo one")
    text = (path / "config.json").read_text()
    (path / "other.json").write_text(text.replace("echo one", "echo other"))
    assert oci.output_of(path, "--config", path / "other.json") == "other\n"


@as_root
def test_a_configuration_that_changes_after_create_is_not_used(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("echo created")
    box = oci.create(path)
    (path / "config.json").write_text("nonsense")
    oci.ok("start", box)
    oci.wait_written(box, "created")
    oci.wait_stopped(box)
    oci.ok("delete", box)


@as_root_and_user
def test_preserved_descriptors_are_passed_on_and_announced(oci: Runtime, bundle: Bundle) -> None:
    read, write = os.pipe()
    script = "ls /proc/self/fd | wc -l; echo $LISTEN_FDS $LISTEN_PID $$; echo passed >&3"

    def edit(config: Config) -> None:
        config["process"]["env"] += ["LISTEN_FDS=1", "LISTEN_PID=999"]

    # Its place is 3 in the call, whatever it is here.
    argv = ["bash", "-c", 'exec "$@" 3>&' + str(write), "bash", *oci.argv, "--root", str(oci.root)]
    argv += ["run", "--preserve-fds", "1", "-b", str(bundle(script, edit)), oci.new_id()]
    done = subprocess.run(
        argv, env=oci.env, capture_output=True, pass_fds=[write], cwd="/", check=True,
        **oci.caller.switch,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"passed\n"
    assert done.stdout.decode().splitlines()[1:] == ["1 1 1"]


@as_root
def test_descriptors_that_are_not_asked_for_are_closed(oci: Runtime, bundle: Bundle) -> None:
    read, write = os.pipe()
    out = oci.output_of(bundle("ls /proc/self/fd"), pass_fds=[read, write])
    os.close(read)
    os.close(write)
    assert out.split() == ["0", "1", "2", "3"]  # the last one is the directory itself


@as_root
def test_descriptors_to_preserve_must_be_open(oci: Runtime, bundle: Bundle) -> None:
    said = oci.refused("run", "--preserve-fds", "200", "-b", bundle(), oci.new_id())
    assert "--preserve-fds 200" in said
    assert "is not open" in said


@as_root_and_user
def test_of_two_creates_of_one_id_exactly_one_wins(oci: Runtime, bundle: Bundle) -> None:
    path, box = bundle(), oci.new_id()
    calls = [
        oci.popen("create", "-b", path, box, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(5)
    ]
    assert sorted(call.wait(30) for call in calls) == [0, 125, 125, 125, 125]
    assert oci.status(box) == "created"
    oci.ok("delete", "--force", box)


@as_root
def test_twenty_containers_run_at_once(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("hostname; exec sleep 1000")
    boxes = [oci.new_id() for _ in range(20)]
    calls = [oci.popen("run", "-d", "-b", path, box, stdout=subprocess.DEVNULL) for box in boxes]
    assert {call.wait(60) for call in calls} == {0}
    listed = oci.ok("list", "-q").split()
    assert sorted(listed) == sorted(boxes)
    assert {oci.status(box) for box in boxes[:3]} == {"running"}
    ends = [oci.popen("delete", "--force", box) for box in boxes]
    assert {call.wait(60) for call in ends} == {0}
    assert list(oci.root.iterdir()) == []


@as_root
def test_the_container_ignores_no_signal_that_its_caller_ignores(
    oci: Runtime, bundle: Bundle
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        out = oci.output_of(bundle(["grep", "SigIgn", "/proc/self/status"]))
    finally:
        signal.signal(signal.SIGINT, before)
    assert out.split() == ["SigIgn:", "0" * 16]


def test_no_process_outlives_its_container(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle("(sleep 1000 &); setsid sleep 1000 & echo ready; wait"))
    oci.wait_written(box, "ready")
    assert len(marked(oci.room.mark)) >= 3
    oci.ok("delete", "--force", box)
    assert until(lambda: not marked(oci.room.mark), 2)
