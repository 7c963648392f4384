"""Class D: the terminal, control groups, sysctls, hooks, devices, and calls with a bad record."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from runtime.oci.config_writer import to_json
from runtime.oci.spec import Process, Spec
from runtime.sandbox.capabilities import RUN_DEFAULT
from runtime.seccomp.profile import default_profile
from tests.buildkit.support import SHELL, make_pybuild
from tests.runtime.security.support import Oci, configuration
from tests.runtime.test_terminal import Terminal
from tests.support import (
    Caller,
    busybox_layer,
    environment,
    file,
    header,
    make_image,
    run_pyrun,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.security.conftest import Build
    from tests.runtime.security.support import Config
    from tests.support import Result

    Shell = Callable[..., Result]

REFUSED = {"EPERM", "ENOSYS"}
x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="its numbers are of x86_64")


def _ends(text: str) -> dict[str, str]:
    return dict(line.split() for line in text.splitlines() if len(line.split()) == 2)


def _filtered(config: Config) -> Config:
    """The configuration with our default filter, as an engine would write its own."""
    spec = Spec(process=Process(args=("x",)), seccomp=default_profile(RUN_DEFAULT))
    linux = to_json(spec)["linux"]
    assert isinstance(linux, dict)
    config["linux"]["seccomp"] = linux["seccomp"]
    return config


def _assert_refused(text: str) -> None:
    ends = _ends(text)
    assert len(ends) > 20
    assert ends.pop("getpid") == "works"
    families = {name: ends.pop(name) for name in [*ends] if name.startswith("AF_")}
    assert set(families.values()) == {"EAFNOSUPPORT"}
    assert {name: how for name, how in ends.items() if how not in REFUSED} == {}


@x86_64
def test_the_calls_that_are_refused_are_there_without_a_filter(
    public: Path, store: Path, build: Build
) -> None:
    image = make_image(public / "i.tar", [[file("surface", _surface(build), mode=0o755)]])
    options = ("--security-opt", "seccomp=unconfined")
    ends = _ends(run_pyrun(*options, image, "/surface", store=store).stdout)
    there = {name for name, how in ends.items() if how not in REFUSED}
    assert {"TIOCSTI", "TIOCLINUX+garbage", "fsconfig", "keyctl", "getpid"} <= there


def _surface(build: Build) -> bytes:
    return build("surface").read_bytes()


@x86_64
def test_cve_2026_31431_and_others_calls_with_a_bad_record_are_refused_in_run(
    public: Path, store: Path, caller: Caller, build: Build
) -> None:
    image = make_image(public / "i.tar", [[file("surface", _surface(build), mode=0o755)]])
    _assert_refused(run_pyrun(image, "/surface", store=store, caller=caller).stdout)


@x86_64
@pytest.mark.needs_root
@pytest.mark.parametrize("privileges", [True, False])
def test_cve_2026_31431_and_others_calls_with_a_bad_record_are_refused_in_exec(
    privileges: bool, oci: Oci, build: Build
) -> None:
    config = configuration("/surface", noNewPrivileges=not privileges)
    bundle = oci.bundle(_filtered(config), {"surface": (_surface(build), 0o755)})
    _assert_refused(oci.run(bundle).stdout)
    config["process"]["args"] = ["sleep", "100"]
    oci.configure(bundle, config)
    with oci.running(bundle) as identity:
        _assert_refused(oci("exec", identity, "/surface").stdout)
        _assert_refused(oci("exec", "-u", "1000:1000", identity, "/surface").stdout)


@x86_64
@pytest.mark.needs_root
def test_cve_2026_31431_and_others_calls_with_a_bad_record_are_refused_in_run_of_a_build(
    public: Path, build: Build
) -> None:
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    pybuild.add({"surface": (_surface(build), 0o755)})
    image = pybuild.build(f"{SHELL}COPY surface /\nRUN /surface > /said\n")
    _assert_refused(image.read("said").decode())


# --- the terminal --------------------------------------------------------------------------


@pytest.mark.needs_root
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_cve_2017_5226_the_callers_terminal_is_not_the_containers(verb: str, oci: Oci) -> None:
    # Its output goes there, and yet nothing can be typed into it.
    script = "(echo x > /dev/tty) 2>/dev/null; echo opened $? end"
    bundle = oci.bundle(configuration("sh", "-c", script))
    root = Caller("root", 0, 0, "/root")
    if verb == "run":
        argv = [str(word) for word in oci.argv("run", "-b", bundle, oci.name())]
        terminal = Terminal(argv, root, environment())
    else:
        oci.configure(bundle, configuration("sleep", "100"))
        identity = oci.name()
        output = subprocess.DEVNULL
        oci.popen("run", "-d", "-b", bundle, identity, stdout=output, stderr=output).wait(30)
        argv = [str(word) for word in oci.argv("exec", identity, "sh", "-c", script)]
        terminal = Terminal(argv, root, environment())
    try:
        assert "opened 1 end" in terminal.wait_for("end")
        assert terminal.end() == 0
    finally:
        terminal.close()


# --- control groups ------------------------------------------------------------------------


def test_cve_2022_0492_a_container_sees_no_control_group_and_mounts_none(shell: Shell) -> None:
    script = "find / -name release_agent 2>/dev/null; mkdir /tmp/c;"
    script += " mount -t cgroup -o memory c /tmp/c; mount -t cgroup2 c /tmp/c; ls /tmp/c"
    result = shell(script)
    assert result.stdout == ""
    assert result.stderr.count("mount:") == 2


@pytest.mark.needs_root
@pytest.mark.parametrize("namespace", [True, False])
def test_cve_2023_25809_the_control_groups_of_a_container_cannot_be_written(
    namespace: bool, oci: Oci
) -> None:
    script = (
        "cd /sys/fs/cgroup; mkdir new 2>/dev/null && echo made; for d in . *; do"
        " mkdir $d/x 2>/dev/null && echo made $d;"
        " for f in release_agent notify_on_release cgroup.procs tasks; do"
        " [ ! -e $d/$f ] || (echo 1 > $d/$f) 2>/dev/null && [ -e $d/$f ] && echo wrote $d/$f;"
        " done; done; ls | wc -l"
    )
    bundle = oci.bundle(configuration("sh", "-c", script.replace("| wc -l", "")))
    if not namespace:
        config = configuration("sh", "-c", script.replace("| wc -l", ""))
        kinds = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [n for n in kinds if n["type"] != "cgroup"]
        oci.configure(bundle, config)
    result = oci.run(bundle)
    assert result.status == 0
    assert result.stdout.split(), "no hierarchy is there"
    assert "made" not in result.stdout
    assert "wrote" not in result.stdout


# --- sysctls, hooks ------------------------------------------------------------------------


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "values",
    [
        {"net.ipv4.ip_forward": "1+kernel.core_pattern=|/evil"},
        {"net.ipv4.ip_forward": "1\nkernel.core_pattern=|/evil"},
        {"net.ipv4.ip_forward+kernel.core_pattern": "|/evil"},
        {"net.ipv4.ip_forward\n": "1"},
        {"net/../kernel/core_pattern": "|/evil"},
        {"net.ipv4/../../kernel/core_pattern": "|/evil"},
        {"kernel.core_pattern": "|/evil"},
        {"kernel.shm/../core_pattern": "|/evil"},
        {"vm.overcommit_memory": "1"},
    ],
)
def test_cve_2022_0811_no_sysctl_reaches_another_one(values: dict[str, str], oci: Oci) -> None:
    watched = [Path("/proc/sys/kernel/core_pattern"), Path("/proc/sys/vm/overcommit_memory")]
    before = [path.read_text() for path in watched]
    config = configuration("true")
    config["linux"]["sysctl"] = values
    result = oci.run(oci.bundle(config))
    assert result.status == 125
    assert "sysctl" in result.stderr
    assert [path.read_text() for path in watched] == before


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "point", ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
)
def test_cve_2025_23266_a_hook_has_nothing_of_the_images_environment(
    point: str, public: Path, oci: Oci
) -> None:
    said = public / "said"
    script = f"tr '\\0' '\\n' < /proc/self/environ > {said}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["MINE=1"]}
    config = configuration("true")
    config["process"]["env"] += ["LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil"]
    config["hooks"] = {point: [hook]}
    result = oci.run(oci.bundle(config))
    assert (result.status, result.stderr) == (0, "")
    assert said.read_text() == "MINE=1\n"


# --- devices -------------------------------------------------------------------------------


def _open_to_root() -> tuple[str, int, int]:
    """A device that is not a default one and that root can open here: fuse, loop0 or the disk."""
    for name in ("/dev/vda", "/dev/sda", "/dev/loop0", "/dev/fuse", "/dev/net/tun"):
        try:
            os.close(os.open(name, os.O_RDONLY))
        except OSError:
            continue
        status = os.stat(name)
        kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
        return kind, os.major(status.st_rdev), os.minor(status.st_rdev)
    pytest.skip("no device but the default ones can be opened here")


@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_a_device_of_the_host_in_a_layer_cannot_be_opened(
    public: Path, store: Path, caller: Caller
) -> None:
    kind, *number = _open_to_root()
    entry = header("disk", {"b": "4", "c": "3"}[kind], device=(number[0], number[1]), mode=0o666)
    image = make_image(public / "i.tar", [[*busybox_layer(), entry]], {"Env": ["PATH=/bin"]})
    script = "stat -c %F /disk; (: < /disk) && echo opened"
    for options in ([], ["--cap-add", "ALL"]):
        result = run_pyrun(*options, image, "sh", "-c", script, store=store, caller=caller)
        assert result.stdout.endswith(" special file\n")


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize("granted", [(), ("MKNOD",), ("MKNOD", "SYS_ADMIN"), ("ALL",)])
def test_a_device_of_the_host_that_the_container_makes_cannot_be_opened(
    granted: tuple[str, ...], shell: Shell
) -> None:
    kind, major, minor = _open_to_root()
    options = [word for name in granted for word in ("--cap-add", name)]
    script = "for d in / /dev /dev/shm /tmp; do mknod $d/disk %s %d %d && (: < $d/disk) &&"
    script += " echo opened; done; (: < /dev/null) && echo null"
    result = shell(script % (kind, major, minor), *options)
    assert result.stdout == "null\n"
    assert result.stderr.count("ot permitted") + result.stderr.count("denied") == 4


@pytest.mark.needs_root
def test_a_device_of_the_host_that_run_makes_cannot_be_opened(public: Path) -> None:
    kind, major, minor = _open_to_root()
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    script = f"for d in / /dev; do mknod $d/disk {kind} {major} {minor};"
    script += " (: < $d/disk) && echo opened >> /said; rm -f $d/disk; done; echo end >> /said"
    assert pybuild.build(f"{SHELL}RUN {script}\n").read("said") == b"end\n"


@pytest.mark.needs_root
def test_neither_the_first_process_nor_an_exec_sees_mounts_of_the_host(oci: Oci) -> None:
    script = "while read a b c root point rest; do echo $point; done < /proc/self/mountinfo"
    bundle = oci.bundle(configuration("sh", "-c", script))
    first = oci.run(bundle).stdout.split()
    oci.configure(bundle, configuration("sleep", "100"))
    with oci.running(bundle) as identity:
        second = oci("exec", identity, "sh", "-c", script).stdout.split()
    assert first == second
    assert "/" in first
    for point in first:
        assert point == "/" or point.startswith(("/proc", "/dev", "/sys"))
