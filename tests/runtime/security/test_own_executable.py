"""Class A: the container reaches the runtime's own executable (CVE-2019-5736).

The command is a script whose interpreter is /proc/self/exe, which at that moment is the program
that executes it: ours. The kernel loads it again, by an ELF loader of the image. The loader keeps
it open, and overwrites it once nobody executes it any more. Here ours is a copy of the host's
Python; that the attack works is shown first, without a runtime.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, make_pybuild
from tests.runtime.security.support import Oci, configuration
from tests.support import (
    Caller,
    busybox_layer,
    command,
    directory,
    environment,
    file,
    make_image,
    run,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.runtime.security.conftest import Build
    from tests.support import TreeValue

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader is for x86_64"),
]
SCRIPT = b"#!/proc/self/exe\n"
LOADER = "lib64/ld-linux-x86-64.so.2"
FLAGS = ("-static-pie", "-fPIE", "-nostdlib", "-nostartfiles", "-fno-stack-protector")


@pytest.fixture
def loader(build: Build) -> bytes:
    """The hostile loader."""
    return build("loader", *FLAGS).read_bytes()


@pytest.fixture
def evil(loader: bytes) -> dict[str, TreeValue]:
    """What the image brings: the script, the loader, and the same as a link."""
    return {
        "evil": (SCRIPT, 0o755),
        "link": Path("/proc/self/exe"),
        LOADER: (loader, 0o755),
        "lib64/": None,
    }


@pytest.fixture
def python(public: Path) -> Path:
    """A copy of the interpreter that runs the tests, which an attack may destroy."""
    return Path(shutil.copy(os.path.realpath(sys.executable), public / "python3"))


def _environment() -> dict[str, str]:
    packages = ":".join(path for path in sys.path if path.endswith("-packages"))
    return environment(PYTHONHOME=sys.base_prefix, PYTHONPATH=packages)


@pytest.fixture
def own(public: Path, python: Path, oci: Oci) -> Oci:
    """`pyrun oci`, run by the copy."""
    return Oci(public, python=(python,), env=_environment())


def _found(rootfs: Path) -> str:
    """What the loader wrote, after it had its time."""
    for _ in range(10):
        time.sleep(0.05)
        if (rootfs / "found").exists():
            break
    else:
        return ""
    for _ in range(100):
        if (rootfs / "found").read_text() == "done\n":
            break
        time.sleep(0.05)
    return (rootfs / "found").read_text()


def test_the_attack_works_on_an_interpreter_that_executes_the_command_itself(
    oci: Oci, python: Path, evil: dict[str, TreeValue]
) -> None:
    rootfs = oci.bundle(configuration("/evil"), evil) / "rootfs"
    code = "import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); os.execv('/evil', ['/evil'])"
    script = 'mount -t proc proc "$0/proc" && exec "$@"'
    argv: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        rootfs,
        python,
        "-c",
        code,
        rootfs,
    ]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=_environment()) as attack:
        found = _found(rootfs)
        attack.kill()
    assert found == "done\n"
    assert python.read_bytes() == b"overwritten\n"


def _assert_intact(python: Path, rootfs: Path, before: bytes) -> None:
    found = _found(rootfs)
    assert hashlib.sha256(python.read_bytes()).digest() == before
    assert found == ""


@pytest.fixture
def before(python: Path) -> bytes:
    """What the interpreter was."""
    return hashlib.sha256(python.read_bytes()).digest()


@pytest.mark.parametrize("command", ["/evil", "/link", "/proc/self/exe"])
def test_cve_2019_5736_proc_self_exe_as_command_of_run_does_not_reach_the_hosts_python(
    command: str, own: Oci, python: Path, before: bytes, evil: dict[str, TreeValue]
) -> None:
    bundle = own.bundle(configuration(command), evil)
    identity = own.name()
    output = subprocess.DEVNULL
    own.popen("run", "-d", "-b", bundle, identity, stdout=output, stderr=output).wait(30)
    _assert_intact(python, bundle / "rootfs", before)


@pytest.mark.parametrize("command", ["/evil", "/link"])
@pytest.mark.parametrize("privileges", [True, False])
def test_cve_2019_5736_proc_self_exe_as_command_of_exec_does_not_reach_the_hosts_python(
    command: str,
    privileges: bool,
    own: Oci,
    python: Path,
    before: bytes,
    evil: dict[str, TreeValue],
) -> None:
    bundle = own.bundle(configuration("sleep", "60", noNewPrivileges=not privileges), evil)
    with own.running(bundle) as identity:
        result = own("exec", identity, command)
        assert result.status in (126, 127)
        _assert_intact(python, bundle / "rootfs", before)


def test_cve_2019_5736_proc_self_exe_as_command_of_start_does_not_reach_the_hosts_python(
    own: Oci, python: Path, before: bytes, evil: dict[str, TreeValue]
) -> None:
    bundle = own.bundle(configuration("/evil"), evil)
    with own.running(bundle, started=False) as identity:
        own("start", identity)
        _assert_intact(python, bundle / "rootfs", before)


def test_cve_2019_5736_proc_self_exe_as_a_hook_in_the_container_does_not_reach_the_hosts_python(
    own: Oci, python: Path, before: bytes, evil: dict[str, TreeValue]
) -> None:
    config = configuration("sleep", "60")
    config["hooks"] = {"startContainer": [{"path": "/evil"}]}
    bundle = own.bundle(config, evil)
    identity = own.name()
    output = subprocess.DEVNULL
    own.popen("run", "-d", "-b", bundle, identity, stdout=output, stderr=output).wait(30)
    _assert_intact(python, bundle / "rootfs", before)


def _members(loader: bytes) -> list[bytes]:
    return [
        *busybox_layer(),
        file("evil", SCRIPT, mode=0o755),
        directory("lib64"),
        file(LOADER, loader, mode=0o755),
    ]


def test_cve_2019_5736_proc_self_exe_as_command_of_an_image_does_not_reach_the_hosts_python(
    public: Path, python: Path, before: bytes, loader: bytes
) -> None:
    image = make_image(public / "i.tar", [_members(loader)], {"Env": ["PATH=/bin"]})
    for options in ([], ["--init"], ["--security-opt", "no-new-privileges=false"]):
        argv: list[str | Path] = [python, *command("pyrun"), *options, image, "/evil"]
        result = run(argv, env=_environment() | {"PYBUILD_ROOT": str(public / "store")})
        # With --init the stub itself is loaded again, finds nothing to do, and says so.
        assert result.status in (126, 127), result.stderr
        assert "reached" not in result.stdout + result.stderr
    assert hashlib.sha256(python.read_bytes()).digest() == before


def test_cve_2019_5736_proc_self_exe_as_command_of_run_in_a_build_does_not_reach_python(
    public: Path, python: Path, before: bytes, loader: bytes
) -> None:
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    pybuild.add({"evil": (SCRIPT, 0o755), "loader": (loader, 0o755)})
    pybuild.write(f'{SHELL}COPY loader /{LOADER}\nCOPY evil /\nRUN ["/evil"]\n')
    argv: list[str | Path] = [python, *command("pybuild"), pybuild.context]
    env = _environment() | {"PYBUILD_ROOT": str(pybuild.store)}
    result = run(argv, env=env, cwd=pybuild.work)
    assert result.status == 1
    assert "exited with status 12" in result.stderr
    assert "reached" not in result.stderr
    assert hashlib.sha256(python.read_bytes()).digest() == before
