"""What .deb files say of themselves, as dpkg-deb writes them, and where they are damaged."""

from __future__ import annotations

import os
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from buildkit.packages.deb_file import read_deb
from buildkit.packages.errors import PackageError
from tests.buildkit.debian_mirror import package

pytestmark = pytest.mark.needs_program("dpkg-deb")


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """A package."""
    return package(tmp_path, "thing", "1:2.0-3", "Depends: a,\n b\n", {"usr/thing": "content"})


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "none"])
def test_the_control_file_and_the_time_are_read(
    deb: Path, tmp_path: Path, compression: str
) -> None:
    subprocess.run(["dpkg-deb", "-R", deb, tmp_path / "tree"], check=True)
    again = tmp_path / "again.deb"
    how = [f"-Z{compression}", "--uniform-compression"]
    made = subprocess.run(
        ["dpkg-deb", *how, "--build", tmp_path / "tree", again],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1234567890"},
        capture_output=True,
        check=False,
    )
    if b"unknown compression" in made.stderr:
        pytest.skip(f"this dpkg-deb has no {compression}")
    assert made.returncode == 0, made.stderr
    found = read_deb(BytesIO(again.read_bytes()))
    assert found.fields["package"] == "thing"
    assert found.fields["version"] == "1:2.0-3"
    assert found.fields["depends"] == "a,\nb"
    assert found.text.startswith("Package: thing\n")
    assert found.built == 1234567890


def test_every_piece_of_a_package_is_an_error_and_nothing_else(deb: Path) -> None:
    content = deb.read_bytes()
    whole = read_deb(BytesIO(content))
    said = set()
    for end in range(0, len(content), 7):
        try:
            found = read_deb(BytesIO(content[:end]))
        except PackageError as error:
            said.add(str(error).partition(":")[0])
        else:
            said.add("whole" if found == whole else "other")
    assert said == {"whole", "not a Debian package", "Debian package"}


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"!<arch>\nname".ljust(66) + b"`\n"],
)
def test_what_is_no_package_is_an_error(content: bytes) -> None:
    with pytest.raises(PackageError, match="Debian package"):
        read_deb(BytesIO(content))
