"""Options of `pyrun IMAGE` for limits, init and filters: as root they hold, else they say why."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from runtime.cgroup.group import Group
from runtime.cgroup.layout import find_layout
from runtime.cgroup.places import Place
from runtime.cgroup.unasked import sweep_beside
from tests.support import Result, command, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shell = Callable[..., Result]

as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)
as_user = pytest.mark.parametrize("caller", ["user", "lone_user"], indirect=True)
LIMITS = ("-m", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "20",
          "--cpuset-cpus", "0")  # fmt: skip
# By controller: its file in v1 and in v2.
FILES = {
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "pids": ("pids.max", "pids.max"),
    "cpuset": ("cpuset.cpus", "cpuset.cpus"),
    "cpu": ("cpu.cfs_quota_us", "cpu.max"),
}


@pytest.fixture
def limits_of(warm_store: Path, busybox: Path) -> Callable[..., dict[str, str]]:
    """The limits, as the kernel has them, of a container that is started with some options."""

    def look(*options: str) -> dict[str, str]:
        argv = [*command("pyrun"), "-i", *options, str(busybox), "sh", "-c", "echo ready; read x"]
        env = environment(PYBUILD_ROOT=str(warm_store))
        with subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
        ) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
            found = {name: _limit(int(children), name) for name in FILES}
            found["groups"] = " ".join(h.own or "" for h in find_layout(int(children)).hierarchies)
            running.communicate(b"\n")
        return found

    return look


def _limit(pid: int, controller: str) -> str:
    hierarchy = find_layout(pid).hierarchy_of(controller)
    if hierarchy is None or hierarchy.own is None:
        pytest.skip(f"no {controller} controller here")
    path = Path(hierarchy.own, FILES[controller][hierarchy.version - 1])
    return path.read_text().strip() if path.exists() else ""


@as_root
def test_limits_are_those_of_the_containers_group(
    limits_of: Callable[..., dict[str, str]],
) -> None:
    found = limits_of(*LIMITS)
    assert found["memory"] == str(64 << 20)
    assert found["pids"] == "20"
    assert found["cpuset"] == "0"
    assert found["cpu"] in ("50000", "50000 100000")
    assert not any(os.path.exists(g) for g in found["groups"].split() if "pyrun/" in g)
    assert "pyrun/" in found["groups"]


def test_a_parent_that_another_containers_end_takes_away_is_swept_without_an_error(
    tmp_path: Path,
) -> None:
    place = Place(version=1, controllers=("pids",), directory=str(tmp_path / "parent/1-ab"))
    sweep_beside(Group(places=(place,)))


@as_root
def test_a_container_gets_a_limit_of_processes_unasked(
    limits_of: Callable[..., dict[str, str]],
) -> None:
    assert limits_of()["pids"] == "2048"


@as_root
def test_the_memory_limit_ends_who_takes_more(shell: Shell) -> None:
    result = shell("tail -c 500m /dev/zero; echo $?", *LIMITS)
    assert result.stdout.splitlines()[-1] == "137"


@as_root
def test_the_limit_of_processes_holds(shell: Shell) -> None:
    script = "for i in 1 2 3 4 5 6; do sleep 1 & done; wait"
    assert shell(script, "--pids-limit", "20").stderr == ""
    assert "fork" in shell(script, "--pids-limit", "4").stderr


@as_user
@pytest.mark.parametrize(
    "options",
    [("--memory", "64m"), ("--cpus", "1"), ("--pids-limit", "5"), ("--cpuset-cpus", "0")],
)
def test_a_limit_that_a_user_cannot_have_is_one_clear_line(
    options: tuple[str, ...], shell: Shell
) -> None:
    result = shell("true", *options)
    if result.status == 0:
        pytest.skip("this user has a delegated control group")
    assert result.status == 125
    lines = result.stderr.splitlines()
    assert lines[0].startswith("pyrun: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert "group" in result.stderr
    assert "internal error" not in result.stderr


def test_ulimits_are_set(shell: Shell) -> None:
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -s"
    options = ("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "stack=1048576")
    assert shell(script, *options).stdout.split() == ["100", "200", "0", "1024"]


def test_init_is_pid_1_and_collects_orphans(shell: Shell) -> None:
    script = "echo $$; (sleep 0.05 &); sleep 0.3; ps -o stat,comm | grep -c Z; exit 5"
    result = shell(script, "--init")
    assert (result.status, result.stdout) == (5, "2\n0\n")


def test_landlock_forbids_what_no_rule_allows(shell: Shell) -> None:
    script = "cat /etc/passwd >/dev/null; echo x > /tmp/x && echo wrote"
    result = shell(script, "--landlock", "rx:/bin,rw:/tmp,rw:/dev")
    assert result.stdout == "wrote\n"
    assert result.stderr == "cat: can't open '/etc/passwd': Permission denied\n"


def test_the_filter_of_system_calls_can_be_another_or_none(shell: Shell, public: Path) -> None:
    profile = public / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 29}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    script = "grep Seccomp: /proc/self/status; mkdir /tmp/x"
    ours = shell(script)
    assert (ours.stdout.split(), ours.stderr) == (["Seccomp:", "2"], "")
    none = shell(script, "--security-opt", "seccomp=unconfined")
    assert (none.stdout.split(), none.stderr) == (["Seccomp:", "0"], "")
    other = shell(script, "--security-opt", f"seccomp={profile}")
    assert other.stdout.split() == ["Seccomp:", "2"]
    assert "Illegal seek" in other.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-m", "much"), "--memory 'much': bytes expected, such as 512m"),
        (("--cpus", "0"), "--cpus '0': a number of processors expected"),
        (("--cpus", "nan"), "--cpus 'nan'"),
        (("--cpu-shares", "x"), "--cpu-shares 'x': a number expected"),
        (("--pids-limit", "1.5"), "--pids-limit '1.5': a number expected"),
        (("--memory-swap", "1g"), "--memory-swap: counts memory too"),
        (("--ulimit", "nofile"), "--ulimit 'nofile': NAME=SOFT[:HARD] expected"),
        (("--ulimit", "moon=1"), "--ulimit 'moon=1'"),
        (("--ulimit", "nofile=x"), "--ulimit 'x': a number expected"),
        (("--cpuset-cpus", "900"), "cpu.cpus"),
        (("--security-opt", "seccomp=/nothing"), "/nothing: No such file"),
        (("--landlock", "fly:/"), "fly"),
        (("--landlock", "ro:/nothing"), "/nothing"),
    ],
)
@as_root
def test_a_value_that_is_none_is_named(options: tuple[str, ...], words: str, shell: Shell) -> None:
    result = shell("true", *options)
    assert result.status == 125
    assert result.stderr.startswith("pyrun: ")
    assert words in result.stderr
    assert "internal error" not in result.stderr
