"""A program entered by way of the stub is as if it had been executed; nothing of ours stays."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.stub import enter
from tests.runtime.stub.support import (
    LONE_ID,
    SHELL,
    Running,
    become_nobody,
    begin,
    run_by_stub,
    shell,
)
from tests.support import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_program("busybox")
either_mode = pytest.mark.parametrize("init", [False, True], ids=["alone", "init"])
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


@either_mode
def test_the_program_gets_its_arguments_and_environment(init: bool) -> None:
    args = ["", "a b", "\n", "\udcff", "ä", *map(str, range(20_000))]
    env = {"A": "1", "EMPTY": "", "B C": "=x=\n", "LANG": "C.UTF-8", "PATH": "/nowhere"}
    python = os.path.realpath(sys.executable)
    ended = run_by_stub(python, "python", "-SIc", SHOW, *args, env=env, init=init)
    assert (ended.status, ended.report) == (0, b"")
    assert json.loads(ended.output) == [args, env]


def test_an_environment_of_nearly_all_that_fits_arrives() -> None:
    env = {f"N{number}": "x" * 120_000 for number in range(15)}
    ended = shell("set | wc -c", env=env)
    assert int(ended.output) > 1_800_000


@pytest.mark.parametrize("count", [1, 30])
def test_more_arguments_than_fit_are_an_error_of_the_caller(count: int) -> None:
    # One string longer than a sixteenth of what a stack may hold, or too many of them.
    size = 140_000 if count == 1 else 120_000
    ended = run_by_stub(SHELL, "true", *["x" * size] * count)
    assert (ended.status, ended.output) == (99, f"raised {errno.E2BIG}")


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    (folder / "plain").write_text("no program\n")
    (folder / "text").write_text("no program\n")
    (folder / "no-interpreter").write_text("#!/no/such/interpreter\n")
    for name in ("text", "no-interpreter"):
        (folder / name).chmod(0o755)
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    return folder


@either_mode
@pytest.mark.parametrize(
    ("name", "number", "status"),
    [
        ("missing", errno.ENOENT, 127),
        ("dangling", errno.ENOENT, 127),
        ("no-interpreter", errno.ENOENT, 127),
        ("plain/x", errno.ENOTDIR, 127),
        ("plain", errno.EACCES, 126),
        (".", errno.EACCES, 126),
        ("text", errno.ENOEXEC, 126),
        ("loop", errno.ELOOP, 126),
        ("n" * 300, errno.ENAMETOOLONG, 126),
    ],
)
def test_a_program_that_cannot_be_executed_is_reported(
    name: str, number: int, status: int, init: bool, refused: Path
) -> None:
    ended = run_by_stub(refused / name, name, init=init)
    assert ended.failure == enter.Failure(phase="exec", errno=number)
    assert (ended.status, ended.output) == (status, "")


@either_mode
def test_the_program_has_the_standard_descriptors_alone(init: bool) -> None:
    ended = shell("for fd in /proc/self/fd/*; do echo ${fd##*/}; done", init=init)
    opened_by_the_shell_to_list_them = {"3"}
    assert set(ended.output.split()) - opened_by_the_shell_to_list_them == {"0", "1", "2"}


@either_mode
def test_signals_are_blocked_and_ignored_as_before(init: bool) -> None:
    script = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
    argv = (SHELL, "sh", "-c", script)
    ended = run_by_stub(*argv, init=init, by_stub=True)
    assert ended.output == run_by_stub(*argv, by_stub=False).output
    assert "SigBlk" in ended.output


def test_nobody_can_change_what_is_executed() -> None:
    memfd = enter.prepare(report=1)
    all_seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert fcntl.fcntl(memfd, fcntl.F_GET_SEALS) == all_seals
    for change in (lambda: os.pwrite(memfd, b"x", 0), lambda: os.ftruncate(memfd, 0)):
        with pytest.raises(PermissionError):
            change()
    assert not os.get_inheritable(memfd)
    os.close(memfd)


def test_a_limit_on_the_size_of_files_is_an_error_and_no_half_a_stub() -> None:
    def before() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        os.close(enter.prepare(report=9))

    ended = shell("echo entered", before=before)
    assert "does not fit into a memfd" in ended.output
    assert ended.status == 99


@pytest.mark.needs_program("readelf")
def test_the_stub_has_one_segment_that_is_not_writable_and_no_loader(tmp_path: Path) -> None:
    (tmp_path / "stub").write_bytes(enter.program("x86_64", report=3, seccomp=bytes(80)))
    argv = ["readelf", "-hlW", str(tmp_path / "stub")]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True)
    segments = [line.split() for line in shown.stdout.splitlines() if " 0x000000 " in line]
    assert [(words[0], words[6:-1]) for words in segments] == [
        ("LOAD", ["R", "E"]),
        ("GNU_STACK", ["RW"]),
    ]
    assert shown.stderr == ""


@either_mode
def test_a_script_that_executes_the_runtime_again_ends_with_127(
    init: bool, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    ended = run_by_stub(script, "script", init=init)
    assert ended == type(ended)(127, "", b"")


def test_a_machine_without_a_stub_is_told_which_ones_have_one() -> None:
    with pytest.raises(ContainerError, match=r"riscv64 machines: .* x86_64 and aarch64"):
        enter.program("riscv64", report=3)


@pytest.mark.parametrize("data", [b"", b"125 x", b"\1\0\0\0", b"\4\1\0\0\0", b"\3\1\0\0\0\0"])
def test_what_the_stub_did_not_write_is_no_report_of_it(data: bytes) -> None:
    assert enter.decode_report(data) is None


@pytest.mark.needs_root
@pytest.mark.parametrize("setting", [0, 1, 2])
def test_a_machine_without_executable_memfds_is_named_as_the_reason(setting: int) -> None:
    path = Path("/proc/sys/vm/memfd_noexec")
    if not path.exists():
        pytest.skip("vm.memfd_noexec came with Linux 6.3")

    def before() -> None:  # in the PID namespace that the sysctl is set for
        path.write_text(str(setting))
        os.close(enter.prepare(report=9))

    ended = shell("echo entered", alone=True, before=before)
    if setting == 2:
        assert "which this machine refuses" in ended.output
        assert "vm.memfd_noexec" in ended.output
    else:
        assert ended.output == "entered\n"


@dataclass(frozen=True)
class Stalled:
    """A program whose execution waits until it is released: a lease makes opening it wait."""

    path: Path
    held: int

    def release(self) -> None:
        fcntl.fcntl(self.held, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def shown_as(self, running: Running, name: str) -> bool:
        return name in os.readlink(f"/proc/{running.pid}/exe")


@pytest.fixture
def stalled(public: Path) -> Iterator[Stalled]:
    path = public / "program"
    path.write_bytes(Path(SHELL).read_bytes())
    path.chmod(0o755)
    before = signal.signal(signal.SIGIO, lambda *_: None)  # tells that somebody waits
    held = os.open(path, os.O_RDONLY)
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    yield Stalled(path, held)
    os.close(held)
    signal.signal(signal.SIGIO, before)


@pytest.mark.needs_root
def test_the_stub_belongs_to_root_and_the_program_to_its_user(stalled: Stalled) -> None:
    running = begin(stalled.path, "sleep", "60", before=become_nobody)
    wait_for(lambda: stalled.shown_as(running, "memfd"))
    assert os.stat(f"/proc/{running.pid}/fd").st_uid == 0  # not dumpable
    wait_for(lambda: sorted(_descriptors(running.pid).values()) == [False, False, False, True])
    stalled.release()
    wait_for(lambda: stalled.shown_as(running, "program"))
    assert os.stat(f"/proc/{running.pid}/fd").st_uid == LONE_ID
    os.kill(running.pid, 9)
    assert running.wait().status == 137


@pytest.mark.needs_root
@pytest.mark.needs_program("setpriv")
def test_who_may_trace_the_program_may_not_trace_the_stub(stalled: Stalled) -> None:
    def look() -> int:
        """Root with all capabilities but the one to trace whatever it likes."""
        link = f"/proc/{running.pid}/exe"
        argv = ["setpriv", "--bounding-set=-sys_ptrace", "readlink", link]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode

    # The program may not hold more than who looks.
    running = begin(stalled.path, "sleep", "60", before=_drop_sys_ptrace)
    wait_for(lambda: stalled.shown_as(running, "memfd"))
    assert look() != 0
    stalled.release()
    wait_for(lambda: stalled.shown_as(running, "program"))
    assert look() == 0
    os.kill(running.pid, 9)
    running.wait()


@either_mode
@pytest.mark.needs_root
def test_the_program_has_the_capabilities_that_it_would_have_without(init: bool) -> None:
    argv = (SHELL, "grep", "^Cap", "/proc/self/status")
    plain = run_by_stub(*argv, by_stub=False)
    assert run_by_stub(*argv, init=init).output == plain.output
    assert run_by_stub(*argv, init=init, before=_drop_sys_ptrace).output != plain.output


@either_mode
@pytest.mark.needs_userns
def test_it_works_in_a_user_namespace_without_the_id_that_made_the_stub(init: bool) -> None:
    def before() -> None:
        syscalls.unshare(syscalls.CLONE_NEWUSER)

    assert shell("id -u", init=init, before=before).output == "65534\n"


@either_mode
def test_the_program_is_dumpable(init: bool) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).prctl(3))"  # PR_GET_DUMPABLE
    assert run_by_stub(sys.executable, "python", "-c", code, init=init).output == "1\n"


def _drop_sys_ptrace() -> None:
    from runtime.sandbox.capabilities import held_capabilities, limit_bounding, set_capabilities

    held = held_capabilities()
    left = held.effective & ~(1 << 19)
    limit_bounding(left, held)
    set_capabilities(effective=left, permitted=left, inheritable=0)


def _descriptors(pid: int) -> dict[str, bool]:
    """The descriptors of a process, and whether they end with the next exec."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        info = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split()
        found[fd] = bool(int(info[info.index("flags:") + 1], 8) & os.O_CLOEXEC)
    return found
