"""Containers that are run: in the foreground and beside the caller, once and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.runtime.engine.engine_calls import Engine
from tests.support import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_container_beside_us_has_a_log_and_a_status_and_stays(everyones: Engine) -> None:
    identity = everyones.background("echo out; echo err >&2; exit 3", "--name", "there")
    assert len(identity) == 64
    assert everyones.done("wait", "there") == "3"
    said = everyones("logs", "there")
    assert (said.stdout, said.stderr) == ("out\n", "err\n")
    assert "there" not in everyones.done("ps")
    assert "there" in everyones.done("ps", "-a")
    assert everyones.done("rm", identity[:12]) == identity[:12]
    assert everyones.remains() == []


def test_in_the_foreground_output_and_status_are_the_containers(everyones: Engine) -> None:
    ran = everyones("run", "--rm", everyones.image, "sh", "-c", "echo a; echo b >&2; exit 7")
    assert (ran.status, ran.stdout, ran.stderr) == (7, "a\n", "b\n")
    wait_for(lambda: not everyones.remains())  # its monitor has just told us, and leaves


def test_a_signal_to_the_command_is_the_containers(engine: Engine) -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    process = engine.popen("run", "--rm", engine.image, "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == b"caught\n"
    assert process.returncode == 5


def test_a_container_that_a_signal_ends_has_its_status(engine: Engine) -> None:
    identity = engine.background("sleep 100")
    engine.done("kill", identity)
    assert engine.done("wait", identity) == "137"


def test_commands_that_are_not_there_have_the_statuses_of_docker(engine: Engine) -> None:
    missing = engine("run", "--name", "no-command", engine.image, "/not/there")
    assert missing.status == 127
    assert engine("run", "--rm", engine.image, "/etc/passwd").status == 126
    assert engine("run", "--rm", "/no/image.tar").status == 125
    assert "no-command" in engine.done("ps", "-a")  # as docker: made, but not started
    assert engine("run", "-d", "--rm", engine.image, "/not/there").status == 127


def test_input_reaches_a_container_only_if_asked_for(engine: Engine) -> None:
    given = engine("run", "--rm", "-i", engine.image, "cat", stdin=b"x" * 300_000)
    assert len(given.stdout) == 300_000
    assert engine("run", "--rm", engine.image, "cat", stdin=b"words").stdout == ""


def test_what_is_written_is_there_at_the_next_start(everyones: Engine) -> None:
    script = "echo more >> /root/notes; wc -l < /root/notes"
    identity = everyones.done("create", everyones.image, "sh", "-c", script)
    assert everyones.done("start", "-a", identity) == "1"
    assert everyones.done("start", "-a", identity) == "2"
    assert everyones("logs", identity).stdout == "1\n2\n"


def test_a_container_that_runs_is_not_started_again(engine: Engine) -> None:
    identity = engine.background("sleep 100")
    again = engine("start", identity)
    assert again.status == 125
    assert "running already" in again.stderr
    assert engine.done("ps", "-q") == identity[:12]


def test_of_two_starts_at_once_one_wins(engine: Engine) -> None:
    identity = engine.done("create", engine.image, "sleep", "100")
    both = [engine.popen("start", identity, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=30)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 125], errors
    assert b"already" in b"".join(errors)
    assert engine.done("ps", "-q") == identity[:12]


def test_a_name_is_taken_once(engine: Engine) -> None:
    identity = engine.background("sleep 100", "--name", "mine")
    taken = engine("run", "-d", "--name", "mine", engine.image, "true")
    assert taken.status == 125
    assert f"taken by container {identity[:12]}" in taken.stderr
    assert [path.name for path in engine.store.glob("containers/?" + "?" * 63)] == [identity]
    engine.done("rm", "-f", "mine")
    engine.background("true", "--name", "mine")


def test_a_container_is_found_by_the_beginning_of_its_id_if_it_is_the_only_one(
    engine: Engine,
) -> None:
    ids = [engine.done("create", engine.image, "true") for _ in range(17)]
    first = [identity[0] for identity in ids]
    shared = next(digit for digit in first if first.count(digit) > 1)
    ambiguous = engine("rm", shared)
    assert ambiguous.status == 125
    assert f"begins the ids of {first.count(shared)} containers" in ambiguous.stderr
    engine.done("rm", ids[0][:20])
    unknown = engine("rm", ids[0][:20])
    assert unknown.status == 125
    assert "no container" in unknown.stderr


def test_the_id_is_written_to_a_file_that_is_new(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "id"
    identity = engine.background("true", "--cidfile", str(file))
    assert file.read_text() == identity
    again = engine("run", "--cidfile", str(file), engine.image, "true")
    assert again.status == 125
    assert "exists already" in again.stderr


def test_with_rm_nothing_stays_of_a_container_beside_us(everyones: Engine) -> None:
    everyones.background("exit 4", "--rm")
    wait_for(lambda: not everyones.remains())


def test_a_container_whose_monitor_was_killed_dies_and_is_put_in_order(everyones: Engine) -> None:
    identity = everyones.background("sleep 1000", "--name", "orphan")
    run = everyones.file(identity, "run.json")
    os.kill(run["monitor"], signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{run['pid']}").exists())
    assert everyones.done("wait", "orphan") == "137"
    assert "its monitor was killed" in everyones.file(identity, "exit.json")["error"]
    assert everyones.done("start", "orphan") == "orphan"
    assert everyones.done("ps", "-q") == identity[:12]


def test_a_monitor_that_fails_says_why(engine: Engine) -> None:
    script = "until [ -e /go ]; do sleep 0.05; done; while :; do echo more; done"
    identity = engine.background(script, "--log-opt", "max-size=100")
    (engine.folder(identity) / "log.1").mkdir()  # where the full log is to go
    engine.done("exec", identity, "touch", "/go")
    assert engine.done("wait", identity) == "137"
    assert "its monitor failed: IsADirectoryError" in engine.done("inspect", identity)


def test_how_an_image_is_mounted_and_verified_can_be_said(engine: Engine) -> None:
    options = ("--rootfs", "unpack", "--verify", "always")
    assert engine.done("run", "--rm", *options, engine.image, "echo", "hi") == "hi"
    for option in ("--rootfs=tmpfs", "--verify=perhaps"):
        refused = engine("run", option, engine.image, "true")
        assert refused.status == 125
        assert option.replace("=", " ") in refused.stderr


def test_a_state_directory_that_is_gone_as_after_a_reboot(
    engine: Engine, gone: Callable[[str], None]
) -> None:
    identity = engine.background("echo once; sleep 1000")
    engine.says(identity, "once")
    gone(identity)
    assert engine.done("wait", identity) == "137"
    assert engine.done("ps", "-q") == ""
    engine.done("start", identity)
    wait_for(lambda: engine("logs", identity).stdout == "once\nonce\n")


def test_a_container_has_the_limits_that_nobody_asked_for(engine: Engine) -> None:
    identity = engine.background("sleep 1000", "--cap-add", "MKNOD")
    places = json.loads(Path(f"/run/pyrun/{identity}/state.json").read_text())["group"]["places"]
    limits = [path for path in (Path(p["directory"], "pids.max") for p in places) if path.exists()]
    assert [path.read_text() for path in limits] == ["2048\n"]
    options = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined")
    script = "mount -t tmpfs none /tmp && mknod /tmp/disk b 7 0; echo made; head -c 1 /tmp/disk"
    tried = engine("run", "--rm", *options, engine.image, "sh", "-c", script)
    assert (tried.status, tried.stdout) == (1, "made\n")
    assert "/tmp/disk: Operation not permitted" in tried.stderr


def test_a_container_that_ends_before_its_monitor_listens_is_noted(
    engine: Engine, tmp_path: Path
) -> None:
    # A site module of ours lets time pass before the monitor has a handler of SIGCHLD.
    (tmp_path / "sitecustomize.py").write_text(
        "import _signal, time\n"
        "real = _signal.set_wakeup_fd\n"
        "def slow(fd):\n    time.sleep(0.5)\n    return real(fd)\n"
        "_signal.set_wakeup_fd = slow\n"
    )
    identity = engine.done("create", engine.image, "sh", "-c", "exit 5")
    engine.done("start", identity, env={"PYTHONPATH": str(tmp_path)})
    assert engine.done("wait", identity) == "5"


def test_many_starts_and_ends_leave_nothing(engine: Engine) -> None:
    running = [
        engine.popen("run", "--rm", engine.image, "true", stdout=subprocess.DEVNULL)
        for _ in range(8)
    ]
    assert [process.wait(60) for process in running] == [0] * 8
    assert engine.remains() == []
