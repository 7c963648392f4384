"""--build-context: names that stand for directories, archives and layouts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, modes, text_files


@pytest.fixture
def other(anybody: Pybuild) -> Path:
    """A directory beside the context."""
    path = anybody.directory / "other"
    (path / "d").mkdir(parents=True)
    (path / "d" / "f").write_text("1")
    (path / "d" / "f").chmod(0o604)
    (path / "hidden").write_text("2")
    (path / ".dockerignore").write_text("hidden\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCOPY --from=Ctx . /\n",
        "FROM ctx\n",
        "FROM ctx AS a\nFROM scratch\nCOPY --from=a . /\n",
        "FROM scratch AS ctx\nCOPY Containerfile /\nFROM scratch\nCOPY --from=ctx . /\n",
    ],
)
def test_a_directory_is_a_context_of_its_own(anybody: Pybuild, other: Path, text: str) -> None:
    anybody.add({"d/f": "of the build's own context", "hidden": "3"})
    image = anybody.build(text, f"--build-context=ctx={other}")
    files = {n for n in image.files if not n.endswith("ignore")}
    assert files == {"d", "d/f"}
    assert (image.read("d/f"), modes(image)["d/f"]) == (b"1", "0:0 604")


def test_a_run_sees_a_named_directory(anybody: Pybuild, other: Path) -> None:
    text = f"{SHELL}RUN --mount=from=ctx,source=d,target=/m cat /m/f > /n; stat -c %u /m >> /n\n"
    image = anybody.build(text, f"--build-context=ctx={other}")
    assert image.read("n") == b"10\n"


def test_a_change_of_a_named_directory_misses_where_it_is_used(
    anybody: Pybuild, other: Path
) -> None:
    text = "FROM scratch AS a\nCOPY --from=ctx d /d\nFROM ctx\nCOPY --from=a d/f /g\n"
    option = f"--build-context=ctx={other}"
    anybody.build(text, option)
    assert anybody.steps(text, option) == ["CACHED"] * 3
    (other / "hidden").write_text("not seen")
    assert anybody.steps(text, option) == ["CACHED"] * 3
    (other / "d" / "f").write_text("2")
    assert anybody.steps(text, option) == ["DONE"] * 3
    assert Image(anybody.output).read("g") == b"2"
    (other / ".dockerignore").unlink()
    assert anybody.steps(text, option) == ["CACHED", "DONE", "DONE"]


def test_the_same_name_for_another_directory_is_another_build(
    anybody: Pybuild, other: Path
) -> None:
    shutil.copytree(other, anybody.directory / "third")
    (anybody.directory / "third" / "d" / "f").write_text("3")
    text = "FROM scratch\nCOPY --from=ctx d/f /\n"
    for name, content in (("other", b"1"), ("third", b"3"), ("other", b"1")):
        assert anybody.build(text, f"--build-context=ctx=../{name}").read("f") == content


def _archive(pybuild: Pybuild, name: str, content: str) -> Path:
    """An archive outside of the context, whose image is also called `name` in the store."""
    pybuild.add({"base": content})
    pybuild.build(
        "FROM scratch\nCOPY base /base\nENV from=archive\n", "-o", "image.tar", "-t", name
    )
    return pybuild.output.rename(pybuild.directory / f"{name}.tar")


def _layout(path: Path, tag: str, archive: Path) -> str:
    """Put an image into an OCI layout; returns its digest there."""
    copy = ["skopeo", "copy", "-q", f"docker-archive:{archive}", f"oci:{path}:{tag}"]
    subprocess.run(copy, check=True)
    tables = json.loads((path / "index.json").read_text())["manifests"]
    return str(tables[-1]["digest"])


@pytest.mark.parametrize("form", ["archive", "layout", "tag", "digest", "store"])
@pytest.mark.needs_program("skopeo")
def test_an_image_is_known_by_another_name(anybody: Pybuild, form: str) -> None:
    one, two = _archive(anybody, "one", "1"), _archive(anybody, "two", "2")
    both, single = anybody.directory / "both", anybody.directory / "single"
    digest = _layout(both, "one", one)
    _layout(both, "two", two)
    _layout(single, "latest", two)
    value, content = {
        "archive": (one, b"1"),
        "layout": (f"oci-layout://{single}", b"2"),
        "tag": (f"oci-layout://{both}:two", b"2"),
        "digest": (f"oci-layout://{both}@{digest}", b"1"),
        "store": ("docker-image://two", b"2"),
    }[form]
    text = "FROM alpine:3 AS a\nFROM scratch\nCOPY --from=a base /1\n"
    text += "COPY --from=alpine:3 base /2\n"
    option = f"--build-context=alpine:3={value}"
    image = anybody.build(text, option)
    assert (image.read("1"), image.read("2")) == (content, content)
    assert anybody.steps(text, option) == ["CACHED", "CACHED"]


@pytest.fixture
def archive(anybody: Pybuild) -> Path:
    """An archive outside of the context."""
    return _archive(anybody, "base", "1")


def test_a_layout_can_be_named_in_the_file_and_run(anybody: Pybuild, archive: Path) -> None:
    subprocess.run(["tar", "-xf", archive, "-C", anybody.context, "--no-same-owner"], check=True)
    image = anybody.build("FROM oci-layout://.\nCOPY Containerfile /\n")
    assert text_files(image)["base"] == "1"
    assert "from=archive" in image.config["config"]["Env"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("ctx", "NAME=VALUE expected"),
        ("=x", "NAME=VALUE expected"),
        ("ctx=/no/such", "/no/such does not exist"),
        ("ctx=https://example.org/x.tar", "cannot be read"),
    ],
)
def test_a_wrong_context_is_refused(pybuild: Pybuild, option: str, message: str) -> None:
    ended = pybuild.try_build("FROM scratch\n", f"--build-context={option}")
    assert ended.status == 2
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("docker-image://none", "no image 'none'"),
        ("oci-layout:///no/such", "No such file or directory"),
        ("oci-layout:///usr", "a directory, but no OCI layout"),
        ("oci-layout://.:none", "nothing is called none"),
    ],
)
def test_an_image_that_is_not_there_is_an_error_where_it_is_used(
    anybody: Pybuild, archive: Path, value: str, message: str
) -> None:
    subprocess.run(["tar", "-xf", archive, "-C", anybody.work, "--no-same-owner"], check=True)
    ended = anybody.try_build(
        "FROM scratch\nCOPY --from=ctx x /\n", f"--build-context=ctx={value}", "--pull=never"
    )
    assert ended.status == 1
    assert message in ended.stderr
    assert "Containerfile:2:13" in ended.stderr
