"""Class A: the container reaches the runtime's processes (CVE-2016-9962).

A process of ours that is in a container's PID namespace, on its way to becoming the command, is in
sight of what runs there. The `watcher` tries, without a pause, to open what /proc shows of it and
to trace it. It has every capability, in a user namespace: only that our process is not dumpable
stands between.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runtime.security.support import Oci, configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.runtime.security.conftest import Build
    from tests.runtime.security.support import Config

pytestmark = pytest.mark.needs_root
TIMES = [pytest.param(30, id="30"), pytest.param(1000, id="1000", marks=pytest.mark.slow)]


def _wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} does not appear")


def _watched(oci: Oci, build: Build, *, user_namespace: bool) -> Path:
    program = build("watcher").read_bytes()
    config = configuration("/watcher", user_namespace=user_namespace)
    return oci.bundle(config, {"watcher": (program, 0o755)})


def _found(bundle: Path) -> str:
    path = bundle / "rootfs/found"
    return path.read_text() if path.exists() else ""


def test_the_watcher_finds_a_dumpable_process_that_joins(oci: Oci, build: Build) -> None:
    bundle = _watched(oci, build, user_namespace=True)
    with oci.running(bundle) as identity:
        _wait_for(bundle / "rootfs/watching")
        code = (
            "import os, sys; sys.path.insert(0, sys.argv[2])\n"
            "from runtime.sandbox.syscalls import prctl, setns; import time\n"
            "fd = os.pidfd_open(int(sys.argv[1])); host = os.open('/usr', os.O_RDONLY)\n"
            "setns(fd, 0x10000000 | 0x20000 | 0x20000000)\n"
            "if os.fork() == 0:\n"
            "    os.setresgid(0, 0, 0); os.setresuid(0, 0, 0); prctl(4, 1)\n"
            "    time.sleep(0.5); os._exit(0)\n"
            "os.wait()\n"
        )
        import runtime

        where = str(Path(runtime.__file__).parent.parent)
        argv = [sys.executable, "-c", code, str(oci.pid(identity)), where]
        subprocess.run(argv, check=True)
    kinds = {line.split()[0] for line in _found(bundle).splitlines()}
    assert {"exe", "descriptor", "traced"} <= kinds


@pytest.mark.parametrize("user_namespace", [True, False])
@pytest.mark.parametrize("times", TIMES)
def test_cve_2016_9962_a_container_reaches_nothing_of_the_execs_that_join_it(
    times: int, user_namespace: bool, oci: Oci, build: Build
) -> None:
    bundle = _watched(oci, build, user_namespace=user_namespace)
    leaked = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    with oci.running(bundle) as identity:
        _wait_for(bundle / "rootfs/watching")
        for _ in range(times):
            result = oci("exec", identity, "true", pass_fds=[leaked])
            # The watcher may trace the command, once that is the command.
            assert result.status == 0, result.stderr
    os.close(leaked)
    assert _found(bundle) == ""


def _joining(config: Config, pid: int) -> Config:
    """A second container of a pod, with the users and processes of the first."""
    for namespace in config["linux"]["namespaces"]:
        kind = namespace["type"]
        if kind in ("user", "pid"):
            namespace["path"] = f"/proc/{pid}/ns/{kind}"
    for mappings in ("uidMappings", "gidMappings"):
        config["linux"].pop(mappings, None)
    return config


@pytest.mark.parametrize("user_namespace", [True, False])
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("clocks", [False, True], ids=["", "time namespace"])
def test_cve_2016_9962_a_container_reaches_nothing_of_one_that_is_made_beside_it(
    times: int, clocks: bool, user_namespace: bool, oci: Oci, build: Build
) -> None:
    # By its root, too: before the root changes, that of the one that is made is the host's.
    bundle = _watched(oci, build, user_namespace=user_namespace)
    leaked = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    with oci.running(bundle) as identity:
        _wait_for(bundle / "rootfs/watching")
        config = configuration("true", user_namespace=user_namespace)
        config = _joining(config, oci.pid(identity))
        if clocks:
            config["linux"]["namespaces"].append({"type": "time"})
            config["linux"]["timeOffsets"] = {"boottime": {"secs": 100}}
        second = oci.bundle(config)
        for number in range(times // 3):
            if number % 2:
                result = oci.run(second, pass_fds=[leaked])
                assert result.status == 0, result.stderr
                continue
            with oci.running(second, started=False) as created:
                time.sleep(0.05)
                assert oci("start", created).status == 0
    os.close(leaked)
    # The payload of the second has another root than the first: that much is meant.
    lines = [line for line in _found(bundle).splitlines() if not line.endswith("is another")]
    assert lines == []


@pytest.mark.parametrize("user", [0, 1000])
def test_a_created_container_is_closed_to_its_pid_namespace_until_it_starts(
    user: int, oci: Oci
) -> None:
    first = oci.bundle(configuration("sleep", "60", user_namespace=True))
    with oci.running(first) as identity:
        config = configuration("sleep", "60", user_namespace=True, user={"uid": user, "gid": 0})
        second = oci.bundle(_joining(config, oci.pid(identity)))
        with oci.running(second, started=False) as created:
            script = "cd /proc; for p in [0-9]*; do for f in exe cwd root; do"
            script += " t=$(readlink $p/$f 2>/dev/null) && echo $f $t; done; done; true"
            outside = oci.pid(created)
            before = oci("exec", identity, "sh", "-c", script).stdout.split("\n")
            assert oci("start", created).status == 0
            after = oci("exec", identity, "sh", "-c", script).stdout.split("\n")
            assert os.path.realpath(f"/proc/{outside}/exe").endswith("busybox")
        assert len(after) == len(before) + 3
        assert not [line for line in before if "python" in line or "memfd" in line]
