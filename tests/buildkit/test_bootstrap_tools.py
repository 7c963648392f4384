"""BOOTSTRAP --tools: dnf and rpm out of an image, on a machine that has none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import add_tiny, fails, installed
from tests.buildkit.conftest import new_room, pybuild_of
from tests.buildkit.support import Pybuild
from tests.support import Caller

pytestmark = pytest.mark.needs_program("dpkg-query", "apt-cache", "dnf", "rpm")

NOTHING = {"PATH": "/nowhere"}  # of this machine's programs
_CLOSURE = (
    "apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts"
    " --no-breaks --no-replaces --no-enhances dnf rpm"
)


@pytest.fixture(scope="module")
def tools(public_root: Path, user: Caller) -> Iterator[Path]:
    """An archive of an image with dnf and rpm: Debian's packages of them, and what they need."""
    with new_room(public_root) as room:
        made = pybuild_of(room, "root" if os.geteuid() == 0 else "user", user)
        _copy_packages(made.context / "root")
        ended = made.try_build("FROM scratch\nCOPY root /\n")
        assert ended.status == 0, ended.stderr
        yield made.output


def _copy_packages(root: Path) -> None:
    """Copy all files of dnf's and rpm's packages, and of those that they need."""
    said = subprocess.run(_CLOSURE.split(), check=True, capture_output=True, text=True).stdout
    packages = sorted({line for line in said.splitlines() if line[:1].isalnum()})
    listed = subprocess.run(
        ["dpkg-query", "-L", *packages], check=False, capture_output=True, text=True
    ).stdout
    left_out = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/perl")
    paths = {path for path in listed.splitlines() if not path.startswith(left_out)}
    files = sorted(p.lstrip("/") for p in paths if os.path.islink(p) or os.path.isfile(p))
    root.mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("tmp", "etc", "root", "var/tmp"):
        (root / name).mkdir(parents=True)
    # usr/lib64 and its like are links of packages that are here directories.
    pack = ["tar", "-C", "/", "-c", "--no-recursion", "--null", "-T", "-"]
    unpack = ["tar", "-C", str(root), "-x", "--keep-directory-symlink", "--no-same-owner"]
    names = "\0".join(name for name in files if not os.path.isdir(root / name)).encode()
    with subprocess.Popen(pack, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as packing:
        with subprocess.Popen(unpack, stdin=packing.stdout) as unpacking:
            assert packing.stdin is not None
            packing.stdin.write(names)
            packing.stdin.close()
        assert (packing.wait(), unpacking.returncode) == (0, 0)


def _add_tools(pybuild: Pybuild, tools: Path) -> None:
    os.link(tools, pybuild.context / "tools.tar")


@pytest.mark.parametrize("who", ["root", pytest.param("user", marks=pytest.mark.slow)])
def test_a_machine_without_dnf_and_rpm_takes_those_of_an_image(
    public: Path, user: Caller, who: str, tools: Path, tiny_repository: Path
) -> None:
    pybuild = pybuild_of(public, who, user)
    flags = add_tiny(pybuild, tiny_repository)
    _add_tools(pybuild, tools)
    text = f"FROM scratch\nBOOTSTRAP {flags}%s hello\n"
    with_tools = pybuild.build(text % " --tools=./tools.tar", env=NOTHING)
    assert "hello" in installed(with_tools)
    # The programs are those of this machine, so what they make is, too.
    assert pybuild.build(text % "", "--no-cache").layers == with_tools.layers


def test_tools_are_those_of_an_earlier_stage_too(
    pybuild: Pybuild, tools: Path, tiny_repository: Path
) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    _add_tools(pybuild, tools)
    image = pybuild.build(
        f"FROM ./tools.tar AS tools\nFROM scratch\nBOOTSTRAP --tools=tools {flags} hello-libs\n"
        f"BOOTSTRAP --tools=tools {flags} hello-extras\n",
        env=NOTHING,
    )
    assert installed(image) == {"hello-libs", "hello-extras"}
    assert not [name for name in image.files if "dnf" in name or "python" in name]


def test_an_image_without_dnf_is_no_tool(pybuild: Pybuild, tiny_repository: Path) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    text = "FROM scratch AS no\nCOPY RPM-GPG-KEY-test /\n"
    text += f"FROM scratch\nBOOTSTRAP --tools=no {flags} hello-libs\n"
    fails(pybuild, text, 6, "Containerfile:4:1:", "the image of --tools has none")


def test_an_image_that_is_not_there_is_an_error_at_its_name(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    text = f"FROM scratch\nBOOTSTRAP {flags} \\\n  --tools=./none.tar hello-libs\n"
    fails(pybuild, text, 1, "Containerfile:3:11:", "none.tar")


def test_tools_need_namespaces(plain: Pybuild, tools: Path, tiny_repository: Path) -> None:
    flags = add_tiny(plain, tiny_repository)
    _add_tools(plain, tools)
    text = f"FROM scratch\nBOOTSTRAP --tools=./tools.tar {flags} hello-libs\n"
    fails(plain, text, 1, "Containerfile:2:1:", "--tools needs namespaces", env=NOTHING)


@pytest.mark.slow
def test_other_tools_are_another_step(
    pybuild: Pybuild, tools: Path, tiny_repository: Path
) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    _add_tools(pybuild, tools)
    text = (
        "FROM ./tools.tar AS tools\nCOPY a /\nFROM scratch\n"
        f"BOOTSTRAP --tools=tools {flags} hello-libs\n"
    )
    pybuild.add({"a": "1"})
    pybuild.build(text)
    assert pybuild.steps(text + "ENV a=b\n") == ["CACHED"] * 2
    pybuild.add({"a": "2"})
    assert pybuild.steps(text)[-1] == "DONE"
