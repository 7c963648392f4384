"""What an image holds, read by tarfile and json alone: files, and how they are to be run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from tests.support import read_members

OLD = (
    1_000_000_000  # a file with an earlier time has it from its source: times of builds are later
)
_RUNNING = (
    "Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild Shell StopSignal User Volumes "
    "WorkingDir"
).split()
_TOP = "author architecture os variant".split()
_KEPT_XATTRS = ("security.capability", "user.")


@dataclass(slots=True)
class Node:
    """One file; several names are hard links to it."""

    kind: str
    mode: str
    owner: str
    time: int | None
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
            "time": self.time,
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
            time=int(member.mtime) if member.mtime < OLD else None,
            xattrs={
                key.removeprefix("SCHILY.xattr."): value
                for key, value in member.pax_headers.items()
                if key.removeprefix("SCHILY.xattr.").startswith(_KEPT_XATTRS)
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


def read_image(archive: Path) -> dict[str, Any]:
    """Every path, and `config:KEY`, of an image in docker's archive form, which ours has too."""
    members = read_members(archive)
    (table,) = json.loads(members["manifest.json"])
    tree = Tree()
    for name in table["Layers"]:
        tree.apply(_plain_tar(members[name]))
    config = json.loads(members[table["Config"]])
    keys = {key: config.get(key) for key in _TOP}
    keys |= {key: _plain(key, config["config"].get(key)) for key in _RUNNING}
    return tree.shown() | {f"config:{key}": value or None for key, value in keys.items()}


def _plain_tar(layer: bytes) -> bytes:
    if layer.startswith(b"\x1f\x8b"):
        return gzip.decompress(layer)
    if layer.startswith(zstandard.FRAME_HEADER):
        return zstandard.ZstdDecompressor().decompressobj().decompress(layer)
    return layer


def _plain(key: str, value: Any) -> Any:
    if key == "Labels":
        return {k: v for k, v in (value or {}).items() if not k.startswith("io.buildah.")}
    return value
