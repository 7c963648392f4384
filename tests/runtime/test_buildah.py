"""buildah with our runtime: each RUN of a build is a container of ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engines import Buildah, our_runtime
from tests.support import Result

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("buildah", "runc")]

CONTAINERFILE = """\
FROM {archive}
USER alice
RUN id -un > /tmp/who && grep Seccomp: /proc/self/status > /tmp/filter
USER root
RUN ls /sys/class/net > /interfaces
RUN cat /tmp/who /tmp/filter /interfaces
"""


class Builder(Buildah):
    """buildah whose RUN steps are containers of some runtime."""

    def build(self, runtime: str, text: str) -> Result:
        """Build a Containerfile, each RUN in a container of `runtime`."""
        (self.directory / "Containerfile").write_text(text)
        isolation = ("--isolation", "oci", "--runtime", runtime, "--network", "none")
        group = ("--cgroup-parent", "/pybuild-test")
        return self("bud", *isolation, *group, "--no-cache", self.directory)


@pytest.fixture(scope="module")
def buildah(public_root: Path, busybox: Path) -> Iterator[Builder]:
    """buildah, where it works with runc."""
    if not our_runtime():
        pytest.skip("pyrun-oci is not installed as a script, which an engine needs")
    directory = public_root / "buildah"
    directory.mkdir()
    made = Builder(directory)
    tried = made.build("runc", f"FROM docker-archive:{busybox}\nRUN true\n")
    if tried.status:
        pytest.skip(f"buildah does not work with runc here: {tried.stderr.strip()[-300:]}")
    yield made
    made("rm", "--all")
    for folder in Path("/sys/fs/cgroup").glob("*/pybuild-test"):
        subprocess.run(["rmdir", folder], check=False)


def test_run_of_a_build_is_a_container_of_ours(buildah: Builder, busybox: Path) -> None:
    text = CONTAINERFILE.format(archive=f"docker-archive:{busybox}")
    result = buildah.build(our_runtime(), text)
    assert result.status == 0, result.stderr
    seen = result.stdout + result.stderr
    assert "alice\nSeccomp:\t2\nlo\n" in seen


def test_a_run_that_fails_fails_the_build(buildah: Builder, busybox: Path) -> None:
    result = buildah.build(our_runtime(), f"FROM docker-archive:{busybox}\nRUN exit 7\n")
    assert result.status != 0
    assert "exit status 7" in result.stderr
