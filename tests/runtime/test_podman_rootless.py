"""podman without root, which calls the runtime as root of its user namespace."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engines import IMAGE, Engine, our_runtime
from tests.support import Caller, which

pytestmark = [
    pytest.mark.needs_userns,
    pytest.mark.needs_program("podman", "conmon", "runc", "newuidmap"),
]


@pytest.fixture(scope="module")
def podman(public_root: Path, busybox: Path, user: Caller) -> Iterator[Engine]:
    """podman as a user with subordinate ids, where it works at all."""
    runtime = our_runtime()
    if not runtime:
        pytest.skip("pyrun-oci is not installed as a script, which an engine needs")
    directory = public_root / "rootless"
    for path in (directory, directory / "xdg"):
        path.mkdir(mode=0o700)
        os.chown(path, user.uid, user.gid)
    engine = Engine(directory, runtime, caller=user)
    reference = Engine(directory, which("runc"), caller=user)
    try:
        loaded = engine("load", "--input", busybox)
        if loaded.status:
            pytest.skip(f"podman does not work without root here: {loaded.stderr.strip()[-300:]}")
        engine.import_image(busybox)
        tried = reference.once("true")
        if tried.status:
            pytest.skip(f"podman without root fails with runc: {tried.stderr.strip()[-300:]}")
        yield engine
    finally:
        engine.clean()
        # What keeps the user namespace between two commands.
        for file in directory.rglob("pause.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_a_user_without_rights_runs_a_container(podman: Engine) -> None:
    assert podman.once("sh", "-c", "id -u; exit 7").status == 7
    assert podman.seen("id -u") == "0"
    assert os.listdir(podman.state) == []


def test_the_users_own_id_can_be_kept(podman: Engine, user: Caller) -> None:
    script = "id -u; touch /tmp/x && stat -c %u /tmp/x"
    assert podman.seen(script, "--userns", "keep-id").split() == [str(user.uid)] * 2


@pytest.mark.slow
def test_exec_and_stop_work_without_root(podman: Engine) -> None:
    name = podman.said("run", "--detach", "--network", "none", IMAGE, "sleep", "1000")
    try:
        assert podman.said("exec", "--user", "alice", name, "id", "-un") == "alice"
        podman.said("stop", "--time", "0", name)
        assert podman.said("inspect", "--format", "{{.State.ExitCode}}", name) == "137"
    finally:
        podman("rm", "--force", "--time", "0", name)
    assert not (podman.state / name).exists()
