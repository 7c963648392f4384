"""Class A: descriptors and sockets of the host (CVE-2024-21626, CVE-2020-15257).

`pyrun IMAGE` has its tests of this in tests/runtime/test_container.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.security.support import Oci, configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root
NUMBERS = [
    pytest.param(range(3, 14), id="3-13"),
    pytest.param(range(3, 65), id="3-64", marks=pytest.mark.slow),
]


@pytest.fixture
def leaked() -> Iterator[list[int]]:
    """Descriptors of the host's root, which the caller of the runtime forgot to close."""
    fds = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(8)]
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("below", ["", "/usr", "/../.."])
def test_cve_2024_21626_a_working_directory_by_a_descriptor_is_refused_by_run(
    below: str, numbers: range, leaked: list[int], oci: Oci
) -> None:
    bundle = oci.bundle(configuration("true"))
    for number in {*numbers, *leaked}:
        place = f"/proc/self/fd/{number}{below}"
        oci.configure(bundle, configuration("ls", "-a", ".", cwd=place))
        result = oci.run(bundle, pass_fds=leaked)
        assert (result.status, result.stdout) == (125, ""), place
        assert place in result.stderr


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("below", ["", "/usr", "/../.."])
def test_cve_2024_21626_a_working_directory_by_a_descriptor_is_refused_by_exec(
    below: str, numbers: range, leaked: list[int], oci: Oci
) -> None:
    # What our own descriptors show, of the container alone, may be shown.
    inside = set(os.listdir(oci.bundle(configuration("true")) / "rootfs")) | {".", ".."}
    with oci.running(oci.bundle(configuration("sleep", "100"))) as identity:
        for number in {*numbers, *leaked}:
            place = f"/proc/self/fd/{number}{below}"
            result = oci("exec", "--cwd", place, identity, "ls", "-a", pass_fds=leaked)
            assert set(result.stdout.split()) <= inside
            if number in leaked:
                assert (result.status, result.stdout) in ((125, ""), (126, "")), place
                assert place in result.stderr


def test_cve_2024_21626_a_directory_that_cannot_be_named_inside_is_outside(
    leaked: list[int], oci: Oci
) -> None:
    # getcwd(2) says "(unreachable)" of it.
    with oci.running(oci.bundle(configuration("sleep", "100"))) as identity:
        place = f"/proc/self/fd/{leaked[0]}"
        result = oci("exec", "--cwd", place, identity, "pwd", pass_fds=leaked)
    assert result.status == 125
    assert f"{place}: is outside of the container" in result.stderr


@pytest.mark.parametrize("numbers", NUMBERS)
def test_cve_2024_21626_a_program_by_a_descriptor_is_not_executed(
    numbers: range, leaked: list[int], oci: Oci
) -> None:
    bundle = oci.bundle(configuration("sleep", "100"))
    with oci.running(bundle) as identity:
        for number in {*numbers, *leaked}:
            for program in ("/bin/busybox", "/usr/bin/env"):
                argv = [f"/proc/self/fd/{number}{program}", "echo", "reached"]
                oci.configure(bundle, configuration(*argv))
                first = oci.run(bundle, pass_fds=leaked)
                second = oci("exec", identity, *argv, pass_fds=leaked)
                for result in (first, second):
                    assert result.status in (126, 127), argv
                    assert "reached" not in result.stdout


def test_cve_2024_21626_only_the_standard_descriptors_are_open_in_run_and_exec(
    leaked: list[int], oci: Oci
) -> None:
    script = "ls /proc/$$/fd; true"
    bundle = oci.bundle(configuration("sh", "-c", script))
    assert oci.run(bundle, pass_fds=leaked).stdout.split() == ["0", "1", "2"]
    oci.configure(bundle, configuration("sleep", "100"))
    with oci.running(bundle) as identity:
        result = oci("exec", identity, "sh", "-c", script, pass_fds=leaked)
        assert result.stdout.split() == ["0", "1", "2"]
        assert os.listdir(f"/proc/{oci.pid(identity)}/fd") == ["0", "1", "2"]


@pytest.mark.parametrize("terminal", [False, True])
def test_cve_2020_15257_the_runtime_has_no_abstract_sockets(terminal: bool, oci: Oci) -> None:
    # On the caller's network, which is a fresh one: what is listed is ours.
    config = configuration("cat", "/proc/net/unix", terminal=terminal)
    config["linux"]["namespaces"] = [
        n for n in config["linux"]["namespaces"] if n["type"] != "network"
    ]
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "sysfs"]
    bundle = oci.bundle(config)
    script = 'unshare --net -- "$@"'
    argv = ["sh", "-c", script, "sh", *oci.argv("run", "--bundle", bundle, oci.name())]
    shown = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    assert shown.stdout.startswith(b"Num ")
    assert b"@" not in shown.stdout


def test_cve_2020_15257_the_state_directory_is_closed_to_others(oci: Oci) -> None:
    with oci.running(oci.bundle(configuration("sleep", "100")), started=False) as identity:
        place = oci.root / identity
        assert os.stat(place).st_mode & 0o777 == 0o700
        for name in ("start", "reply"):
            assert os.stat(place / name).st_mode & 0o777 == 0o600


def test_cve_2016_8659_nothing_that_is_installed_is_set_uid() -> None:
    import runtime

    for folder, _, files in os.walk(Path(runtime.__file__).parent):
        for name in files:
            assert not os.lstat(os.path.join(folder, name)).st_mode & 0o6000
