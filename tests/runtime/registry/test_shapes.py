"""Images of every shape that skopeo pushes are pulled, and those that we push it copies out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.image.source import stored_image
from runtime.oci.digest import Digest
from runtime.registry.pull import pull
from runtime.registry.push import push
from runtime.registry.reference import parse_reference
from runtime.store.store import Store
from tests.claims import shape
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.layouts import (
    DOCKER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HERE,
    OCI,
    OTHER,
    Layout,
    Table,
    descriptor,
)
from tests.runtime.registry.registries import Registry, skopeo
from tests.support import compressed, digest_of, file, tar_of, to_json

ODD = {"org.example": "", "x y": '\N{SNOWMAN} \\ " \n', "": "no key", "z" * 300: "{}"}
EMPTY = {
    "author": "", "created": "0001-01-01T00:00:00Z", "history": [], "os.features": [],
    "config": {"User": "", "Env": [], "Cmd": None, "Labels": {}, "Volumes": None,
               "WorkingDir": "", "Entrypoint": [""], "Unknown": {"a": [None, 0, ""]}},
}  # fmt: skip


def _both(layout: Layout, **choices: Any) -> list[Table]:
    """An image for this machine and one for another, which have a layer in common."""
    shared = layout.layer("shared", **choices)
    return [
        layout.image(shared, layout.layer(name), architecture=name, **choices)
        for name in (HERE, OTHER)
    ]


def _attested(layout: Layout) -> Table:
    image = layout.image(layout.layer("a"))
    statement = layout.add(to_json({"predicate": {}}), "application/vnd.in-toto+json")
    config = {"architecture": "unknown", "os": "unknown"}
    attestation = layout.image((statement, statement["digest"]), config=config)
    said = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    return layout.index(image, {**attestation, "platform": config, "annotations": said})


def _docker(layout: Layout, architecture: str = HERE) -> Table:
    """An image of docker's own types."""
    top = layout.image(layout.layer(architecture), architecture=architecture)
    text = layout.blobs.pop(top["digest"]).decode()
    for ours, theirs in (
        (f"{OCI}.manifest.v1+json", DOCKER_MANIFEST),
        (f"{OCI}.config.v1+json", f"{DOCKER}.container.image.v1+json"),
        (f"{OCI}.layer.v1.tar+gzip", f"{DOCKER}.image.rootfs.diff.tar.gzip"),
    ):
        text = text.replace(ours, theirs)
    return layout.add(text.encode(), DOCKER_MANIFEST, platform=top["platform"])


def _docker_list(layout: Layout) -> Table:
    images = [_docker(layout, name) for name in (HERE, OTHER)]
    return layout.add(
        to_json({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": images}), DOCKER_LIST
    )


def _compressed(kind: str) -> Callable[[Layout], Table]:
    return lambda layout: layout.image(
        layout.layer("a", 300_000, compression=kind), layout.layer("b", compression=kind)
    )


def _members(layout: Layout) -> Table:
    parts = [tar_of([file("a", b"a" * 1000)])[:-1024], tar_of([file("b", b"b" * 1000)])]
    blob = b"".join(compressed(part, "gzip") for part in parts)
    return layout.image((layout.add(blob, f"{OCI}.layer.v1.tar+gzip"), digest_of(b"".join(parts))))


def _empty_layer(layout: Layout) -> Table:
    tar = tar_of([])
    layer = layout.add(compressed(tar, "gzip"), f"{OCI}.layer.v1.tar+gzip")
    return layout.image((layer, digest_of(tar)))


def _annotated(layout: Layout) -> Table:
    table, diff_id = layout.layer("a")
    image = layout.image(({**table, "annotations": ODD}, diff_id), annotations=ODD)
    return layout.index({**image, "annotations": ODD}, annotations=ODD)


def _twice(layout: Layout) -> Table:
    layer = layout.layer("a")
    return layout.image(layer, layout.layer("b"), layer)


SHAPES: dict[str, Callable[[Layout], Table]] = {
    "plain": _compressed(""),
    "gzip": _compressed("gzip"),
    "zstd": _compressed("zstd"),
    "gzip of several members": _members,
    "docker's types": _docker,
    "docker's list": _docker_list,
    "index with layers in common": lambda layout: layout.index(*_both(layout)),
    "attestation": _attested,
    "no layer": lambda layout: layout.image(),
    "empty layer": _empty_layer,
    "a layer twice": _twice,
    "many layers": lambda layout: layout.image(*(layout.layer(f"{n}", 100) for n in range(25))),
    "empty members": lambda layout: layout.image(layout.layer("a"), config=EMPTY),
    "foreign annotations": _annotated,
}
every_shape = pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
pytestmark = [shape, every_shape, pytest.mark.needs_program("skopeo")]


def _written(root: Path, layout: Layout, top: Table) -> str:
    """A layout in skopeo's own form, which has no opinion of types."""
    root.mkdir()
    (root / "version").write_text("Directory Transport Version: 1.1\n")
    (root / "manifest.json").write_bytes(layout.blobs[top["digest"]])
    for digest, content in layout.blobs.items():
        name = digest.removeprefix("sha256:")
        for suffix in ("", ".manifest.json"):
            (root / f"{name}{suffix}").write_bytes(content)
    return f"dir:{root}"


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test has."""
    kind = list(SHAPES.values()).index(request.getfixturevalue("make"))
    return f"shapes/{request.node.originalname}-{kind}".replace("_", "-")


def test_what_skopeo_pushes_is_pulled(
    registry: Registry,
    repository: str,
    make: Callable[[Layout], Table],
    tmp_path: Path,
    clock: Clock,
) -> None:
    layout, store = Layout(), Store(str(tmp_path / "store"))
    top = make(layout)
    name = f"{registry.host}/{repository}:v1"
    skopeo("copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
           _written(tmp_path / "in", layout, top), f"docker://{name}")  # fmt: skip
    reference = parse_reference(name)
    counted: list[tuple[int, int]] = []
    found = pull(
        store,
        reference,
        settings=clock.settings,
        count=lambda size, of: counted.append((size, of)),
    )
    assert counted[-1][0] == counted[-1][1] > 0
    inside = json.loads(layout.blobs[top["digest"]]).get("manifests", [top])
    assert found.digest == inside[0]["digest"]
    for one in inside[1:]:
        pull(store, reference.at(Digest.parse(one["digest"])), settings=clock.settings)
    blobs = (Path(store.root) / "blobs/sha256").iterdir()
    assert {f"sha256:{path.name}": path.read_bytes() for path in blobs} == layout.blobs
    for layer in stored_image(store, found, "x").layers:
        layer.verify()
    assert list((Path(store.root) / "downloads").iterdir()) == []


def test_what_we_push_is_what_skopeo_copies_out(
    registry: Registry,
    repository: str,
    make: Callable[[Layout], Table],
    tmp_path: Path,
    clock: Clock,
) -> None:
    layout = Layout()
    top = make(layout)
    name = f"{registry.host}/{repository}:v1"
    counted: list[tuple[int, int]] = []
    push(
        descriptor(top),
        layout.source(tmp_path / "source"),
        parse_reference(name),
        settings=clock.settings,
        count=lambda size, of: counted.append((size, of)),
    )
    documents = [top, *json.loads(layout.blobs[top["digest"]]).get("manifests", [])]
    everything = sum(map(len, layout.blobs.values())) - sum(one["size"] for one in documents)
    assert counted[-1] == (everything, everything)
    out = tmp_path / "out"
    skopeo("copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false",
           f"docker://{name}", f"dir:{out}")  # fmt: skip
    files = [path.read_bytes() for path in out.iterdir() if path.name != "version"]
    assert {digest_of(content): content for content in files} == layout.blobs
    assert (out / "manifest.json").read_bytes() == layout.blobs[top["digest"]]
