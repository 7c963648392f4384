"""CVE-2019-5736: who makes the runtime execute itself in a container gets the stub, not Python."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from runtime.sandbox import syscalls
from tests.runtime.stub.support import compile_static, run_by_stub

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("gcc", "readelf")]
either_mode = pytest.mark.parametrize("init", [False, True], ids=["alone", "init"])

# A loader that leaves word of whom it was loaded for, and of what it gets when it opens, for
# writing, the executable of the container's first process. It needs the machine's numbers alone.
LOADER = """
#ifdef __x86_64__
enum { OPENAT = 257, READLINKAT = 267, WRITE = 1, EXIT = 231 };
static long call(long n, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return r;
}
#else
enum { OPENAT = 56, READLINKAT = 78, WRITE = 64, EXIT = 94 };
static long call(long n, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#endif
void _start(void) {
    char name[256];
    long seen = call(OPENAT, -100, (long)"/seen", 0101, 0644);
    long length = call(READLINKAT, -100, (long)"/proc/self/exe", (long)name, 256);
    call(WRITE, seen, (long)name, length, 0);
    long first = call(OPENAT, -100, (long)"/proc/1/exe", 1, 0);
    call(WRITE, seen, (long)(first < 0 ? " refused" : " OPENED"), 8, 0);
    call(EXIT, 42, 0, 0, 0);
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose ELF loader, of the same name as Python's, is hostile."""
    import subprocess

    argv = ["readelf", "-lW", os.path.realpath(sys.executable)]
    headers = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "interpreter: " not in headers:
        pytest.skip(f"{sys.executable} is linked statically: it has no loader")
    loader = headers.partition("interpreter: ")[2].partition("]")[0]
    root = tmp_path / "root"
    target = root / loader.lstrip("/")
    target.parent.mkdir(parents=True)
    compile_static(target, LOADER, "-no-pie", "-Wl,-Ttext-segment=0x10000000")
    (root / "proc").mkdir()
    (root / "script").write_text("#!/proc/self/exe\n")
    (root / "script").chmod(0o755)
    return root


def _change_root(root: Path) -> None:
    syscalls.mount("proc", str(root / "proc"), "proc")
    os.chroot(root)
    os.chdir("/")


def _seen(root: Path) -> str:
    path = root / "seen"
    return path.read_text() if path.exists() else ""


def test_without_the_stub_the_hostile_loader_gets_our_interpreter(root: Path) -> None:
    ended = run_by_stub(
        "/script", "script", alone=True, by_stub=False, before=lambda: _change_root(root)
    )
    assert ended.status == 42
    assert os.path.realpath(sys.executable) in _seen(root)


@either_mode
def test_with_the_stub_the_hostile_loader_never_runs(root: Path, init: bool) -> None:
    ended = run_by_stub(
        "/script", "script", alone=True, init=init, before=lambda: _change_root(root)
    )
    assert ended.status == 127
    assert _seen(root) == ""


@either_mode
def test_a_hostile_loader_of_a_program_finds_that_program_alone(root: Path, init: bool) -> None:
    shutil.copy(os.path.realpath(sys.executable), root / "program")
    ended = run_by_stub(
        "/program", "program", alone=True, init=init, before=lambda: _change_root(root)
    )
    assert ended.status == 42
    assert _seen(root) == "/program refused"
