"""An archive whose two views are not the same image is refused, whoever opens it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ImageError
from runtime.image.archive import open_archive
from tests.buildkit.support import Pybuild
from tests.claims import disagreement
from tests.support import (
    Layer,
    blob_name,
    compressed,
    directory,
    file,
    image_files,
    pack,
    run_pyrun,
    symlink,
    tar_of,
    to_json,
)

LOWER = [directory("etc"), file("etc/motd", "lower")]
UPPER = [file("etc/motd", "upper")]
FULL_NAME = "io.containerd.image.name"
Files = dict[str, bytes]


def _image(*layers: Layer, **config: Any) -> Files:
    return image_files(layers or [LOWER, UPPER], config)


def _entry(files: Files) -> dict[str, Any]:
    [entry] = json.loads(files["manifest.json"])
    return dict(entry)


def _views(oci: Files, docker: Files) -> Files:
    """The layout of one, and what docker reads of the other."""
    return {**docker, **oci, "manifest.json": docker["manifest.json"]}


def _docker_says(files: Files, **members: Any) -> Files:
    return {**files, "manifest.json": to_json([_entry(files) | members])}


def _other_content(files: Files) -> Files:
    blob = compressed(tar_of(UPPER), "gzip")
    paths = [blob_name(blob), _entry(files)["Layers"][1]]
    return _docker_says(files | {paths[0]: blob}, Layers=paths)


def _swapped_names(one: Files, two: Files) -> Files:
    tables = [
        json.loads(files["index.json"])["manifests"][0]
        | {"annotations": {FULL_NAME: f"docker.io/library/{name}:v1"}}
        for files, name in ((one, "one"), (two, "two"))
    ]
    entries = [
        _entry(one) | {"RepoTags": ["two:v1"]},
        _entry(two) | {"RepoTags": ["one:v1"]},
    ]
    index = to_json({"schemaVersion": 2, "manifests": tables})
    return one | two | {"index.json": index, "manifest.json": to_json(entries)}


def _spelled(table: Mapping[str, Any], other: Mapping[str, Any]) -> bytes:
    """Members of two tables, the second's in small letters, which Go's reader takes."""
    return to_json([dict(table) | {name.lower(): value for name, value in other.items()}])


def _manifests_twice(one: Files, two: Files) -> Files:
    index, other = (json.loads(files["index.json"]) for files in (one, two))
    return one | two | {"index.json": to_json(index | {"Manifests": other["manifests"]})}


def _respaced(files: Files) -> Files:
    """The same configuration in other words."""
    document = json.dumps(json.loads(files[_entry(files)["Config"]]), indent=1).encode()
    return _docker_says(files | {blob_name(document): document}, Config=blob_name(document))


def _both(docker: bytes) -> Files:
    """Two images, of which the index has the first."""
    return ONE | TWO | {"index.json": ONE["index.json"], "manifest.json": docker}


ONE, TWO = _image(Cmd=["one"]), _image(Cmd=["two"])
DIFFERENT = "different images"
PAIRS: dict[str, tuple[Files, str]] = {
    "another command": (_views(ONE, TWO), DIFFERENT),
    "another user": (_views(_image(User="1000"), _image(User="0")), DIFFERENT),
    "a layer less": (_views(ONE, _image(LOWER)), DIFFERENT),
    "a layer more": (_views(ONE, _image(LOWER, UPPER, LOWER)), DIFFERENT),
    "layers in another order": (
        _docker_says(ONE, Layers=_entry(ONE)["Layers"][::-1]),
        DIFFERENT,
    ),
    "another layer in one's place": (
        _docker_says(ONE, Layers=[_entry(ONE)["Layers"][0]] * 2),
        DIFFERENT,
    ),
    "a layer with other content": (_other_content(ONE), DIFFERENT),
    "no layers": (_docker_says(ONE, Layers=[]), DIFFERENT),
    "a configuration in other words": (_respaced(ONE), DIFFERENT),
    "another platform": (
        _views(ONE, image_files([LOWER, UPPER], document={"architecture": "s390x"})),
        DIFFERENT,
    ),
    "one image more for docker": (
        _both(to_json([_entry(ONE), _entry(TWO)])),
        DIFFERENT,
    ),
    "a configuration that is not there": (_docker_says(ONE, Config="x.json"), "no such file"),
    "names the other way round": (_swapped_names(ONE, TWO), DIFFERENT),
    "docker's members spelled twice": (
        _both(_spelled(_entry(ONE), _entry(TWO))),
        "one for some readers",
    ),
    "the index's members spelled twice": (_manifests_twice(ONE, TWO), "one for some readers"),
}  # fmt: skip
# Names that are there twice, of which readers take the first or the last.
TWICE = {
    "docker's view": ("manifest.json", TWO["manifest.json"]),
    "the index": ("./index.json", TWO["index.json"]),
    "a configuration": (_entry(ONE)["Config"], TWO[_entry(TWO)["Config"]]),
}


@disagreement
@pytest.mark.parametrize(("files", "message"), PAIRS.values(), ids=PAIRS)
def test_views_of_different_images_are_refused(tmp_path: Path, files: Files, message: str) -> None:
    path = pack(tmp_path / "image.tar", files)
    several = len(json.loads(files["index.json"])["manifests"]) > 1
    with pytest.raises(ImageError) as caught:
        open_archive(str(path), "one:v1" if several else "")
    assert caught.value.message.startswith(f"{path}: ")
    assert message in caught.value.message


@disagreement
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(("name", "content"), TWICE.values(), ids=TWICE)
def test_a_member_that_is_there_twice_is_refused(
    tmp_path: Path, name: str, content: bytes, first: bool
) -> None:
    members = [file(name, content) for name, content in {**TWO, **ONE}.items()]
    members.insert(0 if first else len(members), file(name, content))
    path = tmp_path / "image.tar"
    path.write_bytes(tar_of(members))
    with pytest.raises(ImageError, match="it is there twice"):
        open_archive(str(path))


@disagreement
def test_a_link_beside_a_document_of_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    members = [file(name, content) for name, content in ONE.items()]
    path.write_bytes(tar_of([*members, symlink("manifest.json", "blobs/other")]))
    with pytest.raises(ImageError, match=r"manifest\.json: it is there twice"):
        open_archive(str(path))


def test_views_of_one_image_are_taken(tmp_path: Path) -> None:
    named = _docker_says(ONE, RepoTags=["one:v1"])
    for files in (
        ONE,
        named,
        _swapped_names(ONE, ONE) | {"manifest.json": named["manifest.json"]},
    ):
        path = pack(tmp_path / "image.tar", files)
        assert open_archive(str(path)).config.config.cmd == ("one",)


@pytest.mark.slow
@pytest.mark.parametrize(("files", "message"), PAIRS.values(), ids=PAIRS)
def test_every_command_refuses_them(pybuild: Pybuild, files: Files, message: str) -> None:
    path = pack(pybuild.work / "image.tar", files)
    (pybuild.context / "base.tar").write_bytes(path.read_bytes())
    several = len(json.loads(files["index.json"])["manifests"]) > 1
    tag = ":one:v1" if several else ""
    for ended, status in (
        (run_pyrun(f"{path}{tag}", "x", store=pybuild.store), 125),
        (pybuild.run("load", "-i", path), 1),
        (pybuild.run("convert", f"{path}{tag}", "other.tar"), 1),
        (pybuild.try_build(f"FROM base.tar{tag}\nLABEL a=b\n"), 1),
    ):
        assert ended.status == status, ended
        assert message in ended.stderr or "two images are called" in ended.stderr
