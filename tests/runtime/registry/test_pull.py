"""Images come into the store as they are in the registry, whatever their shape; lies do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from runtime.errors import ImageError, PyrunError, RegistryError, StoreError
from runtime.image.source import stored_image
from runtime.oci.digest import Digest
from runtime.oci.image import Descriptor
from runtime.registry.credentials import Credentials
from runtime.registry.manifests import resolve
from runtime.registry.pull import pull
from runtime.registry.reference import Reference, parse_reference
from runtime.store.store import Store
from tests.claims import detected_lie, kept_credential, registry_fault
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.fault_proxy import (
    Act,
    Answer,
    Exchange,
    FaultProxy,
    changed,
    chunked,
    cut_answer,
    dropped,
    flipped,
    gzipped,
    header,
    running_proxy,
    status,
)
from tests.runtime.registry.layouts import (
    DOCKER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HERE,
    INDEX,
    MANIFEST,
    OCI,
    OTHER,
    Layout,
    Table,
    layers_of,
)
from tests.runtime.registry.registries import ALICE, PASSWORD, USER, Registry, skopeo
from tests.runtime.registry.token_server import TokenServer
from tests.support import compressed, digest_of, file, run, tar_of, to_json, wait_for

BLOBS, MANIFESTS = "/blobs/sha256:", "/manifests/"


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture
def layout() -> Layout:
    """To be filled."""
    return Layout()


def publish(layout: Layout, top: Table, registry: Registry, name: str, tmp_path: Path) -> str:
    """Let skopeo push a layout, to a repository of the test's own."""
    place = layout.write(tmp_path / f"layout-{name}", top)
    target = f"docker://{registry.host}/{name}:v1"
    skopeo("copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
           f"oci:{place}:v1", target)  # fmt: skip
    return f"{registry.host}/{name}:v1"


def blobs_of(store: Store) -> dict[str, bytes]:
    """What the store has, by digest."""
    folder = Path(store.root) / "blobs/sha256"
    return {f"sha256:{path.name}": path.read_bytes() for path in folder.iterdir()}


def check(store: Store, found: Descriptor) -> None:
    """Whether the image can be opened, and each of its layers is what was promised."""
    for layer in stored_image(store, found, "x").layers:
        layer.verify()
    assert list((Path(store.root) / "downloads").iterdir()) == []


@pytest.mark.needs_program("skopeo")
def test_of_an_index_one_platform_is_pulled(
    registry: Registry, layout: Layout, kept: Store, tmp_path: Path
) -> None:
    images = {name: layout.image(layout.layer(name), architecture=name) for name in (HERE, OTHER)}
    top = layout.index(*images.values())
    reference = parse_reference(publish(layout, top, registry, "pull-index", tmp_path))
    assert resolve(reference).digest == top["digest"]
    found = pull(kept, reference)
    assert found.digest == images[HERE]["digest"]
    assert set(blobs_of(kept)) & {one["digest"] for one in (top, *images.values())} == {
        top["digest"],
        images[HERE]["digest"],
    }
    check(kept, found)
    other = pull(kept, reference, f"linux/{OTHER}")
    assert other.digest == images[OTHER]["digest"]
    assert blobs_of(kept) == layout.blobs
    with pytest.raises(ImageError, match=r"no image for linux/riscv64, only for linux/"):
        pull(kept, reference, "linux/riscv64")


def test_indexes_may_be_nested(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    image = layout.image(layout.layer("a"))
    inner = layout.index(image, layout.image(layout.layer("b"), architecture=OTHER))
    serve(proxy, layout, layout.index(inner))
    found = pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings)
    assert found.digest == image["digest"]
    check(kept, found)


def test_a_manifest_may_have_4_mib_and_no_more(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    bare = layout.image(layout.layer("a"), annotations={"a": ""})
    room = (4 << 20) - bare["size"]
    top = layout.image(layout.layer("a"), annotations={"a": "x" * room})
    assert top["size"] == 4 << 20
    serve(proxy, layout, top)
    reference = parse_reference(f"{proxy.host}/app")
    check(kept, pull(kept, reference, settings=clock.settings))
    proxy.rules.clear()
    serve(proxy, layout, layout.image(layout.layer("a"), annotations={"a": "x" * (room + 1)}))
    with pytest.raises(RegistryError, match="more than 4194304 bytes, too large"):
        pull(kept, reference, settings=clock.settings)


@pytest.mark.needs_program("skopeo")
def test_with_a_password_and_with_tokens(
    closed_registry: Registry,
    token_registry: Registry,
    tokens: TokenServer,
    layout: Layout,
    kept: Store,
    tmp_path: Path,
) -> None:
    top = layout.image(layout.layer("a"))
    place = layout.write(tmp_path / "layout", top)
    for registry in (closed_registry, token_registry):
        skopeo("copy", "-q", "--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}",
               f"oci:{place}:v1", f"docker://{registry.host}/a/b:v1")  # fmt: skip
        reference = registry.name("a/b:v1")
        assert resolve(reference, credentials=ALICE).digest == top["digest"]
        check(kept, pull(kept, reference, credentials=ALICE))
        for digest in layout.blobs:
            Path(kept.blob(Digest.parse(digest))).unlink()


# --- how often is asked -----------------------------------------------------------------------


def serve(proxy: FaultProxy, layout: Layout, top: Table, repository: str = "app") -> None:
    """Let the proxy itself be a registry that has a layout, whatever is wrong in it."""
    types = {one["digest"]: one["mediaType"] for one in _descriptors(layout)}
    types[top["digest"]] = top["mediaType"]

    def answer(digest: str) -> Answer:
        content = layout.blobs[digest]
        headers = {"Content-Type": types.get(digest, MANIFEST), "Docker-Content-Digest": digest}
        headers["Content-Length"] = str(len(content))
        return Answer(200, headers, content)

    for digest in layout.blobs:
        proxy.on(
            lambda exchange, digest=digest: exchange.answer(answer(digest)),  # type: ignore[misc]
            path=f"{repository}/(blobs|manifests)/{digest}$",
            times=0,
        )
    proxy.on(
        lambda exchange: exchange.answer(answer(top["digest"])),
        path=f"{repository}/manifests/(v1|latest)$",
        times=0,
    )


def _descriptors(layout: Layout) -> Iterator[Table]:
    for content in layout.blobs.values():
        try:
            table = json.loads(content)
        except ValueError:
            continue
        yield from table.get("manifests", ())


@pytest.fixture
def image(layout: Layout) -> Table:
    """An image of two layers for this machine, in an index."""
    return layout.image(layout.layer("a", 300_000), layout.layer("b"))


def test_resolving_takes_one_round_trip(
    proxy: FaultProxy, layout: Layout, image: Table, clock: Clock
) -> None:
    serve(proxy, layout, image)
    found = resolve(parse_reference(f"{proxy.host}/app"), settings=clock.settings)
    assert (found.digest, found.size, found.media_type) == (
        image["digest"],
        image["size"],
        MANIFEST,
    )
    assert proxy.asked() == ["HEAD /v2/app/manifests/latest"]


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize(
    "act",
    [
        header("Docker-Content-Digest", None),
        header("Docker-Content-Digest", "sha512:" + "0" * 128),
        header("Content-Type", None),
        status(405),
    ],
)
def test_a_registry_that_says_too_little_is_asked_for_the_manifest(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    tmp_path: Path,
    act: object,
) -> None:
    publish(layout, image, registry, f"resolve-{id(act)}", tmp_path)
    faults.on(act, "HEAD")  # type: ignore[arg-type]
    found = resolve(parse_reference(f"{faults.host}/resolve-{id(act)}:v1"))
    assert found.digest == image["digest"]
    assert [one.method for one in faults.requests] == ["HEAD", "GET"]


def test_an_image_that_is_there_needs_no_registry(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> None:
    top = layout.index(image, layout.image(architecture=OTHER))
    serve(proxy, layout, top)
    reference = parse_reference(f"{proxy.host}/app")
    pull(kept, reference, settings=clock.settings)
    asked = len(proxy.requests)
    pinned = reference.at(resolve(reference, settings=clock.settings).digest)
    assert len(proxy.requests) == asked + 1
    assert pull(kept, pinned, settings=clock.settings).digest == image["digest"]
    assert len(proxy.requests) == asked + 1


def test_a_layer_that_is_there_is_not_fetched(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> None:
    serve(proxy, layout, image)
    present, missing = layers_of(layout, image)
    Path(kept.blob(Digest.parse(present))).write_bytes(layout.blobs[present])
    check(kept, pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings))
    assert not proxy.asked(path=present)
    assert proxy.asked(path=missing)


def test_a_layer_that_is_there_twice_is_fetched_once(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    layer = layout.layer("a")
    serve(proxy, layout, layout.image(layer, layer))
    check(kept, pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings))
    assert len(proxy.asked(path=BLOBS)) == 2


# --- faults -----------------------------------------------------------------------------------


@dataclass
class Served:
    """An image in a registry behind a proxy, and a store that it is pulled into."""

    faults: FaultProxy
    behind: FaultProxy
    layout: Layout
    image: Table
    store: Store
    clock: Clock

    @property
    def name(self) -> Reference:
        """What is pulled."""
        return parse_reference(f"{self.faults.host}/app")

    def pull(self, credentials: Credentials | None = None) -> Descriptor:
        """Pull it, whatever comes of that."""
        return pull(self.store, self.name, credentials=credentials, settings=self.clock.settings)

    def pulls(self, credentials: Credentials | None = None) -> None:
        """Pull it; it must be as it is in the registry."""
        check(self.store, self.pull(credentials))
        assert blobs_of(self.store) == self.layout.blobs


@pytest.fixture
def served(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> Iterator[Served]:
    """The image of two layers."""
    serve(proxy, layout, image)
    with running_proxy(proxy.host) as faults:
        yield Served(faults, proxy, layout, image, kept, clock)


@registry_fault
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("path", [BLOBS, MANIFESTS])
def test_what_breaks_off_is_completed(served: Served, length: bool, path: str) -> None:
    # Where no size is known, what breaks off looks like something damaged: once.
    served.faults.on(cut_answer(100, length=length), path=path, times=1 + length)
    served.pulls()


@registry_fault
@pytest.mark.parametrize("path", [BLOBS, MANIFESTS])
@pytest.mark.parametrize("most", [None, 200, 200_000])
def test_what_comes_in_chunks_is_read_to_its_end(
    served: Served, path: str, most: int | None
) -> None:
    served.faults.on(chunked(most), path=path, times=2 if most else 0)
    served.pulls()


@registry_fault
@pytest.mark.needs_program("skopeo")
def test_the_rest_of_a_broken_download_is_asked_for(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    kept: Store,
    clock: Clock,
    tmp_path: Path,
) -> None:
    publish(layout, image, registry, "resumed", tmp_path)
    large = layers_of(layout, image)[0]
    faults.on(cut_answer(200_000), path=large)
    check(kept, pull(kept, parse_reference(f"{faults.host}/resumed:v1"), settings=clock.settings))
    ranges = [one.headers["Range"] for one in faults.requests if large in one.path]
    assert ranges == [None, "bytes=200000-"]


@registry_fault
@pytest.mark.needs_program("skopeo")
def test_a_later_pull_goes_on_where_one_was_broken_off(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    kept: Store,
    clock: Clock,
    tmp_path: Path,
) -> None:
    publish(layout, image, registry, "resumed-later", tmp_path)
    reference = parse_reference(f"{faults.host}/resumed-later:v1")
    large = layers_of(layout, image)[0]
    faults.on(cut_answer(200_000), path=large)
    faults.on(dropped, path=large, times=3)
    with pytest.raises(RegistryError, match=r"\(3 tries\)"):
        pull(kept, reference, settings=clock.settings)
    part = Path(kept.root) / "downloads" / f"{large.removeprefix('sha256:')}.part"
    assert part.read_bytes() == layout.blobs[large][:200_000]
    check(kept, pull(kept, reference, settings=clock.settings))
    asked = [one.headers["Range"] for one in faults.requests if large in one.path]
    assert asked == [None] + ["bytes=200000-"] * (len(asked) - 1)


@registry_fault
@pytest.mark.needs_program("skopeo")
def test_a_part_that_is_damaged_is_fetched_anew(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    kept: Store,
    clock: Clock,
    tmp_path: Path,
) -> None:
    publish(layout, image, registry, "damaged", tmp_path)
    large = layers_of(layout, image)[0]
    part = Path(kept.root) / "downloads" / f"{large.removeprefix('sha256:')}.part"
    for content in (b"x" * 100, b"x" * len(layout.blobs[large]), b"x" * 400_000):
        part.write_bytes(content)
        found = pull(kept, parse_reference(f"{faults.host}/damaged:v1"), settings=clock.settings)
        check(kept, found)
        Path(kept.blob(Digest.parse(large))).unlink()


@registry_fault
def test_a_server_that_ignores_the_range_starts_anew(served: Served) -> None:
    # The one behind knows of no ranges.
    served.faults.on(cut_answer(200_000), path=layers_of(served.layout, served.image)[0])
    served.pulls()


@registry_fault
@pytest.mark.parametrize(
    "act",
    [status(206, b"x", Content_Range="bytes 7-7/9"), status(206, b"x"), status(416)],
    ids=["other", "unsaid", "416"],
)
def test_a_part_that_nobody_asked_for_is_not_taken(served: Served, act: Act) -> None:
    served.faults.on(act, path=BLOBS)
    served.pulls()


@detected_lie
@pytest.mark.parametrize("path", [BLOBS, MANIFESTS])
def test_a_flipped_byte_is_fetched_once_more_and_then_named(served: Served, path: str) -> None:
    served.faults.on(flipped(50), path=path, times=0)
    with pytest.raises(RegistryError, match=rf"{path}?.*: its digest is sha256:"):
        served.pull()
    assert not (set(blobs_of(served.store)) - set(served.layout.blobs))
    served.faults.rules.clear()
    served.faults.on(flipped(50), path=path)
    served.pulls()
    assert served.clock.waits == []


@registry_fault
@pytest.mark.parametrize("path", [BLOBS, MANIFESTS])
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (changed(gzipped), "sent with Content-Encoding 'gzip', unasked"),
        (status(404), "404 Not Found"),
        (status(403), "403 Forbidden"),
        (
            status(200, b"<html>an error</html>", Content_Type="text/html"),
            "digest|text/html|bytes",
        ),
    ],
    ids=["gzip", "404", "403", "html"],
)
def test_an_answer_that_is_not_what_was_asked_for_is_named(
    served: Served, path: str, act: Act, words: str
) -> None:
    served.faults.on(act, path=path, times=0)
    where = f"GET http://{served.faults.host}/v2/app"
    with pytest.raises(RegistryError, match=f"{where}.*({words})"):
        served.pull()


@registry_fault
def test_an_answer_that_trickles_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def monotonic() -> float:
        now[0] += 61
        return now[0]

    monkeypatch.setattr("runtime.registry.wire.time.monotonic", monotonic)
    monkeypatch.setattr("runtime.registry.wire._SLOWEST", 1 << 40)
    with pytest.raises(RegistryError, match=r"the answer trickles: \d+ bytes in 60 seconds"):
        served.pull()


@detected_lie
def test_a_wrong_word_about_the_digest_is_not_believed(served: Served) -> None:
    act = header("Docker-Content-Digest", "sha256:" + "0" * 64)
    served.faults.on(act, path=MANIFESTS, times=0)
    digest = served.image["digest"]
    with pytest.raises(RegistryError, match=f"its digest is {digest}, not sha256:0"):
        served.pull()
    with pytest.raises(RegistryError, match="the registry calls it sha256:0000"):
        resolve(served.name.at(Digest.parse(digest)), settings=served.clock.settings)


@registry_fault
def test_one_failure_ends_the_waiting_of_others(served: Served) -> None:
    large, small = layers_of(served.layout, served.image)
    waits = Event()

    def wait_long(exchange: Exchange) -> None:
        status(503, Retry_After="100")(exchange)
        waits.set()

    def fail(exchange: Exchange) -> None:
        waits.wait()
        status(404)(exchange)

    served.faults.on(wait_long, path=large)
    served.faults.on(fail, path=small)
    # Nobody asks for the large one again: who waited for that was told to stop.
    with pytest.raises(RegistryError, match=f"{small}: 404"):
        pull(served.store, served.name)
    assert len(served.faults.asked(path=large)) == 1


@kept_credential
def test_a_layer_elsewhere_is_fetched_without_credentials(served: Served) -> None:
    faults = served.faults
    faults.on(status(401, WWW_Authenticate='Basic realm="x"'), path=MANIFESTS)
    for digest in served.layout.blobs:
        location = f"http://{served.behind.host}/v2/app/blobs/{digest}"
        faults.on(status(307, Location=location), path=f"/blobs/{digest}")
    served.pulls(ALICE)
    assert faults.requests[-1].headers["Authorization"] == ALICE.basic
    redirected = [one for one in served.behind.requests if BLOBS in one.path]
    assert len(redirected) == 3
    assert {one.headers["Authorization"] for one in redirected} == {None}


def test_whoever_wants_the_same_blob_at_the_same_time_waits_for_it(served: Served) -> None:
    large, faults = layers_of(served.layout, served.image)[0], served.faults
    other_is_there = Event()

    def slow(exchange: Exchange) -> None:
        other_is_there.wait()
        exchange.answer(exchange.forward())

    faults.on(slow, path=large, times=0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.pull)
        wait_for(lambda: bool(faults.asked(path=large)))
        last = pool.submit(served.pull)
        # It has asked for the manifest, and the large layer is what it asks for next.
        wait_for(lambda: len(faults.asked(path=MANIFESTS)) == 2)
        other_is_there.set()
        assert first.result().digest == last.result().digest == served.image["digest"]
    assert len(faults.asked(path=large)) == 1
    check(served.store, first.result())


def test_a_store_that_lacks_a_directory_is_named(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> None:
    serve(proxy, layout, image)
    for folder in ("blobs/sha256", "tmp"):
        (Path(kept.root) / folder).rename(Path(kept.root) / "gone")
        with pytest.raises(StoreError, match=f"{kept.root}/.*: No such file or directory"):
            pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings)
        (Path(kept.root) / "gone").rename(Path(kept.root) / folder)


@pytest.mark.needs_root
def test_a_full_disk_is_named_and_leaves_the_store_usable(
    proxy: FaultProxy, layout: Layout, clock: Clock, public: Path
) -> None:
    image = layout.image(layout.layer("a", 3 << 20))
    serve(proxy, layout, image)
    reference = parse_reference(f"{proxy.host}/app")
    place = public / "small"
    place.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place])
    assert mounted.status == 0, mounted.stderr
    try:
        store = Store(str(place / "store"))
        with pytest.raises(StoreError, match=r"\.part: No space left on device"):
            pull(store, reference, settings=clock.settings)
        assert run(["mount", "-o", "remount,size=8m", place]).status == 0
        check(store, pull(store, reference, settings=clock.settings))
        del store
    finally:
        run(["umount", "-l", place])


# --- lies -------------------------------------------------------------------------------------


def lie(proxy: FaultProxy, layout: Layout, top: Table, kept: Store, clock: Clock) -> str:
    """What is said of an image that is not what it says."""
    serve(proxy, layout, top)
    with pytest.raises(PyrunError) as caught:
        pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings)
    return caught.value.message


@detected_lie
@pytest.mark.parametrize("change", [-1, 1, 1 << 40])
def test_a_wrong_size_is_refused(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock, change: int
) -> None:
    layer, diff_id = layout.layer("a")
    top = layout.image(({**layer, "size": layer["size"] + change}, diff_id))
    assert f"the manifest says {layer['size'] + change}" in lie(proxy, layout, top, kept, clock)


@detected_lie
def test_a_wrong_size_of_a_manifest_is_refused(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> None:
    top = layout.index({**image, "size": image["size"] - 1})
    assert f"the index says {image['size'] - 1}" in lie(proxy, layout, top, kept, clock)


@detected_lie
def test_a_diff_id_of_another_layer_is_refused(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    plain, _ = layout.layer("a", compression="")
    top = layout.image((plain, digest_of(b"")))
    assert "diff_id is" in lie(proxy, layout, top, kept, clock)


@detected_lie
def test_a_diff_id_of_another_compressed_layer_is_refused_when_it_is_read(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    squeezed, _ = layout.layer("a")
    serve(proxy, layout, layout.image((squeezed, digest_of(b""))))
    found = pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings)
    [layer] = stored_image(kept, found, "x").layers
    with pytest.raises(ImageError, match="diff_id is"):
        layer.verify()


@detected_lie
def test_fewer_layers_than_diff_ids_are_refused(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    layer = layout.layer("a")
    config = {"rootfs": {"type": "layers", "diff_ids": [layer[1], layer[1]]}}
    top = layout.image(layer, config=config)
    assert "2 diff_ids for 1 layers" in lie(proxy, layout, top, kept, clock)


@detected_lie
def test_a_manifest_that_is_an_index_too_is_refused(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    top = layout.image(layout.layer("a"), manifests=[])
    assert "it has 'manifests', which a manifest has not" in lie(proxy, layout, top, kept, clock)


@detected_lie
@pytest.mark.parametrize(
    ("inside", "outside"),
    [(INDEX, MANIFEST), (DOCKER_MANIFEST, MANIFEST), (MANIFEST, DOCKER_LIST), ("x", MANIFEST)],
)
def test_a_type_that_is_two_is_refused(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock, inside: str, outside: str
) -> None:
    top = layout.image(layout.layer("a"), mediaType=inside)
    message = lie(proxy, layout, {**top, "mediaType": outside}, kept, clock)
    assert f"sent as {outside!r}, but it says it is {inside!r}" in message


@detected_lie
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("application/json", "neither manifest nor index"),
        (f"{DOCKER}.distribution.manifest.v1+prettyjws", "schema 1"),
    ],
)
def test_a_type_of_its_own_is_refused(
    proxy: FaultProxy,
    layout: Layout,
    image: Table,
    kept: Store,
    clock: Clock,
    kind: str,
    words: str,
) -> None:
    assert words in lie(proxy, layout, {**image, "mediaType": kind}, kept, clock)


def test_an_artifact_is_not_an_image(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    config = layout.add(b"{}", "application/vnd.example+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
    top = layout.add(to_json(document), MANIFEST)
    message = lie(proxy, layout, top, kept, clock)
    assert "not an image: its configuration is 'application/vnd.example+json'" in message


@detected_lie
def test_indexes_without_end_are_refused(
    proxy: FaultProxy, layout: Layout, image: Table, kept: Store, clock: Clock
) -> None:
    top = image
    for _ in range(7):
        top = layout.index(top)
    assert "indexes nested too deeply" in lie(proxy, layout, top, kept, clock)


def test_another_platform_is_refused_before_its_layers_are_all_there(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    serve(proxy, layout, layout.image(layout.layer("a"), architecture=OTHER))
    with pytest.raises(ImageError, match=f"the image is for linux/{OTHER}, not for linux/"):
        pull(kept, parse_reference(f"{proxy.host}/app"), f"linux/{HERE}", settings=clock.settings)


@detected_lie
def test_a_layer_that_decompresses_to_more_is_still_what_was_promised(
    proxy: FaultProxy, layout: Layout, kept: Store, clock: Clock
) -> None:
    tar = tar_of([file("a", b"x")])
    blob = compressed(tar, "gzip") + compressed(b"more", "gzip")
    layer = layout.add(blob, f"{OCI}.layer.v1.tar+gzip")
    serve(proxy, layout, layout.image((layer, digest_of(tar))))
    found = pull(kept, parse_reference(f"{proxy.host}/app"), settings=clock.settings)
    [stored] = stored_image(kept, found, "x").layers
    with pytest.raises(ImageError, match="diff_id is"):
        stored.verify()
