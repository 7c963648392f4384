"""Archives of images as other programs write them, and what is in archives, for their tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.buildkit.support import Pybuild
from tests.support import (
    descriptor,
    digest_of,
    file,
    image_files,
    pack,
    read_members,
    to_json,
)
from tests.test_interop import Engine

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
FULL_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


def several(
    images: Mapping[str, bytes], views: tuple[str, ...] = ("oci", "docker")
) -> dict[str, bytes]:
    """The files of an archive of images, by name, that have a layer in common and one each."""
    files: dict[str, bytes] = {}
    tables, entries = [], []
    for name, content in images.items():
        made = image_files([[file("shared", b"s" * 5000)], [file("own", content)]])
        [table] = json.loads(made["index.json"])["manifests"]
        [entry] = json.loads(made["manifest.json"])
        tag = {REF_NAME: name.rpartition(":")[2], FULL_NAME: f"docker.io/library/{name}"}
        tables.append(table | {"annotations": tag})
        entries.append(entry | {"RepoTags": [name]})
        files |= made
    files["index.json"] = to_json({"schemaVersion": 2, "manifests": tables})
    files["manifest.json"] = to_json(entries)
    for view, name in (("oci", "index.json"), ("docker", "manifest.json")):
        if view not in views:
            del files[name]
    return files


def platforms(
    names: Mapping[str, str], *, annotations: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """The files of a layout with an index of images, each holding what is given for it."""
    files: dict[str, bytes] = {}
    tables = []
    for platform, content in names.items():
        system, architecture = platform.split("/")
        document = {"os": system, "architecture": architecture}
        made = image_files([[file("own", content)]], views=("oci",), document=document)
        [table] = json.loads(made["index.json"])["manifests"]
        tables.append(table | {"platform": document})
        files |= made
    index = to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": tables})
    files["blobs/sha256/" + digest_of(index)[7:]] = index
    outer = descriptor(index, INDEX) | {"annotations": dict(annotations or {})}
    files["index.json"] = to_json({"schemaVersion": 2, "manifests": [outer]})
    return files


def put(pybuild: Pybuild, name: str, files: Mapping[str, bytes]) -> Path:
    """An archive in the working directory."""
    return pack(pybuild.work / name, files)


def names_in(pybuild: Pybuild) -> dict[str, str]:
    """The names in the store, and the digest that each stands for."""
    found = {}
    for path in (pybuild.store / "images").iterdir():
        name = path.name.replace("%2F", "/").replace("%25", "%")
        found[name] = json.loads(path.read_text())["digest"]
    return found


def blobs_in(pybuild: Pybuild) -> set[str]:
    """The digests of the blobs in the store."""
    return {path.name for path in (pybuild.store / "blobs/sha256").iterdir()}


def layout(path: Path) -> dict[str, bytes]:
    """The files of an archive, or of the directory of a layout, by name."""
    if path.is_dir():
        files = (found for found in path.rglob("*") if found.is_file())
        return {str(found.relative_to(path)): found.read_bytes() for found in files}
    return read_members(path)


def check_archive(path: Path) -> dict[str, Any]:
    """Every blob is what its name says, none is there twice or for nothing; the index."""
    files = layout(path)
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert digest_of(content) == f"sha256:{name.rpartition('/')[2]}"
    index: dict[str, Any] = json.loads(files["index.json"])
    return index


def engine(program: str, pybuild: Pybuild) -> Engine:
    """podman or buildah with a storage of its own, in the test's directory."""
    place = pybuild.directory / program
    place.mkdir(exist_ok=True)
    return Engine(program, place)


def shell(*argv: str | Path) -> str:
    """Run another program, which must work."""
    ended = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
