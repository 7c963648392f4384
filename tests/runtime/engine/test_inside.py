"""exec and enter: commands inside a container that runs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engine.boxes import Boxes
from tests.support import Caller, command, environment, wait_for


@pytest.fixture
def boxes(public: Path, caller: Caller, busybox: Path) -> Iterator[Boxes]:
    made = Boxes(public / "own", caller, busybox)
    yield made
    made.clear()


as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)
_NAMESPACES = "for n in pid mnt net uts ipc cgroup; do readlink /proc/%s/ns/$n; done"


def test_exec_is_in_the_container_as_its_process_is(boxes: Boxes) -> None:
    box = boxes.started("-e", "A=image", "-w", "/tmp", "--cap-drop", "CHOWN")
    script = "pwd; echo $A $B; grep -E 'Cap(Bnd|Eff)|Seccomp:|NoNew' /proc/self/status; hostname"
    said = boxes.ok("exec", "-e", "B=more", box, "sh", "-c", script).splitlines()
    first = boxes.ok(
        "exec", box, "sh", "-c", "grep -E 'Cap(Bnd|Eff)|Seccomp:|NoNew' /proc/1/status"
    ).splitlines()
    assert said[:2] == ["/tmp", "image more"]
    assert said[2:-1] == first
    assert "Seccomp:\t2" in first
    assert said[-1] == box[:12]
    ours, theirs = (boxes.ok("exec", box, "sh", "-c", _NAMESPACES % who) for who in ("self", "1"))
    assert ours == theirs


def test_exec_passes_status_input_user_directory_and_variables(boxes: Boxes) -> None:
    box = boxes.started("-e", "A=1")
    file = boxes.file("env", "# a comment\n\nF=from file\nA=2\nPASSED\n")
    assert boxes("exec", box, "sh", "-c", "exit 7").status == 7
    assert boxes("exec", box, "sh", "-c", "kill -9 $$").status == 137
    assert boxes("exec", box, "/none").status == 127
    assert boxes("exec", box, "/etc/passwd").status == 126
    assert boxes.ok("exec", "-i", box, "cat", stdin=b"typed") == "typed"
    assert boxes.ok("exec", box, "cat", stdin=b"typed") == ""
    said = boxes.ok(
        *("exec", "--env-file", file, "-e", "A=3", box, "sh", "-c", "echo $A $F $PASSED"),
        env={"PASSED": "on"},
    )
    assert said == "3 from file on\n"
    if boxes.caller.name != "lone":
        said = boxes.ok(
            "exec", "-u", "alice", "-w", "/etc", box, "sh", "-c", "id -un; pwd; cd; pwd"
        )
        assert said == "alice\n/etc\n/home/alice\n"


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_exec_refuses_what_does_not_run(boxes: Boxes) -> None:
    box = boxes.made("--name", "made")
    ended = boxes("exec", box, "true")
    assert ended.status == 125
    assert ended.stderr == (
        "pyrun: container made is created, not running\nhint: `pyrun start made` first\n"
    )
    boxes.ok("start", "made")
    boxes.ok("wait", "made")
    assert "made is exited, not running" in boxes("exec", "made", "true").stderr
    assert boxes("exec", "none", "true").status == 125
    assert boxes("exec", "made").status == 125


@as_root
def test_exec_in_a_paused_container_is_refused_and_not_hung(boxes: Boxes) -> None:
    box = boxes.started("--name", "still")
    group = Path(f"/proc/{_pid(boxes, box)}/cgroup").read_text()
    from runtime.engine.containers import state_directory
    from runtime.lifecycle.operations import pause_container, resume_container

    pause_container(state_directory(box))
    ended = boxes("exec", box, "true")
    resume_container(state_directory(box))
    assert ended.status == 125
    assert "container still is paused" in ended.stderr
    assert boxes.ok("exec", box, "true") == "", group


@as_root
def test_exec_hands_signals_on_and_detached_is_not_waited_for(boxes: Boxes) -> None:
    box = boxes.started()
    script = "trap 'exit 5' USR1; touch /ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [*command("pyrun"), "exec", box, "sh", "-c", script],
        env=environment(None, PYBUILD_ROOT=str(boxes.store)),
    )
    wait_for(lambda: boxes("exec", box, "test", "-e", "/ready").status == 0)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 5
    assert boxes.ok("exec", "-d", box, "sh", "-c", "echo lost; sleep 0.2; touch /done") == ""
    wait_for(lambda: boxes("exec", box, "test", "-e", "/done").status == 0)
    assert boxes("exec", "-d", box, "/none").status == 127


@as_root
def test_exec_gives_a_terminal(boxes: Boxes) -> None:
    box = boxes.started()
    script = "tty; echo $TERM; read x; echo got $x; exit 3"
    pid, master = pty.fork()
    if pid == 0:
        argv = [*command("pyrun"), "exec", "-it", box, "sh", "-c", script]
        os.execve(argv[0], argv, environment(None, PYBUILD_ROOT=str(boxes.store)))
    os.write(master, b"word\n")
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:  # it has ended
        pass
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert b"/dev/pts/" in said
    assert b"xterm" in said
    assert b"got word" in said
    assert "not a terminal" in boxes("exec", "-it", box, "true").stderr
    assert "nobody would see" in boxes("exec", "-dt", box, "true").stderr


@as_root
def test_exec_is_under_the_landlock_rules_of_the_container(boxes: Boxes) -> None:
    box = boxes.started("--landlock", "rwx:/tmp,rx:/")
    assert boxes("exec", box, "touch", "/tmp/x").status == 0
    assert "Permission denied" in boxes("exec", box, "touch", "/root/x").stderr


@pytest.mark.parametrize("kind", ["pid", "mnt", "net", "uts", "ipc", "cgroup"])
@as_root
def test_enter_joins_the_namespaces_that_are_named_and_no_other(boxes: Boxes, kind: str) -> None:
    box = boxes.started()
    pid = _pid(boxes, box)
    script = "import os; print(*(os.readlink(f'/proc/self/ns/{n}') for n in "
    script += "'mnt net uts ipc cgroup'.split()))"
    if kind == "mnt":
        # There is no Python inside: the container's own files say where we are.
        assert boxes.ok("enter", "--ns", "mnt", box, "sh", "-c", "echo /home/*") == "/home/alice\n"
        return
    if kind == "pid":
        said = boxes.ok("enter", "--ns", "pid", box, "sh", "-c", "echo $$")
        assert 1 < int(said) < 1000
        return
    said = boxes.ok("enter", "--ns", kind, box, "python3", "-c", script)
    for name, found in zip("mnt net uts ipc cgroup".split(), said.split(), strict=True):
        theirs, ours = (os.readlink(f"/proc/{p}/ns/{name}") for p in (pid, os.getpid()))
        assert found == (theirs if name == kind else ours)


def test_enter_has_what_the_container_has_and_more_when_asked(boxes: Boxes) -> None:
    box = boxes.started("--cap-drop", "ALL")
    status = ("grep", "-E", "CapEff|Seccomp:", "/proc/self/status")
    by_default = boxes.ok("enter", box, *status)
    assert "CapEff:\t0000000000000000" in by_default
    assert "Seccomp:\t2" in by_default
    more = boxes.ok(
        "enter", "--all-capabilities", "--security-opt", "seccomp=unconfined", box, *status
    )
    assert "CapEff:\t0000000000000000" not in more
    assert "Seccomp:\t0" in more
    assert boxes.ok("enter", box, stdin=b"hostname\n") == f"{box[:12]}\n"
    assert boxes("enter", "--ns", "net", box, "sh", "-c", "exit 9").status == 9


def test_enter_takes_a_pid(boxes: Boxes) -> None:
    box = boxes.started()
    pid = str(_pid(boxes, box))
    assert boxes.ok("enter", "--ns", "uts", pid, "hostname") == f"{box[:12]}\n"
    status = boxes.ok("enter", pid, "grep", "Seccomp:", "/proc/self/status")
    assert status == "Seccomp:\t2\n"
    assert "there is no process 4194305" in boxes("enter", "4194305", "true").stderr
    assert "--ns 'all'" in boxes("enter", "--ns", "all", pid, "true").stderr


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_enter_leaves_the_processes_of_others_alone(boxes: Boxes) -> None:
    ended = boxes("enter", str(os.getpid()), "true")
    assert ended.status == 125
    assert "belongs to somebody else" in ended.stderr


def _pid(boxes: Boxes, box: str) -> int:
    import json

    run = json.loads((boxes.store / "containers" / box / "run.json").read_text())
    return int(run["pid"])
