"""OCI layouts that tests make by hand, document by document, and give to other programs."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.image.blob import BlobRange
from runtime.oci.digest import Digest
from runtime.oci.image import Descriptor
from tests.support import compressed, digest_of, file, tar_of, to_json

OCI = "application/vnd.oci.image"
MANIFEST, INDEX = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json"
DOCKER = "application/vnd.docker"
DOCKER_MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_LIST = f"{DOCKER}.distribution.manifest.list.v2+json"
_LAYER = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
_MACHINE = os.uname().machine
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(_MACHINE, _MACHINE)
OTHER = "s390x"

Table = dict[str, Any]


@dataclass
class Layout:
    """Blobs by their digests, and descriptors as tables."""

    blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes, media_type: str, **members: object) -> Table:
        """Take a blob in; returns its descriptor."""
        self.blobs[digest_of(content)] = content
        size = len(content)
        return {
            "mediaType": media_type,
            "digest": digest_of(content),
            "size": size,
            **members,
        }

    def layer(self, name: str, size: int = 1000, compression: str = "gzip") -> tuple[Table, str]:
        """A layer with one file that does not compress; its descriptor and its diff_id."""
        tar = tar_of([file(name, random.Random(name).randbytes(size))])
        blob = compressed(tar, compression)
        return self.add(blob, f"{OCI}.layer.v1.tar{_LAYER[compression]}"), digest_of(tar)

    def image(
        self,
        *layers: tuple[Table, str],
        architecture: str = HERE,
        config: Mapping[str, Any] | None = None,
        **members: object,
    ) -> Table:
        """An image of layers; its manifest's descriptor, with the platform."""
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            **(config or {}),
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add(to_json(document), f"{OCI}.config.v1+json"),
            "layers": [descriptor for descriptor, _ in layers],
            **members,
        }
        platform = {"architecture": architecture, "os": "linux"}
        return self.add(to_json(manifest), MANIFEST, platform=platform)

    def index(self, *manifests: Table, **members: object) -> Table:
        """An index of manifests; its descriptor."""
        document = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": list(manifests),
            **members,
        }
        return self.add(to_json(document), INDEX)

    def write(self, root: Path, top: Table) -> Path:
        """The layout as a directory with one tag, v1."""
        (root / "blobs/sha256").mkdir(parents=True)
        for digest, content in self.blobs.items():
            (root / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(content)
        (root / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
        named = {**top, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
        index = {"schemaVersion": 2, "manifests": [named]}
        (root / "index.json").write_bytes(to_json(index))
        return root

    def source(self, root: Path) -> Source:
        """The blobs as files, for who pushes them."""
        root.mkdir(parents=True)
        for digest, content in self.blobs.items():
            (root / digest).write_bytes(content)
        return Source(root)


@dataclass
class Source:
    """Blobs in a directory."""

    root: Path

    def __call__(self, digest: Digest) -> BlobRange | None:
        path = self.root / digest
        if not path.exists():
            return None
        return BlobRange(path=str(path), offset=0, size=path.stat().st_size)


def descriptor(table: Table) -> Descriptor:
    """A descriptor as a value."""
    return Descriptor.from_json(table, "a test")


def layers_of(layout: Layout, table: Table) -> Sequence[str]:
    """The digests of a manifest's layers."""
    return [one["digest"] for one in json.loads(layout.blobs[table["digest"]])["layers"]]
