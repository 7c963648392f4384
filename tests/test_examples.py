"""Every example is read, planned, built and run: one that no test runs is a lie in waiting."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildkit.plan import Planner
from grammar import parse
from tests.buildkit.conftest import (
    made_debian_mirror,
    made_repository,
    new_room,
    pybuild_of,
)
from tests.buildkit.debian_mirror import add_mirror
from tests.buildkit.support import Pybuild, make_pybuild
from tests.conftest import root_is_missing, userns_is_missing
from tests.support import CHECKOUT, Caller, Result, command, environment, run, run_pyrun

EXAMPLES = sorted((CHECKOUT / "examples").glob("*/Containerfile"))


def test_there_are_examples() -> None:
    assert {"bake", "hello", "development", "debian"} <= {path.parent.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_parses_and_plans(path: Path) -> None:
    containerfile = parse(path.read_bytes(), name=str(path))
    planner = Planner(containerfile, build_args={}, here="linux/amd64")
    assert planner.base_images() == ()
    assert planner.plan({}).stages[-1].steps


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_says_first_what_it_shows_and_how_to_run_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# Shows ")
    comment = "\n".join(lines[: next(n for n, line in enumerate(lines) if line[:1] != "#")])
    assert f"pybuild -f examples/{path.parent.name}/Containerfile" in comment
    assert "pyrun " in comment


@pytest.mark.needs_program("apt-get", "mmdebstrap", "gpg")
def test_debian_is_built_and_runs(public: Path, user: Caller) -> None:
    # From a small mirror of the tests' own: real packages, without a network.
    pybuild = pybuild_of(public, "root" if os.geteuid() == 0 else "user", user)
    add_mirror(pybuild, made_debian_mirror())
    arguments = [f"--build-arg={a}" for a in ("MIRROR=debian", "KEY=archive.gpg")]
    containerfile = CHECKOUT / "examples/debian/Containerfile"
    ended = pybuild.run("-f", containerfile, *arguments, pybuild.context, timeout_s=180)
    assert ended.status == 0, ended.stderr
    ran = run_pyrun(pybuild.output, store=pybuild.store, caller=pybuild.caller)
    assert (ran.status, ran.stdout) == (0, "Hello, world!\n")


@pytest.mark.needs_program("dnf", "rpmbuild", "createrepo_c", "gpg")
def test_quickstart_goes_from_nothing_to_a_running_container(tmp_path: Path) -> None:
    variables = {"WORK": str(tmp_path / "work"), "OUT": str(tmp_path / "out.tar")}
    root = {"PYBUILD_ROOT": str(tmp_path / "store")}
    env = environment(None, **variables, **root, **_network(), HOME=os.path.expanduser("~"))
    env.pop("PYTHONPATH", None)
    ended = run([CHECKOUT / "examples/quickstart"], env=env, cwd=tmp_path, timeout_s=240)
    if ended.status and re.search("Could not find a version|No matching dist", ended.stderr):
        pytest.skip("no package index for the virtual environment")
    assert ended.status == 0, ended.stderr
    assert "Hello, container!" in ended.stdout
    assert (tmp_path / "out.tar").exists()


@pytest.mark.parametrize("tag", ["latest", "2"])
def test_bake_makes_all_images_and_does_once_what_they_share(
    public: Path, user: Caller, tag: str
) -> None:
    pybuild = pybuild_of(public, "root" if os.geteuid() == 0 else "user", user)
    shutil.copy("/bin/busybox", pybuild.context)
    ended = pybuild.run(
        *("bake", "-f", "examples/bake/docker-bake.json"),
        cwd=CHECKOUT,
        env={"CONTEXT": str(pybuild.context), "TAG": tag},
    )
    assert ended.status == 0, ended.stderr
    said = [line for line in ended.stderr.splitlines() if line.endswith(" this is said once")]
    assert len(said) == 1
    for name, expected in (("de", "Guten Tag\n"), ("all", "Hello\nGuten Tag\n")):
        ran = run_pyrun(f"hello-{name}:{tag}", store=pybuild.store, caller=pybuild.caller)
        assert (ran.status, ran.stdout) == (0, expected), ran.stderr


@pytest.mark.needs_root
@pytest.mark.needs_program("unshare", "nsenter", "chroot", "pgrep", "busybox")
def test_tutorial_does_by_hand_and_by_pyrun_the_same(tmp_path: Path) -> None:
    here = f"{Path(command('pyrun')[0]).parent}:{os.environ['PATH']}"
    env = environment(None, WORK=str(tmp_path), PATH=here)
    ended = run([CHECKOUT / "examples/tutorial/tutorial"], env=env, timeout_s=120)
    assert ended.status == 0, ended.stderr
    steps = re.findall(r"^== (\d)", ended.stdout, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 8)]
    assert "/mnt/data/file says 'from the host'" in ended.stdout
    assert "Read-only file system" in ended.stdout
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert list((tmp_path / "store/containers/names").iterdir()) == []


def test_a_volume_is_added_to_a_running_container(
    store: Path, caller: Caller, busybox: Path
) -> None:
    here = f"{Path(command('pyrun')[0]).parent}:{os.environ['PATH']}"
    env = environment(caller, PYBUILD_ROOT=str(store), PATH=here)
    argv = [CHECKOUT / "examples/volume/volume", busybox]
    ended = run(argv, env=env, caller=caller)
    assert ended.status == 0, ended.stderr
    assert ended.stdout == (
        "hello from a volume\n"
        "sh: can't create /srv/pages/index: Read-only file system\n"
        "hello from a volume\nand more\n"
    )
    assert list((store / "volumes").iterdir()) == [store / "volumes/lock"]


def _network() -> dict[str, str]:
    """How this machine reaches a package index."""
    names = re.compile("pip_|.*_proxy$|ssl_cert|requests_ca|uv_", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if names.match(name)}


# --- The development system


@pytest.fixture(scope="module", params=["root", "user"])
def development(
    public_root: Path, user: Caller, request: pytest.FixtureRequest
) -> Iterator[Pybuild]:
    """The example `development`, built from the extra repository by root and by a user."""
    if reason := root_is_missing() if request.param == "root" else userns_is_missing():
        pytest.skip(reason)
    repository = made_repository("devel")  # the first making takes minutes, and the network
    with new_room(public_root) as room:
        who = Caller("root", 0, 0, "/root") if request.param == "root" else user
        pybuild = make_pybuild(room, who)
        for name in ("test.repo", "RPM-GPG-KEY-test"):
            shutil.copy2(repository / name, pybuild.context)
        path = CHECKOUT / "examples/development/Containerfile"
        ended = pybuild.run("-f", path, "-t", "development", pybuild.context, timeout_s=300)
        assert ended.status == 0, ended.stderr
        yield pybuild


def _inside(development: Pybuild, script: str, *options: str) -> Result:
    return run_pyrun(
        *options,
        "development",
        *("/bin/bash", "-c", script),
        store=development.store,
        caller=development.caller,
    )


def test_a_c_program_is_compiled_and_run(development: Pybuild) -> None:
    script = """
        cd /tmp && cat > hello.c <<'C'
#include <stdio.h>
int main(void) { puts("hello from C"); return 7; }
C
        gcc -Wall -o hello hello.c && ./hello
    """
    ended = _inside(development, script)
    assert (ended.status, ended.stdout) == (7, "hello from C\n"), ended.stderr


def test_python_and_which_work(development: Pybuild) -> None:
    script = "which gcc python3 && python3 -c 'import ssl, sqlite3, ctypes; print(6 * 7)'"
    ended = _inside(development, script)
    assert ended.status == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "42"
    assert "/usr/bin/gcc" in ended.stdout


def test_ps_sees_the_containers_own_processes_only(development: Pybuild) -> None:
    until = "until [ $(cat /proc/$!/comm) = sleep ]; do :; done"
    ended = _inside(development, f"sleep 100 & {until}; ps -e -o pid=,comm=; kill $!")
    assert ended.status == 0, ended.stderr
    commands = sorted(line.split()[1] for line in ended.stdout.splitlines())
    assert commands == ["bash", "ps", "sleep"]
    assert "1 bash" in ended.stdout


def test_ps_aux_has_its_columns(development: Pybuild) -> None:
    head, first, *_ = _inside(development, "ps aux; true").stdout.splitlines()
    assert head.split()[:3] == ["USER", "PID", "%CPU"]
    assert first.split()[:2] == ["root", "1"]


def test_ip_sees_the_loopback_only(development: Pybuild) -> None:
    ended = _inside(development, "ip -o link; ifconfig -a -s")
    assert ended.status == 0, ended.stderr
    assert re.findall(r"^\d+: (\w+)", ended.stdout, re.MULTILINE) == ["lo"]


@pytest.mark.parametrize("kind", ["pid", "mnt", "uts", "ipc", "net", "cgroup"])
def test_the_container_has_namespaces_of_its_own(development: Pybuild, kind: str) -> None:
    ended = _inside(development, f"readlink /proc/self/ns/{kind}")
    assert ended.stdout.startswith(f"{kind}:[")
    assert ended.stdout.strip() != os.readlink(f"/proc/self/ns/{kind}")


def test_the_second_build_of_it_does_nothing(development: Pybuild) -> None:
    path = CHECKOUT / "examples/development/Containerfile"
    ended = development.run("-f", path, "-t", "development", development.context)
    assert ended.status == 0
    assert "#1 CACHED" in ended.stderr


@pytest.mark.slow
@pytest.mark.needs_program("dnf")
def test_the_whole_system_is_the_same_from_an_empty_store(
    development: Pybuild, public_root: Path
) -> None:
    path = CHECKOUT / "examples/development/Containerfile"
    first = development.run("-f", path, "-t", "development", development.context)
    other = ("--root", development.work / "another")
    again = development.run("-f", path, "-t", "x", *other, development.context, timeout_s=300)
    assert again.stdout == first.stdout
