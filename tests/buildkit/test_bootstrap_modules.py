"""Streams of modules, from a repository that has two of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import fails, installed, query
from tests.buildkit.support import Pybuild

pytestmark = pytest.mark.needs_program("dnf", "rpm", "createrepo_c", "modifyrepo_c")

_MODULE = """\
---
document: modulemd
version: 2
data:
  name: hello
  stream: "{stream}"
  version: 1
  context: abcd
  arch: x86_64
  summary: hello
  description: hello
  license:
    module: [MIT]
  dependencies:
  - {{}}
  profiles:
    common:
      rpms: [hello-libs]
  artifacts:
    rpms:
    - hello-libs-0:{stream}-1.noarch
    - hello-extras-0:{stream}-1.noarch
...
"""


@pytest.fixture(scope="module")
def modular(tiny_repository: Path, public_root: Path) -> Path:
    """A repository with hello:1.0 and hello:2.0, neither of them the default."""
    path = public_root / "modular"
    path.mkdir()
    for place in ("repo/Packages", "updates"):
        for package in (tiny_repository / place).glob("hello-[le]*.noarch.rpm"):
            shutil.copy2(package, path)
    modules = path.parent / "modules.yaml"
    modules.write_text("".join(_MODULE.format(stream=stream) for stream in ("1.0", "2.0")))
    subprocess.run(["createrepo_c", "-q", path], check=True)
    subprocess.run(
        ["modifyrepo_c", "--mdtype=modules", modules, path / "repodata"],
        check=True,
        capture_output=True,
    )
    return path


def _bootstrap(modular: Path, words: str) -> str:
    return f"FROM scratch\nBOOTSTRAP --nogpgcheck --repo=id=m,url=file://{modular} \\\n  {words}\n"


@pytest.mark.parametrize("stream", ["1.0", "2.0"])
def test_a_stream_decides_which_packages_there_are(
    pybuild: Pybuild, modular: Path, stream: str
) -> None:
    image = pybuild.build(_bootstrap(modular, f"--module=hello:{stream} hello-extras"))
    assert query(image, "%{NAME} %{VERSION}") == [f"hello-extras {stream}"]
    written = image.read("etc/dnf/modules.d/hello.module").decode()
    assert f"stream={stream}\n" in written
    assert "state=enabled\n" in written


def test_a_profile_of_a_module_is_installed(pybuild: Pybuild, modular: Path) -> None:
    image = pybuild.build(_bootstrap(modular, "--module=hello:1.0 @hello:1.0/common"))
    assert installed(image) == {"hello-libs"}


def test_the_stream_is_known_to_the_next_bootstrap(pybuild: Pybuild, modular: Path) -> None:
    text = _bootstrap(modular, "--module=hello:1.0 hello-extras")
    again = _bootstrap(modular, "hello-libs").partition("\n")[2]
    image = pybuild.build(text + again)
    assert set(query(image, "%{NAME} %{VERSION}")) == {"hello-extras 1.0", "hello-libs 1.0"}


def test_packages_of_a_stream_that_is_not_enabled_are_not_there(
    pybuild: Pybuild, modular: Path
) -> None:
    fails(pybuild, _bootstrap(modular, "hello-extras"), 1, "Containerfile:3:3:", "hello-extras")


@pytest.mark.parametrize("module", ["hello:3.0", "other:1.0"])
def test_an_unknown_module_or_stream_is_an_error_at_its_word(
    pybuild: Pybuild, modular: Path, module: str
) -> None:
    text = _bootstrap(modular, f"--module={module} hello-extras")
    fails(pybuild, text, 1, "Containerfile:3:12:", f"module {module}")


def test_two_streams_of_a_module_are_an_error(pybuild: Pybuild, modular: Path) -> None:
    text = _bootstrap(modular, "--module=hello:1.0 --module=hello:2.0 hello-extras")
    fails(pybuild, text, 1, "Containerfile:3:", "hello")


def test_another_stream_than_the_systems_is_an_error(pybuild: Pybuild, modular: Path) -> None:
    text = _bootstrap(modular, "--module=hello:1.0 hello-extras")
    again = _bootstrap(modular, "--module=hello:2.0 hello-libs").partition("\n")[2]
    fails(pybuild, text + again, 1, "Containerfile:5:12:", "has the stream 1.0")
