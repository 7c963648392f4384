"""A registry that has all that is optional, and forgives nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.oci.digest import Digest
from runtime.registry import blob_upload
from runtime.registry.push import push
from runtime.registry.reference import Reference, parse_reference
from runtime.registry.referrers import EMPTY, EMPTY_TYPE, artifact_manifest, referrers
from tests.claims import registry_fault
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.fake_registry import FakeRegistry
from tests.runtime.registry.fault_proxy import Exchange, FaultProxy
from tests.runtime.registry.layouts import MANIFEST, Layout, Table, descriptor

SIZE = 300_000


@pytest.fixture
def fake(proxy: FaultProxy) -> FakeRegistry:
    """The registry, behind the proxy's other rules."""
    made = FakeRegistry()
    proxy.on(made, times=0)
    return made


@pytest.fixture
def name(proxy: FaultProxy) -> Reference:
    """Where images go."""
    return parse_reference(f"{proxy.host}/app:v1")


@pytest.fixture
def layout() -> Layout:
    """To be filled."""
    return Layout()


@pytest.fixture
def image(layout: Layout) -> Table:
    """An image with one large layer."""
    return layout.image(layout.layer("a", SIZE))


@pytest.fixture
def send(
    fake: FakeRegistry, name: Reference, layout: Layout, image: Table, tmp_path: Path, clock: Clock
) -> Callable[[], None]:
    """Push the image; afterwards it is there whole."""

    def do() -> None:
        push(descriptor(image), layout.source(tmp_path / "s"), name, settings=clock.settings)
        check(fake, layout, image)

    return do


def check(fake: FakeRegistry, layout: Layout, image: Table) -> None:
    """Whether everything is there, and no upload is left over."""
    there = {**fake.blobs, **{digest: content for digest, (_, content) in fake.manifests.items()}}
    assert {name: there[name] for name in layout.blobs} == layout.blobs
    assert fake.manifests["v1"][1] == layout.blobs[image["digest"]]
    assert fake.uploads == {}


@registry_fault
@pytest.mark.parametrize("cuts", [[100_000], [100_000, 150_000], [2, 299_000]])
def test_what_was_cut_is_gone_on_with_to_the_byte(
    proxy: FaultProxy,
    fake: FakeRegistry,
    send: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    cuts: list[int],
) -> None:
    monkeypatch.setattr(blob_upload, "PROGRESS", 1)
    fake.cuts = list(cuts)
    send()
    assert fake.cuts == []
    sent = [one for one in proxy.requests if one.method in ("PATCH", "PUT")]
    resumed = [one.headers["Content-Range"] for one in sent if one.method == "PATCH"]
    assert resumed
    assert not any(text.startswith("0-") for text in resumed)


def test_pieces_are_as_large_as_is_asked_for(
    proxy: FaultProxy,
    fake: FakeRegistry,
    send: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blob_upload, "_PIECE", 1)
    fake.least = 100_000
    send()
    large = [one for one in proxy.requests if one.headers["Content-Length"] == "100000"]
    assert len(large) == 3


@registry_fault
@pytest.mark.parametrize("lost", [False, True])
def test_a_piece_without_an_answer_is_not_sent_twice(
    proxy: FaultProxy,
    fake: FakeRegistry,
    send: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:
    monkeypatch.setattr(blob_upload, "_PIECE", 1)
    fake.least = 100_000

    def lose(exchange: Exchange) -> None:
        if lost:  # the registry has it, and nobody hears of that
            fake.respond(exchange)
        exchange.cut()

    proxy.rules.clear()
    proxy.on(lose, "PATCH", after=1)
    proxy.on(fake, times=0)
    send()
    ranges = [one.headers["Content-Range"] for one in proxy.requests if one.method == "PATCH"]
    assert len(ranges) == len(set(ranges)) + (not lost)


def test_the_registrys_own_list_of_referrers_is_used(
    proxy: FaultProxy,
    fake: FakeRegistry,
    name: Reference,
    layout: Layout,
    image: Table,
    tmp_path: Path,
    clock: Clock,
) -> None:
    layout.add(EMPTY, EMPTY_TYPE)
    layer = descriptor(layout.add(b"an sbom", "application/spdx+json"))
    document = artifact_manifest(descriptor(image), "application/spdx+json", (layer,))
    artifact = layout.add(document, MANIFEST)
    source = layout.source(tmp_path / "s")
    push(descriptor(image), source, name, settings=clock.settings)
    by_digest = name.replace(tag="", digest=Digest.parse(artifact["digest"]))
    push(descriptor(artifact), source, by_digest, settings=clock.settings)
    check(fake, layout, image)
    [found] = referrers(name, descriptor(image).digest, settings=clock.settings)
    assert found.descriptor.digest == artifact["digest"]
    assert proxy.asked(path="/manifests/sha256-") == []
