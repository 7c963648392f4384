"""Artifacts are found from what they are about, whether the registry knows of that or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import RegistryError
from runtime.oci.digest import Digest
from runtime.oci.image import Descriptor
from runtime.registry.push import push
from runtime.registry.reference import Reference, parse_reference
from runtime.registry.referrers import EMPTY, EMPTY_TYPE, artifact_manifest, referrers
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.fault_proxy import (
    Answer,
    Exchange,
    FaultProxy,
    header,
    status,
)
from tests.runtime.registry.layouts import INDEX, MANIFEST, Layout, Table, descriptor
from tests.runtime.registry.registries import Registry, skopeo
from tests.support import to_json

SBOM, OTHER = "application/spdx+json", "application/vnd.example.signature"


class Room:
    """A layout with an image, and artifacts about it."""

    def __init__(self, tmp_path: Path, clock: Clock) -> None:
        self.layout = Layout()
        self.image = self.layout.image(self.layout.layer(str(tmp_path)))
        self.subject = descriptor(self.image)
        self.clock = clock
        self._tmp_path = tmp_path
        self._count = 0

    def artifact(self, content: str, kind: str = SBOM) -> Table:
        """An artifact about the image."""
        self.layout.add(EMPTY, EMPTY_TYPE)
        layer = descriptor(self.layout.add(content.encode(), kind))
        document = artifact_manifest(self.subject, kind, (layer,), (("made", content),))
        return self.layout.add(document, MANIFEST)

    def push(self, table: Table, name: Reference) -> None:
        """Push the image with its tag, or an artifact without one."""
        self._count += 1
        source = self.layout.source(self._tmp_path / f"source-{self._count}")
        if table is not self.image:
            name = name.replace(tag="", digest=Digest.parse(table["digest"]))
        push(descriptor(table), source, name, settings=self.clock.settings)

    def referrers(self, name: Reference, kind: str = "") -> list[tuple[str, str]]:
        """What is found about the image: digests and types."""
        found = referrers(name, self.subject.digest, kind, settings=self.clock.settings)
        return [(one.descriptor.digest, one.artifact_type) for one in found]


@pytest.fixture
def room(tmp_path: Path, clock: Clock) -> Room:
    """An image that no other test has."""
    return Room(tmp_path, clock)


@pytest.mark.needs_program("skopeo")
def test_where_the_registry_keeps_no_list_the_client_does(registry: Registry, room: Room) -> None:
    name = registry.name("referrers/kept:v1")
    room.push(room.image, name)
    assert room.referrers(name) == []
    sbom, signature = room.artifact("a"), room.artifact("b", OTHER)
    for table in (sbom, signature, sbom):
        room.push(table, name)
    assert room.referrers(name) == [(sbom["digest"], SBOM), (signature["digest"], OTHER)]
    assert room.referrers(name, OTHER) == [(signature["digest"], OTHER)]
    tag = room.image["digest"].replace(":", "-")
    found = json.loads(skopeo("inspect", "--raw", "--tls-verify=false",
                              f"docker://{name.name}:{tag}").stdout)  # fmt: skip
    assert found["mediaType"] == INDEX
    assert found["manifests"][0] == {
        **{name: sbom[name] for name in ("mediaType", "digest", "size")},
        "artifactType": SBOM,
        "annotations": {"made": "a"},
    }
    assert registry.tag("referrers/kept", "v1") == room.image["digest"]


def test_an_artifact_of_an_index_is_listed_too(registry: Registry, room: Room) -> None:
    name = registry.name("referrers/index:v1")
    sbom = room.artifact("a")
    top = room.layout.index(room.image, sbom)
    room.image = top
    room.push(top, name)
    assert room.referrers(name) == [(sbom["digest"], SBOM)]


def test_where_the_registry_keeps_a_list_the_client_does_not(
    faults: FaultProxy, room: Room
) -> None:
    name = parse_reference(f"{faults.host}/referrers/listed:v1")
    sbom = room.artifact("a")
    faults.on(header("OCI-Subject", room.image["digest"]), "PUT", "/manifests/sha256:")
    room.push(room.image, name)
    room.push(sbom, name)
    assert faults.asked(path="/manifests/sha256-") == []


def test_the_list_of_the_registry_is_read_page_by_page(proxy: FaultProxy, room: Room) -> None:
    tables = [{**room.artifact(text), "artifactType": SBOM} for text in "abc"]
    path = f"/v2/app/referrers/{room.subject.digest}"
    for number, table in enumerate(tables, 1):
        page = to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [table]})
        link = {"Link": f'<{path}?page={number + 1}>; rel="next"'} if number < 3 else {}
        proxy.on(status(200, page, **link), path="/referrers/")
    name = parse_reference(f"{proxy.host}/app")
    assert room.referrers(name) == [(table["digest"], SBOM) for table in tables]
    assert proxy.asked() == [f"GET {path}"] + [f"GET {path}?page={n}" for n in (2, 3)]


def test_pages_without_end_are(proxy: FaultProxy, room: Room) -> None:
    page = to_json({"schemaVersion": 2, "manifests": []})
    proxy.on(status(200, page, Link='</v2/app/referrers/x>; rel="next"'), times=0)
    with pytest.raises(RegistryError, match="more than 100 pages"):
        room.referrers(parse_reference(f"{proxy.host}/app"))


@pytest.mark.parametrize("page", [b"{}", b"<html>", b'{"manifests":[7]}', b'{"manifests":[{}]}'])
def test_a_list_that_is_none_is_named(proxy: FaultProxy, room: Room, page: bytes) -> None:
    proxy.on(status(200, page), times=0)
    with pytest.raises(RegistryError, match=r"/referrers/sha256:|referrers of sha256:"):
        room.referrers(parse_reference(f"{proxy.host}/app"))


def test_a_tag_that_is_no_list_is_not_written_over(registry: Registry, room: Room) -> None:
    tag = room.image["digest"].replace(":", "-")
    room.push(room.image, registry.name(f"referrers/taken:{tag}"))
    with pytest.raises(RegistryError, match="an index of referrers was expected"):
        room.push(room.artifact("a"), registry.name("referrers/taken:v1"))
    assert registry.tag("referrers/taken", tag) == room.image["digest"]


@pytest.mark.parametrize("times", [1, 0])
def test_who_writes_the_list_at_the_same_time_is_noticed(
    registry: Registry, faults: FaultProxy, room: Room, times: int
) -> None:
    name = parse_reference(f"{faults.host}/referrers/race-{times}:v1")
    other = room.artifact("other")
    room.push(other, registry.name(f"referrers/race-{times}:v1"))

    def overwritten(exchange: Exchange) -> None:
        """Our list gets there, and at once another takes its place."""
        exchange.rfile.read(exchange.size)
        exchange.answer(Answer(201, {}, b""))

    faults.on(overwritten, "PUT", "/manifests/sha256-", times=times)
    mine = room.artifact("mine")
    if times:
        room.push(mine, name)
        assert {digest for digest, _ in room.referrers(name)} == {other["digest"], mine["digest"]}
    else:
        with pytest.raises(RegistryError, match="which somebody else writes too"):
            room.push(mine, name)


def test_a_manifest_of_an_artifact_says_all(room: Room) -> None:
    subject = Descriptor(
        media_type=MANIFEST, digest=room.subject.digest, size=1, annotations=(("a", "b"),)
    )
    found = json.loads(artifact_manifest(subject, SBOM, ()))
    assert found["subject"] == {
        "mediaType": MANIFEST,
        "digest": room.subject.digest,
        "size": 1,
    }
    assert found["config"]["mediaType"] == EMPTY_TYPE
    assert "annotations" not in found
