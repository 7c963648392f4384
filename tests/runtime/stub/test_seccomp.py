"""The stub installs the seccomp filter, so a filter need not allow what Python does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.sandbox import syscalls
from runtime.stub import enter
from tests.runtime.stub.support import (
    SHELL,
    become_nobody,
    begin,
    compile_static,
    filter_of,
    run_by_stub,
    shell,
)
from tests.support import wait_for

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # linux/seccomp.h
NUMBERS = {  # of write, execve, exit_group, uname (asm/unistd.h)
    "x86_64": (1, 59, 231, 63),
    "aarch64": (64, 221, 94, 160),
}
machine = os.uname().machine
pytestmark = [
    pytest.mark.needs_program("busybox"),
    pytest.mark.skipif(machine not in NUMBERS, reason=f"no stub for {machine}"),
]
WRITE, EXECVE, EXIT_GROUP, UNAME = NUMBERS.get(machine, (0, 0, 0, 0))
NO_UNAME = filter_of([UNAME], named=EPERM, others=ALLOW)
STRICT = filter_of([WRITE, EXECVE, EXIT_GROUP], named=ALLOW, others=KILL)
# A program that makes two of the three calls.
HELLO = """
static long call(long n, long a, long b, long c) {
#ifdef __x86_64__
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return r;
#else
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}
void _start(void) {
#ifdef __x86_64__
    call(1, 1, (long)"hello\\n", 6);
    call(231, 7, 0, 0);
#else
    call(64, 1, (long)"hello\\n", 6);
    call(94, 7, 0, 0);
#endif
}
"""
either_mode = pytest.mark.parametrize("init", [False, True], ids=["alone", "init"])


def _no_new_privs() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _unprivileged() -> None:
    become_nobody()
    _no_new_privs()


@either_mode
@pytest.mark.needs_root
def test_the_program_runs_under_the_filter(init: bool) -> None:
    script = "echo uname: $(uname); grep Seccomp: /proc/self/status"
    ended = shell(script, init=init, before=_unprivileged)
    assert ended.output == "uname: Linux\nSeccomp:\t0\n"
    ended = shell(script, init=init, seccomp=NO_UNAME, before=_unprivileged)
    assert ended.output == "uname:\nSeccomp:\t2\n"


@either_mode
@pytest.mark.needs_program("gcc")
def test_a_filter_needs_to_allow_execve_alone_of_what_is_ours(init: bool, tmp_path: Path) -> None:
    hello = compile_static(tmp_path / "hello", HELLO)
    ended = run_by_stub(hello, "hello", init=init, seccomp=STRICT, before=_no_new_privs)
    assert (ended.status, ended.output, ended.report) == (7, "hello\n", b"")


@either_mode
def test_a_failure_under_the_filter_is_reported(init: bool) -> None:
    ended = run_by_stub("/no/such", "x", init=init, seccomp=STRICT, before=_no_new_privs)
    assert ended.failure == enter.Failure(phase="exec", errno=errno.ENOENT)
    assert ended.status == 127


@either_mode
def test_a_program_that_breaks_the_rules_is_killed(init: bool) -> None:
    ended = shell("true", init=init, seccomp=STRICT, before=_no_new_privs)
    assert ended.status == 128 + 31  # SIGSYS


@either_mode
def test_a_filter_that_refuses_execve_is_reported_as_that(init: bool) -> None:
    refuse = filter_of([EXECVE], named=0x00050000 | errno.EXDEV, others=ALLOW)
    ended = shell("true", init=init, seccomp=refuse, before=_no_new_privs)
    assert ended.failure == enter.Failure(phase="exec", errno=errno.EXDEV)
    assert ended.status == 126


@either_mode
@pytest.mark.parametrize(
    ("seccomp", "number"),
    [(bytes(8), errno.EINVAL), (NO_UNAME[:-8], errno.EINVAL)],
)
def test_a_filter_that_the_kernel_refuses_is_reported(
    seccomp: bytes, number: int, init: bool
) -> None:
    ended = shell("true", init=init, seccomp=seccomp, before=_no_new_privs)
    assert ended.failure == enter.Failure(phase="seccomp", errno=number)
    assert ended.status == 125


@pytest.mark.needs_root
def test_a_filter_needs_no_new_privs_or_a_capability() -> None:
    ended = shell("true", seccomp=NO_UNAME, before=become_nobody)
    assert ended.failure == enter.Failure(phase="seccomp", errno=errno.EACCES)


def test_the_longest_filter_of_the_kernel_fits() -> None:
    padding = NO_UNAME[:8] * (4096 - len(NO_UNAME) // 8)  # loads the same again
    ended = shell("echo uname: $(uname)", seccomp=padding + NO_UNAME, before=_no_new_privs)
    assert ended.output == "uname:\n"


@pytest.mark.parametrize("seccomp", [bytes(7), bytes(8 * 4097)])
def test_what_cannot_be_a_filter_is_refused(seccomp: bytes) -> None:
    with pytest.raises(ContainerError, match="not a multiple of 8 up to 32768"):
        enter.prepare(report=3, seccomp=seccomp)


def test_a_filter_with_a_listener_is_refused() -> None:
    with pytest.raises(ContainerError, match="listener"):
        enter.prepare(report=3, seccomp=NO_UNAME, seccomp_flags=1 << 3)


@pytest.mark.parametrize(
    ("flags", "failure"),
    [
        (1 << 1, None),  # SECCOMP_FILTER_FLAG_LOG
        (1 << 30, enter.Failure(phase="seccomp", errno=errno.EINVAL)),  # there is no such flag
    ],
)
def test_the_filter_is_installed_with_its_flags(flags: int, failure: enter.Failure | None) -> None:
    ended = shell("true", seccomp=NO_UNAME, seccomp_flags=flags, before=_no_new_privs)
    assert ended.failure == failure


@pytest.mark.needs_root
def test_the_first_process_has_a_filter_of_its_own_that_leaves_it_nothing_to_gain() -> None:
    running = begin(SHELL, "sleep", "60", init=True, alone=True)
    running.child()
    path = Path(f"/proc/{running.pid}/status")
    wait_for(lambda: "Seccomp:\t2" in path.read_text())
    os.kill(running.pid, 9)
    running.wait()
