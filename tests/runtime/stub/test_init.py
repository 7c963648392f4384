"""The stub as a container's first process: it sends signals on, collects, and hands on an end.

The expectations are tini's, which is what docker and podman run for `--init`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import sys
import termios
from pathlib import Path

import pytest

from runtime.sandbox import syscalls
from runtime.sandbox.running import Container
from runtime.stub import enter
from tests.runtime.stub.support import (
    LONE_ID,
    SHELL,
    Running,
    become_nobody,
    begin,
    in_child,
    run_by_stub,
    shell,
)
from tests.support import wait_for

pytestmark = [pytest.mark.needs_program("busybox"), pytest.mark.needs_root]

# The first process's own use of the terminal, its children, and what no process can have.
NOT_SENT_ON = {signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP}
SENT_ON = sorted(signal.valid_signals() - NOT_SENT_ON - {32, 33})  # those two are libc's own
PRINT_SIGNALS = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
while True:
    print("got", int(signal.sigwait(signal.valid_signals())), flush=True)
"""
LEAVE_AN_ORPHAN = """
import glob, os, time
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(0)
    os._exit(0)
os.wait()
deadline = time.monotonic() + 0.5
while time.monotonic() < deadline:
    time.sleep(0.01)
    stats = [open(path).read() for path in glob.glob("/proc/[0-9]*/stat")]
print(sum(stat.rpartition(")")[2].split()[0] == "Z" for stat in stats))
"""


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _status(running: Running) -> dict[str, str]:
    lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    return dict(line.split(":\t") for line in lines)


def _program_runs(running: Running) -> int:
    """The pid of the program, once it is no longer the stub."""
    pid = running.child()
    wait_for(lambda: "memfd" not in os.readlink(f"/proc/{pid}/exe"))
    return pid


@pytest.mark.parametrize("status", [0, 1, 42, 127, 255])
def test_it_ends_with_the_status_of_the_program(status: int) -> None:
    assert shell(f"exit {status}", init=True, alone=True).status == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, 64])
def test_a_program_killed_by_a_signal_is_128_more(number: int) -> None:
    assert shell(f"kill -{int(number)} $$", init=True, alone=True).status == 128 + number


def test_a_program_that_cannot_be_executed_is_reported_and_nothing_stays() -> None:
    ended = run_by_stub("/no/such", "such", init=True, alone=True)
    assert ended.failure == enter.Failure(phase="exec", errno=2)
    assert ended.status == 127


def test_a_process_that_cannot_be_forked_is_reported() -> None:
    def before() -> None:
        become_nobody()
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))

    ended = shell("true", init=True, before=before)
    assert ended.failure == enter.Failure(phase="fork", errno=errno.EAGAIN)
    assert ended.status == 125


def test_the_report_ends_while_the_program_runs() -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True)
    assert running.reported() == b""
    assert os.waitpid(running.pid, os.WNOHANG) == (0, 0)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().status == 137


def test_the_program_is_the_second_process_and_its_own_process_group() -> None:
    # "$5" is the process group (proc(5), /proc/PID/stat).
    script = "set -- $(cat /proc/$$/stat); echo $PPID $$ $5; readlink /proc/$PPID/exe"
    lines = shell(script, init=True, alone=True).output.splitlines()
    assert lines == ["1 2 2", "/memfd:pyrun-stub (deleted)"]


@pytest.mark.parametrize(("init", "zombies"), [(False, 1), (True, 0)])
def test_orphans_are_collected(init: bool, zombies: int) -> None:
    argv = (sys.executable, "python", "-c", LEAVE_AN_ORPHAN)
    ended = run_by_stub(*argv, init=init, alone=True)
    assert ended.output == f"{zombies}\n"


def test_orphans_are_collected_in_a_shared_pid_namespace_too() -> None:
    running = begin(SHELL, "sh", "-c", "(sleep 60 & echo $!); exec sleep 61", init=True)
    orphan = int(running.read_until("\n"))
    wait_for(lambda: Path(f"/proc/{orphan}/stat").read_text().split()[3] == str(running.pid))
    os.kill(orphan, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{orphan}").exists())
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait().status == 143


def test_the_last_orphans_end_with_the_program() -> None:
    running = begin(SHELL, "sh", "-c", "(sleep 61 &); sleep 0.1; exit 3", init=True, alone=True)
    assert running.wait().status == 3  # reads all output: whoever holds it has ended


def test_every_signal_that_can_be_caught_is_sent_on_and_only_those() -> None:
    running = begin(sys.executable, "python", "-c", PRINT_SIGNALS, init=True, alone=True)
    running.read_until("ready\n")
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD):
        os.kill(running.pid, number)
        wait_for(lambda: int(_status(running)["ShdPnd"], 16) == 0)
    for number in SENT_ON:
        os.kill(running.pid, number)
        assert running.read_until("\n") == f"got {int(number)}\n"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, 40])
def test_a_signal_without_a_handler_ends_the_program_and_with_it_the_container(
    number: int,
) -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True)
    _program_runs(running)
    # The first process's signals look caught, so `Container.send` does not kill instead.
    assert not Container(pid=running.pid).send(number)
    assert running.wait().status == 128 + number


def test_a_program_can_be_stopped_and_continued() -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True)
    program = _program_runs(running)
    os.kill(running.pid, signal.SIGTSTP)
    wait_for(lambda: _state(program) == "T")
    wait_for(lambda: _state(running.pid) == "S")  # it has done its part, and is not stopped
    os.kill(running.pid, signal.SIGCONT)
    wait_for(lambda: _state(program) == "S")
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait().status == 143


def test_the_program_has_the_terminal() -> None:
    master, slave = os.openpty()

    def before() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    script = "read line; echo got $line; exec sleep 60"
    running = begin(SHELL, "sh", "-c", script, init=True, terminal=slave, before=before)
    os.write(master, b"words\n")  # from a background process group, reading would be SIGTTIN
    assert running.read_until("\n") == "got words\n"
    program = _program_runs(running)
    assert os.tcgetpgrp(master) == program != running.pid
    os.write(master, b"\x03")
    assert running.wait().status == 128 + signal.SIGINT
    os.close(master)
    os.close(slave)


def test_the_end_of_a_terminal_hangs_the_program_up() -> None:
    master, slave = os.openpty()

    def before() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    script = "trap 'exit 9' HUP; echo ready; while :; do sleep 0.02; done"
    running = begin(
        SHELL, "sh", "-c", script, init=True, alone=True, terminal=slave, before=before
    )
    running.read_until("ready\n")
    os.close(slave)
    os.close(master)
    assert running.wait().status == 9


def test_it_works_where_sigchld_is_ignored() -> None:
    def before() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    assert shell("exit 5", init=True, before=before).status == 5


def test_it_takes_a_few_pages_and_keeps_no_directory_busy(tmp_path: Path) -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True, before=lambda: os.chdir(tmp_path))
    program = _program_runs(running)
    wait_for(lambda: _status(running)["Seccomp"] == "2")  # the last thing it does
    status = _status(running)
    assert status["Name"] == "pyrun-init"
    assert int(status["VmRSS"].split()[0]) <= 5 * 4
    assert set(os.listdir(f"/proc/{running.pid}/fd")) == {"0", "1", "2"}
    assert os.readlink(f"/proc/{running.pid}/cwd") == "/"
    assert os.readlink(f"/proc/{program}/cwd") == str(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()


def test_nobody_can_write_to_its_executable() -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True)
    _program_runs(running)
    path = f"/proc/{running.pid}/exe"
    with pytest.raises(OSError, match=r"Text file busy|not permitted"):
        os.open(path, os.O_WRONLY)
    held = os.open(path, os.O_RDONLY)  # root may, with CAP_SYS_PTRACE
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    with pytest.raises(PermissionError):  # nothing executes it now, but it is sealed
        os.write(os.open(f"/proc/self/fd/{held}", os.O_WRONLY), b"x")
    os.close(held)


def test_the_program_cannot_reach_into_the_first_process_as_the_same_user() -> None:
    script = "for what in exe fd/0 cwd root ns/mnt; do readlink /proc/1/$what; done; id -u"
    ended = shell(script, init=True, alone=True, before=become_nobody)
    assert ended.output == f"{LONE_ID}\n"


def test_the_owner_of_its_user_namespace_can_join_it() -> None:
    def before() -> None:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # the change of ids cleared it: no maps then
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/self/{name}").write_text(f"0 {LONE_ID} 1")

    def join() -> int:
        become_nobody()
        pidfd = os.pidfd_open(running.pid)
        syscalls.setns(pidfd, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        return os.geteuid()  # 0

    running = begin(SHELL, "sleep", "60", init=True, first=become_nobody, before=before)
    _program_runs(running)
    assert in_child(join) == 0
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait().status == 143
