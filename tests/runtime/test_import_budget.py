"""What a start of `pyrun` loads, by name: milliseconds would flicker, modules do not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runtime.erofs.inplace import refusal
from tests.support import CHECKOUT, Caller, environment, run

# Told by the process that clones the container, about everything that was imported since it began.
SPY = """
import os, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv.pop(1))
from runtime.sandbox import syscalls
clone = syscalls.clone
def spy(*arguments):
    os.write(9, (" ".join(sorted(set(sys.modules) - before)) + "\\n").encode())
    return clone(*arguments)
syscalls.clone = spy
from runtime.cli import main
raise SystemExit(main())
"""

FORBIDDEN = set(
    "json re enum argparse dataclasses typing subprocess logging pathlib tempfile inspect lark "
    "yaml requests hashlib zlib zstandard shutil socket threading collections functools "
    "importlib.metadata difflib tarfile traceback contextlib".split()
)
# Built into the interpreter or tiny; _ctypes makes the system calls.
STANDARD = set("__future__ _ctypes encodings.ascii errno fcntl gc marshal pwd select time".split())
RUNTIME = set(
    "runtime runtime.bundle runtime.cli runtime.command_line runtime.errors runtime.options "
    "runtime.record runtime.oci runtime.oci.spec runtime.sandbox runtime.sandbox.capabilities "
    "runtime.sandbox.container runtime.sandbox.defaults runtime.sandbox.descriptors "
    "runtime.sandbox.devices runtime.sandbox.entry runtime.sandbox.foreground "
    "runtime.sandbox.init runtime.sandbox.masks runtime.sandbox.mount_options "
    "runtime.sandbox.mounts runtime.sandbox.namespaces runtime.sandbox.privileges "
    "runtime.sandbox.reports runtime.sandbox.running "
    "runtime.sandbox.rootfs runtime.sandbox.rootpath runtime.sandbox.signals "
    "runtime.sandbox.syscalls runtime.sandbox.userns runtime.sandbox.users runtime.seccomp "
    "runtime.seccomp.load runtime.store runtime.store.identity runtime.store.known "
    "runtime.store.store runtime.stub runtime.stub.enter".split()
)
# What root mounts in place.
IN_PLACE = set(
    "runtime.erofs runtime.erofs.header runtime.erofs.lower runtime.erofs.mount".split()
)
# What root's unasked limit of processes takes.
CGROUP = set(
    "runtime.cgroup runtime.cgroup.files runtime.cgroup.layout runtime.cgroup.unasked".split()
)


def _loaded(tmp: Path, caller: Caller, store: Path, *arguments: str | Path) -> set[str]:
    """The modules that a run has loaded when it forks the container."""
    read, write = os.pipe()
    script = f'exec 9>&{write}; exec "$@"'
    argv = ["bash", "-c", script, "bash", sys.executable, "-I", "-c", SPY, CHECKOUT, *arguments]
    env = environment(caller, PYBUILD_ROOT=str(store))
    result = run(argv, caller=caller, env=env, pass_fds=[write])
    os.close(write)
    with open(read, encoding="utf-8") as spied:
        forks = spied.read().splitlines()
    assert result.status == 0, result.stderr
    return set(forks[-1].split())


def test_a_warm_start_loads_these_modules_and_no_others(
    public: Path, busybox: Path, store: Path, caller: Caller
) -> None:
    for _ in range(2):  # an archive that was made just now is not remembered
        _loaded(public, caller, store, busybox, "true")
    loaded = _loaded(public, caller, store, busybox, "true")
    assert "runtime.sandbox.init" in loaded
    needed = RUNTIME | (IN_PLACE if caller.is_root and not refusal() else set())
    allowed = STANDARD | needed | (CGROUP if caller.is_root else set())
    assert loaded - allowed == set()
    assert needed - loaded == set()
    assert loaded & FORBIDDEN == set()


def test_a_first_start_loads_hashlib_only_for_the_layers(
    public: Path, busybox: Path, store: Path, caller: Caller
) -> None:
    loaded = _loaded(public, caller, store, busybox, "true")
    # Where nothing is unpacked, another process looks at the digests.
    assert ("hashlib" in loaded) is not (caller.is_root and not refusal())
    assert loaded & {"json", "re", "enum", "argparse", "dataclasses", "typing"} == set()


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys; b = set(sys.modules); import runtime; print(*set(sys.modules) - b)"
    result = run([sys.executable, "-c", code], cwd=CHECKOUT, env=environment())
    assert result.stdout == "runtime\n"
