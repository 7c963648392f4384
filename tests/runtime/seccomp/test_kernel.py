"""The shipped filter in the kernel: a child installs it and makes one call."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from runtime.oci.seccomp import Seccomp, SyscallRule
from runtime.sandbox.capabilities import BUILD_DEFAULT, RUN_DEFAULT
from runtime.seccomp.compile import compile_filter
from runtime.seccomp.load import filter_for, filter_installer, install_filter
from tests.runtime.seccomp.judge import (
    EAFNOSUPPORT,
    EINVAL,
    ENOSYS,
    EPERM,
    X32_BIT,
    call,
)
from tests.runtime.seccomp.tables import GARBAGE, MACHINES, NUMBERS
from tests.support import CHECKOUT

MACHINE = os.uname().machine
pytestmark = pytest.mark.skipif(MACHINE not in MACHINES, reason="no filter for this machine")
EBADF = 9
X86_64_ONLY = pytest.mark.skipif(MACHINE != "x86_64", reason="an x86-64 kernel")


def _number(name: str) -> int:
    return NUMBERS[name][list(MACHINES).index(MACHINE)]


REFUSED: list[tuple[str, tuple[int | bytes, ...], int]] = [
    ("bpf", (), EPERM),
    ("perf_event_open", (), EPERM),
    ("userfaultfd", (1,), EPERM),
    ("kexec_load", (), EPERM),
    ("add_key", (), EPERM),
    ("keyctl", (), EPERM),
    ("unshare", (0x10000000,), EPERM),
    ("unshare", (0x00020000,), EPERM),
    ("setns", (-1,), EPERM),
    ("mount", (), EPERM),
    ("fsopen", (b"tmpfs",), EPERM),
    ("open_tree", (-100, b"/"), EPERM),
    ("clone", (0x10000000 | signal.SIGCHLD,), EPERM),
    ("clone3", (), ENOSYS),
    ("io_uring_setup", (1,), ENOSYS),
    ("socket", (40, 1, 0), EAFNOSUPPORT),
    ("socket", (40 | GARBAGE, 1, 0), EAFNOSUPPORT),
    ("socket", (16, 3, 9), EINVAL),
    ("personality", (0x0400000,), EPERM),
]


@pytest.mark.parametrize(("name", "arguments", "errno"), REFUSED)
def test_a_refused_call_fails_with_its_errno(
    name: str, arguments: tuple[int | bytes, ...], errno: int, run_filter: bytes
) -> None:
    assert call(run_filter, _number(name), *arguments) == errno


def test_af_alg_is_refused_whether_or_not_the_kernel_has_it(run_filter: bytes) -> None:
    for garbage in (0, GARBAGE):
        assert call(run_filter, _number("socket"), 38 | garbage, 5, 0) == EAFNOSUPPORT


@pytest.mark.needs_root
def test_root_gets_other_answers_without_the_filter(allow_all: bytes) -> None:
    answers = [call(allow_all, _number(name), *words) for name, words, _ in REFUSED]
    differ = [answer != errno for answer, (_, _, errno) in zip(answers, REFUSED, strict=True)]
    # Some may not be built into this kernel; the point is that the filter was what was seen.
    assert sum(differ) > len(REFUSED) // 2


@pytest.mark.parametrize(
    ("name", "arguments", "errno"),
    [
        ("socket", (socket.AF_INET, 1, 0), 0),
        ("socket", (socket.AF_UNIX, 1, 0), 0),
        ("socket", (socket.AF_NETLINK, 3, 0), 0),
        ("personality", (0xFFFFFFFF,), 0),
        ("personality", (2**64 - 1,), 0),
        ("personality", (8,), 0),
        ("read", (-1, 0, 0), EBADF),
        ("openat2", (-100, b"/", 0, 0), EINVAL),
        ("close_range", (50, 40), EINVAL),
        ("memfd_secret", (0xFFFF,), EINVAL),
        ("seccomp", (0xFFFF, 0), EINVAL),
        ("ptrace", (0,), 0),
    ],
)
def test_an_allowed_call_gets_the_kernels_answer(
    name: str,
    arguments: tuple[int | bytes, ...],
    errno: int,
    run_filter: bytes,
    allow_all: bytes,
) -> None:
    answer = call(allow_all, _number(name), *arguments)
    assert answer in (errno, ENOSYS), "the kernel's own answer"
    assert call(run_filter, _number(name), *arguments) == answer


def test_audit_sockets_are_there_for_who_may_use_them() -> None:
    build = filter_for(None, BUILD_DEFAULT, cache=None)
    assert call(build, _number("socket"), 16, 3, 9) != EINVAL


@pytest.mark.parametrize("command", [0x5412, 0x541C])
@pytest.mark.parametrize("garbage", [0, GARBAGE, 1 << 32])
def test_nothing_is_typed_on_a_terminal(command: int, garbage: int, run_filter: bytes) -> None:
    master, terminal = os.openpty()
    try:
        answer = call(run_filter, _number("ioctl"), terminal, command | garbage, b"x")
        other = call(run_filter, _number("ioctl"), terminal, 0x5401 | garbage, bytes(100))
    finally:
        os.close(master)
        os.close(terminal)
    assert answer == EPERM
    assert other == 0  # TCGETS: the kernel does ignore the upper half


@pytest.mark.parametrize("number", [600, 0x3FFFFFFF, 0xFFFFFFFF])
def test_a_number_that_no_kernel_has_is_enosys(number: int) -> None:
    allowed = SyscallRule(names=("exit_group", "statx"), action="SCMP_ACT_ALLOW")
    program = compile_filter(Seccomp(default_action="SCMP_ACT_KILL_PROCESS", syscalls=(allowed,)))
    assert call(program, number) == ENOSYS
    assert call(program, _number("socket")) == -signal.SIGSYS


@X86_64_ONLY
@pytest.mark.parametrize("number", [0, 39, 520])
def test_x32_numbers_reach_nothing(number: int, run_filter: bytes, allow_all: bytes) -> None:
    assert call(run_filter, X32_BIT | number) == ENOSYS
    assert call(allow_all, X32_BIT | number) == ENOSYS


def test_actions_do_what_they_are_called() -> None:
    getppid = {"x86_64": 110, "aarch64": 173}[MACHINE]

    def outcome(action: str, errno: int | None = None) -> int:
        rule = SyscallRule(names=("getppid",), action=action, errno_ret=errno)
        profile = Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))
        return call(compile_filter(profile), getppid)

    assert outcome("SCMP_ACT_ALLOW") == outcome("SCMP_ACT_LOG") == 0
    assert outcome("SCMP_ACT_ERRNO") == EPERM
    assert outcome("SCMP_ACT_ERRNO", 97) == EAFNOSUPPORT
    assert outcome("SCMP_ACT_TRACE") == ENOSYS  # there is no tracer
    for action in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"):
        assert outcome(f"SCMP_ACT_{action}") == -signal.SIGSYS


# --- installing ---------------------------------------------------------------------------------


def _in_child(act: Callable[[], None]) -> int:
    """Errno of what an act raises in a child, 0 if nothing."""
    child = os.fork()
    if child == 0:
        status = 255
        try:
            act()
            status = 0
        except OSError as error:
            status = error.errno or 254
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forbid_new_privileges() -> None:
    ctypes.CDLL(None).prctl(38, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3)


def test_a_filter_that_is_no_program_is_refused_by_name() -> None:
    def install() -> None:
        _forbid_new_privileges()
        install_filter(bytes(8))

    assert _in_child(install) == EINVAL


def test_the_kernel_takes_the_flags(run_filter: bytes) -> None:
    def install() -> None:
        _forbid_new_privileges()
        install_filter(run_filter, 1 | 2 | 4)

    assert _in_child(install) == 0


def test_without_no_new_privs_a_user_cannot_install() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root, who becomes a user here")

    def install() -> None:
        os.setuid(54321)
        install_filter(filter_for(None, RUN_DEFAULT, cache=None))

    assert _in_child(install) == 13  # EACCES


def test_an_installer_imports_nothing_when_it_is_called(run_filter: bytes) -> None:
    script = (
        "import os, sys\n"
        "from runtime.seccomp.load import filter_installer\n"
        "import ctypes; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
        "install = filter_installer(bytes.fromhex(sys.argv[1]))\n"
        "before, events = set(sys.modules), []\n"
        "sys.addaudithook(lambda event, args: events.append(event))\n"
        "install()\n"
        "print(sorted(set(sys.modules) - before), {'open', 'import'} & set(events))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, run_filter.hex()],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[] set()\n"
    assert callable(filter_installer(run_filter))
