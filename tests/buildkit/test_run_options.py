"""Options of RUN, and of a command line for all RUN steps."""

from __future__ import annotations

import glob
import time
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Pybuild, text_files

MEBIBYTE = 1 << 20


# --- network


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
@pytest.mark.parametrize(
    ("flag", "option", "alone"),
    [
        ("", "", False),
        ("--network=none ", "", True),
        ("--network=host ", "--network=none", False),
        ("--network=default ", "--network=none", True),
        ("", "--network=none", True),
        ("--network=default ", "--network=host", False),
    ],
)
def test_a_step_has_the_network_that_it_names_or_else_the_builds(
    anybody: Pybuild, flag: str, option: str, alone: bool
) -> None:
    run = f"RUN {flag}readlink /proc/self/ns/net > /n; ls /sys/class/net >> /n\n"
    image = anybody.build(SHELL + run, *([option] if option else []))
    namespace, *interfaces = image.read("n").decode().split()
    assert (namespace != str(Path("/proc/self/ns/net").readlink())) == alone
    assert ("lo" in interfaces) if not alone else (set(interfaces) <= {"lo"})


def test_a_network_that_there_is_not_is_an_error(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}ARG n=bridge\nRUN --network=$n true\n")
    assert ended.status == 2
    assert "Containerfile:5:" in ended.stderr
    assert "--network=bridge: default, none or host" in ended.stderr
    ended = pybuild.try_build(SHELL, "--network=bridge")
    assert ended.status == 2
    assert "--network 'bridge': default, none or host" in ended.stderr


# --- Files, limits


@pytest.mark.parametrize("text", ["db:10.0.0.5", "db=10.0.0.5", "db:::1", "db:[::1]"])
def test_a_name_is_added_to_hosts_and_not_to_the_layer(anybody: Pybuild, text: str) -> None:
    image = anybody.build(f"{SHELL}RUN cat /etc/hosts > /n\n", f"--add-host={text}")
    address = "::1" if "1]" in text or ":::" in text else "10.0.0.5"
    lines = [line.split() for line in image.read("n").decode().splitlines()]
    assert [address, "db"] in lines
    assert sorted(image.layer()) == ["n"]


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_the_size_of_dev_shm_is_given(anybody: Pybuild) -> None:
    run = "RUN df -k /dev/shm | awk 'END { print $2 }' > /n\n"
    assert anybody.build(SHELL + run).read("n") == b"65536\n"
    assert anybody.build(SHELL + run, "--shm-size=2m").read("n") == b"2048\n"


def test_a_ulimit_holds_in_every_step(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN ulimit -Sn > /1; ulimit -Hn >> /1\nRUN ulimit -n > /2\n"
    image = anybody.build(text, "--ulimit=nofile=100:200")
    assert (image.read("1"), image.read("2")) == (b"100\n200\n", b"100\n")


@pytest.mark.needs_root
def test_a_step_that_uses_more_than_its_memory_is_killed(pybuild: Pybuild) -> None:
    run = "RUN dd if=/dev/zero of=/dev/null bs=64M count=1\n"
    pybuild.build(SHELL + run, "--memory=128m")
    ended = pybuild.try_build(SHELL + run, "--memory=16m", "--no-cache")
    assert ended.status == 1
    assert "exited with status 137" in ended.stderr
    assert "memory" in ended.stderr


@pytest.mark.needs_root
def test_cpus_is_a_quota_of_the_steps_control_group(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN until test -e /tmp/go; do sleep 0.1; done\n"
    go = pybuild.directory / "tmp"
    go.mkdir()
    process = pybuild.start(text, "--cpus=1.5", f"--volume={go}:/tmp")
    try:
        quotas: set[str] = set()
        for _ in range(300):
            quotas = {
                Path(path).read_text().split()[0]
                for name in ("cpu.cfs_quota_us", "cpu.max")
                for path in glob.glob(f"/sys/fs/cgroup/**/pybuild/*/{name}", recursive=True)
            }
            if "150000" in quotas:
                break
            time.sleep(0.1)
        assert "150000" in quotas
    finally:
        (go / "go").touch()
        assert process.wait(60) == 0, pybuild.log


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_volume_is_there_for_every_step_and_not_in_the_image(anybody: Pybuild) -> None:
    outside = anybody.work / "shared"
    outside.mkdir()
    outside.chmod(0o777)
    (outside / "f").write_text("outside")
    run = "RUN cat /v/deep/f > /n; echo inside > /v/deep/g\n"
    image = anybody.build(SHELL + run, f"--volume={outside}:/v/deep:z")
    assert text_files(image) == {"n": "outside"}
    assert sorted(image.layer()) == ["n"]
    assert (outside / "g").read_text() == "inside\n"
    run = "RUN ! echo 1 > /v/deep/h\n"
    anybody.build(SHELL + run, f"--volume={outside}:/v/deep:ro")


# --- Wrong


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--add-host=db", "NAME:ADDRESS expected"),
        ("--add-host=:1.2.3.4", "NAME:ADDRESS expected"),
        ("--add-host=db:host-gateway", "NAME:ADDRESS expected"),
        ("--shm-size=x", "--shm-size"),
        ("--ulimit=nofile", "nofile"),
        ("--memory=lots", "--memory"),
        ("--cpus=-1", "--cpus"),
        ("--volume=/tmp", "SOURCE:DESTINATION[:OPTIONS] expected"),
        ("--volume=/tmp:x", "SOURCE:DESTINATION[:OPTIONS] expected"),
        ("--volume=/no/such:/x", "/no/such does not exist"),
        ("--volume=/tmp:/x:exec", "'exec' is not ro, rw"),
        ("--allow=all", "security.insecure or network.host"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_built(
    pybuild: Pybuild, option: str, message: str
) -> None:
    ended = pybuild.try_build(SHELL, option)
    assert ended.status == 2
    assert message in ended.stderr
    assert "#1" not in ended.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--network=none", "--network=none needs a network namespace"),
        ("--volume=/tmp:/x", "--volume needs mounts"),
        ("--memory=1g", "limits need control groups"),
    ],
)
def test_what_chroot_cannot_give_is_refused(pybuild: Pybuild, option: str, message: str) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN true\n", option, "--isolation=chroot")
    assert ended.status == 6
    assert message in ended.stderr
    assert "Containerfile:" in ended.stderr


# --- security


@pytest.mark.needs_root
def test_an_insecure_step_has_all_rights_if_the_command_line_allows_it(pybuild: Pybuild) -> None:
    run = "RUN --security=%s grep -E '^(CapEff|Seccomp):' /proc/self/status > /n\n"
    sandboxed = pybuild.build(SHELL + run % "sandbox").read("n").split()
    insecure = SHELL + run % "insecure"
    ended = pybuild.try_build(insecure)
    assert ended.status == 2
    assert "Containerfile:4:" in ended.stderr
    assert "--allow security.insecure" in ended.stderr
    image = pybuild.build(insecure, "--allow=security.insecure")
    _, capabilities, _, seccomp = image.read("n").split()
    assert (seccomp, sandboxed[3]) == (b"0", b"2")
    assert int(capabilities, 16) & ~int(sandboxed[1], 16) & 1 << 21  # CAP_SYS_ADMIN
