"""How many system calls a start makes: milliseconds would flicker, calls do not.

The interpreter's own start is measured beside it and taken off: it is another Python's elsewhere.
The modules come from one file by then (`runtime.startup`): one by one, they would be twelve calls
each. A change that needs more says so here; the bounds are a few in a hundred above what was
counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.observing import GROUPS, make_root
from tests.support import command, environment, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("strace")]

# By the process on the host, and by the container's until it is its own program. Counted with
# Python 3.11, where v1 has ten controllers.
PYRUN = (316, 360)  # a few of which ask for memory, now one more and now one less
OCI_RUN = (680, 490)
OCI_EXEC = (340, 130)


def _counted(argv: list[str], trace: Path, env: Mapping[str, str]) -> tuple[int, int]:
    """System calls of a command's first process, and of all its others before they exec."""
    result = run(["strace", "-f", "-qq", "-o", trace, *argv], env=env)
    if "ptrace" in result.stderr or "PTRACE" in result.stderr:
        pytest.skip(f"nothing can be traced here: {result.stderr.strip()}")
    assert result.status == 0, result.stderr
    lines = [line.split(None, 1) for line in trace.read_text(errors="replace").splitlines()]
    first, left = lines[0][0], set[str]()
    host = inside = 0
    for pid, text in lines:
        if "resumed>" in text or text.startswith(("---", "+++")):
            continue
        if pid == first:
            host += 1
        elif pid not in left:
            inside += 1
            # The stub comes before the program: strace shows its memfd without a name.
            if text.startswith("execve(") and not text.startswith('execve(""'):
                left.add(pid)
    return host, inside


@pytest.fixture(scope="module")
def interpreter(public_root: Path) -> int:
    """System calls of an interpreter that does nothing."""
    argv = [sys.executable, "-c", "pass"]
    return _counted(argv, public_root / "trace", environment())[0]


def _check(counted: tuple[int, int], bounds: tuple[int, int], interpreter: int) -> None:
    ours = (counted[0] - interpreter, counted[1])
    assert ours[0] <= bounds[0], f"{ours[0]} on the host (the interpreter: {interpreter})"
    assert ours[1] <= bounds[1], f"{ours[1]} in the container"
    # A bound that is far off would let anything pass.
    assert ours[0] > bounds[0] * 0.5
    assert ours[1] > bounds[1] * 0.5


def test_a_warm_start_makes_no_more_system_calls(
    public: Path, busybox: Path, store: Path, interpreter: int
) -> None:
    env = environment(PYBUILD_ROOT=str(store))
    argv = [*command("pyrun"), str(busybox), "true"]
    for _ in range(3):  # an archive that was made just now is not remembered
        assert run(argv, env=env).status == 0
    _check(_counted(argv, public / "trace", env), PYRUN, interpreter)


@pytest.fixture
def oci(public: Path) -> Iterator[list[str]]:
    """`pyrun-oci` with a container `running` and a bundle in the directory `bundle`."""
    make_root(public / "bundle/rootfs")
    argv = [*command("pyrun-oci"), "--root", str(public / "state")]
    assert run([*argv, "spec", "--bundle", str(public / "bundle")]).status == 0
    file = public / "bundle/config.json"
    config = json.loads(file.read_text())
    config["process"] |= {"terminal": False, "args": ["true"]}
    config["linux"]["cgroupsPath"] = f"{GROUPS}/once"
    file.write_text(json.dumps(config))
    config["process"]["args"] = ["sleep", "1000"]
    config["linux"]["cgroupsPath"] = f"{GROUPS}/running"
    other = public / "running.json"
    other.write_text(json.dumps(config))
    bundle = ("--bundle", str(public / "bundle"))
    detached = [*argv, "run", "--detach", *bundle, "--config", str(other), "running"]
    # Not `run`: the container would keep its pipes.
    subprocess.run(detached, check=True, stdout=subprocess.DEVNULL, env=environment())
    yield argv
    assert run([*argv, "delete", "--force", "running"]).status == 0
    for folder in Path("/sys/fs/cgroup").glob(f"*{GROUPS}"):
        subprocess.run(["rmdir", folder], check=False)


def test_running_a_bundle_makes_no_more_system_calls(
    oci: list[str], public: Path, interpreter: int
) -> None:
    argv = [*oci, "run", "--bundle", str(public / "bundle"), "syscall-budget"]
    assert run(argv).status == 0
    _check(_counted(argv, public / "trace", environment()), OCI_RUN, interpreter)


def test_exec_makes_no_more_system_calls(oci: list[str], public: Path, interpreter: int) -> None:
    argv = [*oci, "exec", "running", "true"]
    assert run(argv).status == 0
    _check(_counted(argv, public / "trace", environment()), OCI_EXEC, interpreter)
