"""Builds that buildah does as well: the same files and the same configuration come out."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import Pybuild
from tests.runtime.engines import Buildah
from tests.support import BUSYBOX, read_members

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("buildah")]

FOLDER = Path(__file__).parent / "conformance"
BUILDS = sorted(path.parent.name for path in FOLDER.glob("*/Containerfile"))
KEYS = (
    "Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild Shell StopSignal User Volumes "
    "WorkingDir"
).split()
KEPT_XATTRS = ("security.capability", "user.")
_ROW = re.compile(r"^\| (\S+) \| `([^`]+)` \| \S.* \|$", re.MULTILINE)


@dataclass(slots=True)
class Node:
    """One file; several names are hard links to it."""

    kind: str
    mode: str
    owner: str
    content: str = ""
    xattrs: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """What is compared."""
        links = {"links": self.names} if len(self.names) > 1 else {}
        return {
            "type": self.kind,
            "mode": self.mode,
            "owner": self.owner,
            "content": self.content,
            "xattrs": self.xattrs,
            **links,
        }


class Tree:
    """The root filesystem that an image's layers make (image-spec layer.md), read by tarfile."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def apply(self, layer: bytes) -> None:
        """Put one layer over it."""
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            members = archive.getmembers()
            for member in members:
                folder, _, name = member.name.strip("./").rpartition("/")
                if member.name.endswith("/.wh..wh..opq"):
                    self._remove(folder, itself=False)
                elif name.startswith(".wh."):
                    self._remove(f"{folder}/{name[4:]}".lstrip("/"))
            for member in members:
                name = member.name.removeprefix("./").strip("/")
                if name not in ("", ".") and not os.path.basename(name).startswith(".wh."):
                    self._add(name, member, archive)

    def _add(self, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if member.islnk():
            self._remove(name)
            self.nodes[name] = self.nodes[member.linkname.removeprefix("./").strip("/")]
            return
        known = self.nodes.get(name)
        self._remove(name, children=not (known and known.kind == "directory" and member.isdir()))
        node = Node(
            kind=_kind(member),
            mode="" if member.issym() else f"{member.mode & 0o7777:04o}",
            owner=f"{member.uid}:{member.gid}",
            xattrs={
                key.removeprefix("SCHILY.xattr."): value
                for key, value in member.pax_headers.items()
                if key.removeprefix("SCHILY.xattr.").startswith(KEPT_XATTRS)
            },
        )
        if member.issym():
            node.content = member.linkname
        elif member.isreg():
            file = archive.extractfile(member)
            assert file is not None
            node.content = _content(file.read())
        self.nodes[name] = node

    def _remove(self, name: str, *, itself: bool = True, children: bool = True) -> None:
        prefix = f"{name}/" if name else ""
        for path in list(self.nodes):
            if (itself and path == name) or (children and path.startswith(prefix)):
                del self.nodes[path]

    def shown(self) -> dict[str, dict[str, Any]]:
        """Every path, and what is compared of it."""
        for name in sorted(self.nodes):
            self.nodes[name].names.append(name)
        return {name: node.shown() for name, node in sorted(self.nodes.items())}


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {
        tarfile.DIRTYPE: "directory",
        tarfile.SYMTYPE: "link",
        tarfile.FIFOTYPE: "pipe",
        tarfile.CHRTYPE: f"character {member.devmajor}:{member.devminor}",
        tarfile.BLKTYPE: f"block {member.devmajor}:{member.devminor}",
    }
    return kinds.get(member.type, "file")


def _content(content: bytes) -> str:
    if len(content) > 200:
        return hashlib.sha256(content).hexdigest()
    return content.decode("utf-8", "backslashreplace")


def _image(archive: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Files and configuration of an image in docker's archive form, which ours has as well."""
    members = read_members(archive)
    (table,) = json.loads(members["manifest.json"])
    tree = Tree()
    for name in table["Layers"]:
        content = members[name]
        tree.apply(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    config = json.loads(members[table["Config"]])["config"]
    return tree.shown(), {key: _plain(key, config.get(key)) for key in KEYS}


def _plain(key: str, value: Any) -> Any:
    if key == "Labels":
        value = {k: v for k, v in (value or {}).items() if not k.startswith("io.buildah.")}
    return value or None


def _differences(build: str) -> set[str]:
    """What may differ, by the table."""
    table = (FOLDER / "README.md").read_text()
    return {what for name, what in _ROW.findall(table) if name == build}


@pytest.fixture(scope="module")
def buildah(public_root: Path) -> Buildah:
    """buildah, with storage of its own."""
    directory = public_root / "conformance"
    directory.mkdir()
    return Buildah(directory)


@pytest.mark.parametrize("build", BUILDS)
def test_files_and_configuration_are_those_of_buildah(
    build: str, buildah: Buildah, as_root: Pybuild
) -> None:
    shutil.copytree(FOLDER / build, as_root.context, symlinks=True, dirs_exist_ok=True)
    shutil.copyfile(BUSYBOX, as_root.context / "busybox")
    (as_root.context / "busybox").chmod(0o755)
    prepare = as_root.context / "prepare"
    if prepare.exists():
        subprocess.run(["sh", "-eu", prepare], cwd=as_root.context, check=True)
        prepare.unlink()
    theirs = as_root.work / "theirs.tar"
    name = f"localhost/{build}"
    isolation = ("--isolation", "chroot", "--format", "docker", "--layers=false", "--pull=false")
    made = buildah("bud", *isolation, "-t", name, as_root.context)
    assert made.status == 0, made.stderr
    pushed = buildah("push", name, f"docker-archive:{theirs}")
    assert pushed.status == 0, pushed.stderr
    ended = as_root.run(as_root.context)
    assert ended.status == 0, ended.stderr
    (files, config), (their_files, their_config) = _image(as_root.output), _image(theirs)
    differ = {
        name: (files.get(name), their_files.get(name))
        for name in files.keys() | their_files.keys()
        if files.get(name) != their_files.get(name)
    } | {
        f"config:{key}": (config[key], their_config[key])
        for key in KEYS
        if config[key] != their_config[key]
    }
    allowed = _differences(build)
    shown = "\n".join(
        f"{name}:\n  ours    {ours}\n  buildah {theirs}"
        for name, (ours, theirs) in sorted(differ.items())
        if name not in allowed
    )
    if shown:
        pytest.fail(f"without a row in the table:\n{shown}", pytrace=False)
    assert allowed - differ.keys() == set(), "the table says more than there is"
