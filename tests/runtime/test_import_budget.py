"""What a start of `pyrun` loads, by name: milliseconds would flicker, modules do not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support import CHECKOUT, Caller, environment, run

# Told by the process that forks the container, about everything that was imported since it began.
SPY = """
import os, sys
before, fork = set(sys.modules), os.fork
def spy():
    os.write(9, (" ".join(sorted(set(sys.modules) - before)) + "\\n").encode())
    return fork()
os.fork = spy
sys.path.insert(0, sys.argv.pop(1))
from runtime.cli import main
raise SystemExit(main())
"""

FORBIDDEN = set(
    "json re enum argparse dataclasses typing subprocess logging pathlib tempfile inspect lark "
    "yaml requests hashlib zlib zstandard shutil socket threading collections functools "
    "importlib.metadata difflib tarfile traceback contextlib".split()
)
# Built into the interpreter or tiny; ctypes makes the system calls.
STANDARD = set(
    "__future__ _ctypes _json _sha2 _sha256 _socket _struct ctypes ctypes._endian "
    "encodings.ascii errno fcntl pwd select struct types".split()
)
RUNTIME = set(
    "runtime runtime.bundle runtime.cli runtime.command_line runtime.errors runtime.options "
    "runtime.record runtime.image runtime.image.archive runtime.image.blob runtime.image.source "
    "runtime.image.tar runtime.oci runtime.oci.digest runtime.oci.image runtime.oci.reader "
    "runtime.oci.spec runtime.sandbox runtime.sandbox.capabilities runtime.sandbox.container "
    "runtime.sandbox.defaults runtime.sandbox.init runtime.sandbox.mounts runtime.sandbox.rootfs "
    "runtime.sandbox.rootpath runtime.sandbox.syscalls runtime.sandbox.userns "
    "runtime.sandbox.users runtime.store runtime.store.store".split()
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
    _loaded(public, caller, store, busybox, "true")
    loaded = _loaded(public, caller, store, busybox, "true")
    assert "runtime.sandbox.init" in loaded
    assert loaded - STANDARD - RUNTIME == set()
    assert loaded & FORBIDDEN == set()


def test_a_first_start_loads_hashlib_only_for_the_layers(
    public: Path, busybox: Path, store: Path, caller: Caller
) -> None:
    loaded = _loaded(public, caller, store, busybox, "true")
    assert "hashlib" in loaded
    assert loaded & {"json", "re", "enum", "argparse", "dataclasses", "typing", "zlib"} == set()


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys; b = set(sys.modules); import runtime; print(*set(sys.modules) - b)"
    result = run([sys.executable, "-c", code], cwd=CHECKOUT, env=environment())
    assert result.stdout == "runtime\n"
