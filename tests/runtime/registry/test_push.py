"""Images go into a registry whole, with as little traffic as can be; else the tag stays."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runtime.errors import ImageError, PyrunError, RegistryError, UsageError
from runtime.oci.digest import Digest
from runtime.registry import blob_upload
from runtime.registry.pull import pull
from runtime.registry.push import in_store, push
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
    cut_answer,
    cut_request,
    dropped,
    header,
    lost_answer,
    running_proxy,
    status,
)
from tests.runtime.registry.layouts import (
    HERE,
    INDEX,
    MANIFEST,
    OTHER,
    Layout,
    Table,
    descriptor,
    layers_of,
)
from tests.runtime.registry.registries import ALICE, Registry
from tests.runtime.registry.token_server import TokenServer
from tests.support import to_json

UPLOADS = "/blobs/uploads/"
SIZE = 300_000


@pytest.fixture
def layout() -> Layout:
    """To be filled."""
    return Layout()


@pytest.fixture
def image(layout: Layout, request: pytest.FixtureRequest) -> Table:
    """An image that no other test has, of a large and a small layer."""
    name = request.node.name
    large = layout.layer(name, SIZE, compression="")
    return layout.image(large, layout.layer(f"{name} 2"))


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test has."""
    return "push/" + re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


class Pusher:
    """Pushes a layout."""

    def __init__(self, layout: Layout, tmp_path: Path, clock: Clock) -> None:
        self.layout = layout
        self.clock = clock
        self._tmp_path = tmp_path
        self._count = 0
        self.counted: list[tuple[int, int]] = []

    def __call__(self, top: Table, reference: Reference, **choices: object) -> None:
        """Push an image of it."""
        self._count += 1
        source = self.layout.source(self._tmp_path / f"source-{self._count}")
        push(
            descriptor(top),
            source,
            reference,
            settings=self.clock.settings,
            count=lambda size, of: self.counted.append((size, of)),
            **choices,  # type: ignore[arg-type]
        )


@pytest.fixture
def send(layout: Layout, tmp_path: Path, clock: Clock) -> Pusher:
    """A function that pushes an image of the layout."""
    return Pusher(layout, tmp_path, clock)


def check(registry: Registry, repository: str, layout: Layout, top: Table) -> None:
    """Whether the tag is there, and all that is below it, byte for byte."""
    assert registry.tag(repository, "v1") == top["digest"]
    for digest, content in layout.blobs.items():
        assert registry.data(digest).read_bytes() == content


def test_indexes_may_be_nested(
    registry: Registry, layout: Layout, send: Pusher, repository: str
) -> None:
    images = [layout.image(layout.layer(a), architecture=a) for a in (HERE, OTHER)]
    top = layout.index(layout.index(*images))
    send(top, registry.name(f"{repository}:v1"))
    check(registry, repository, layout, top)


def test_an_empty_layer_and_no_layer_are_pushed(
    registry: Registry, layout: Layout, send: Pusher, repository: str
) -> None:
    nothing = layout.add(b"", "application/vnd.oci.image.layer.v1.tar")
    for top in (layout.image(), layout.image((nothing, nothing["digest"]))):
        send(top, registry.name(f"{repository}:v1"))
        assert registry.tag(repository, "v1") == top["digest"]


def test_what_was_pulled_is_pushed_out_of_the_store(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str, tmp_path: Path
) -> None:
    send(image, registry.name(f"{repository}-first:v1"))
    store = Store(str(tmp_path / "store"))
    found = pull(store, registry.name(f"{repository}-first:v1"))
    push(found, in_store(store), registry.name(f"{repository}:v1"))
    assert registry.tag(repository, "v1") == image["digest"]


def test_a_name_with_only_a_digest_moves_no_tag(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    reference = registry.name(f"{repository}@{image['digest']}")
    send(image, reference)
    assert registry.tag(repository, "latest") == ""
    with pytest.raises(UsageError, match=f"the image has the digest {image['digest']}"):
        send(image, registry.name(f"{repository}@sha256:{'0' * 64}"))


@pytest.mark.parametrize("kind", ["password", "token"])
def test_with_a_password_and_with_a_token(
    closed_registry: Registry,
    token_registry: Registry,
    tokens: TokenServer,
    layout: Layout,
    image: Table,
    send: Pusher,
    kind: str,
) -> None:
    registry = closed_registry if kind == "password" else token_registry
    send(image, registry.name("a/b:v1"), credentials=ALICE)
    check(registry, "a/b", layout, image)
    # One for the whole push.
    assert len(tokens.asked) == (kind == "token")


def test_who_may_only_read_moves_no_tag(
    token_registry: Registry, image: Table, send: Pusher
) -> None:
    with pytest.raises(RegistryError, match="401") as caught:
        send(image, token_registry.name("a/b:v1"))
    assert f"podman login {token_registry.host}" in str(caught.value.hint)
    assert token_registry.tag("a/b", "v1") == ""


# --- how often is asked -----------------------------------------------------------------------


def test_what_is_there_costs_one_round_trip_for_each_blob(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    send: Pusher,
    repository: str,
) -> None:
    send(image, registry.name(f"{repository}:v1"))
    send(image, parse_reference(f"{faults.host}/{repository}:v2"))
    methods = [one.method for one in faults.requests]
    assert methods == ["HEAD"] * 3 + ["PUT"]
    assert registry.tag(repository, "v2") == image["digest"]


def test_a_blob_is_sent_in_one_piece(
    faults: FaultProxy, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    assert faults.asked("PATCH") == []
    assert len(faults.asked("POST")) == len(faults.asked("PUT", UPLOADS)) == 3


def test_the_tag_is_the_last_that_is_asked_for(
    faults: FaultProxy, layout: Layout, send: Pusher, repository: str
) -> None:
    image = layout.image(layout.layer(repository))
    other = layout.image(layout.layer("o"), architecture=OTHER)
    top = layout.index(image, other)
    send(top, parse_reference(f"{faults.host}/{repository}:v1"))
    manifests = [asked.rpartition("/")[2] for asked in faults.asked("PUT", "/manifests/")]
    assert manifests == [image["digest"], other["digest"], "v1"]
    last_blob = max(n for n, one in enumerate(faults.requests) if "/blobs/" in one.path)
    assert len(faults.requests) - last_blob == 4


def test_a_blob_of_a_neighbour_is_mounted(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    send: Pusher,
    repository: str,
) -> None:
    send(image, registry.name(f"{repository}/base:v1"))
    base = parse_reference(f"{faults.host}/{repository}/base")
    layers = layers_of(layout, image)
    known = {Digest.parse(layer): base for layer in layers}
    send(image, parse_reference(f"{faults.host}/{repository}:v1"), mount_from=known.get)
    check(registry, repository, layout, image)
    assert len(faults.asked("POST", "mount=")) == 2
    assert len(faults.asked("PUT", UPLOADS)) == 1  # the configuration


def test_a_blob_that_the_neighbour_has_not_is_sent(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    send: Pusher,
    repository: str,
) -> None:
    known = {
        Digest.parse(layer): parse_reference(f"{faults.host}/{repository}/none")
        for layer in layers_of(layout, image)
    }
    send(image, parse_reference(f"{faults.host}/{repository}:v1"), mount_from=known.get)
    check(registry, repository, layout, image)
    # The refused mount has begun an upload, which is used.
    assert len(faults.asked("POST")) == 3


def test_a_registry_that_refuses_mounts_gets_the_blob(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    send: Pusher,
    repository: str,
) -> None:
    faults.on(status(403), "POST", "mount=", times=0)
    known = {
        Digest.parse(layer): parse_reference(f"{faults.host}/{repository}/base")
        for layer in layers_of(layout, image)
    }
    send(image, parse_reference(f"{faults.host}/{repository}:v1"), mount_from=known.get)
    check(registry, repository, layout, image)


def test_who_gets_no_token_for_the_neighbour_sends_the_blob(
    token_registry: Registry, tokens: TokenServer, layout: Layout, image: Table, send: Pusher
) -> None:
    tokens.secret = "private/base"
    base = token_registry.name("private/base")
    known = {Digest.parse(layer): base for layer in layers_of(layout, image)}
    send(image, token_registry.name("a/b:v1"), credentials=ALICE, mount_from=known.get)
    check(token_registry, "a/b", layout, image)


def test_a_mount_asks_for_the_right_to_read_the_neighbour(
    token_registry: Registry, tokens: TokenServer, layout: Layout, image: Table, send: Pusher
) -> None:
    base = token_registry.name("team/base:v1")
    send(image, base, credentials=ALICE)
    known = {Digest.parse(layer): base for layer in layers_of(layout, image)}
    before = len(token_registry.log())
    send(image, token_registry.name("a/b:v1"), credentials=ALICE, mount_from=known.get)
    check(token_registry, "a/b", layout, image)
    mounted = [word for word in token_registry.log()[before:] if "?mount=" in word]
    assert sum(word.endswith(" 201") for word in mounted) == 2
    scopes = [" ".join(asked.get("scope", [])).split() for asked in tokens.asked]
    assert ["repository:a/b:pull,push", "repository:team/base:pull"] in scopes


def test_nothing_is_mounted_from_another_registry(
    faults: FaultProxy, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    known = {
        Digest.parse(layer): parse_reference("other.example/base")
        for layer in layers_of(layout, image)
    }
    send(image, parse_reference(f"{faults.host}/{repository}:v1"), mount_from=known.get)
    assert faults.asked("POST", "mount=") == []


def test_an_image_may_get_several_tags(
    registry: Registry, faults: FaultProxy, image: Table, send: Pusher, repository: str
) -> None:
    send(image, parse_reference(f"{faults.host}/{repository}:v1"), tags=("v1", "latest"))
    for tag in ("v1", "latest"):
        assert registry.tag(repository, tag) == image["digest"]
    assert len(faults.asked("PUT", "/manifests/")) == 2


# --- what is not here -------------------------------------------------------------------------


def test_a_blob_that_only_the_registry_has_is_not_missed(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    send(image, registry.name(f"{repository}:v1"))
    for layer in layers_of(layout, image):
        del layout.blobs[layer]
    send(image, registry.name(f"{repository}:v2"))
    assert registry.tag(repository, "v2") == image["digest"]


def test_a_blob_that_nobody_has_is_named(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    layer = layers_of(layout, image)[1]
    del layout.blobs[layer]
    with pytest.raises(ImageError, match=f"blob {layer}: neither here nor in {registry.host}"):
        send(image, registry.name(f"{repository}:v1"))
    assert registry.tag(repository, "v1") == ""


def test_an_image_of_an_index_that_only_the_registry_has_is_not_missed(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    other = layout.image(layout.layer(repository), architecture=OTHER)
    top = layout.index(image, other)
    del layout.blobs[other["digest"]]
    with pytest.raises(ImageError, match=f"manifest {other['digest']}: neither here") as caught:
        send(top, registry.name(f"{repository}:v1"))
    assert "one alone was brought here" in str(caught.value.hint)
    assert not registry.has_blob(repository, layers_of(layout, image)[0])


def test_bytes_that_are_not_what_they_are_called_are_refused(
    registry: Registry, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    layer = layers_of(layout, image)[0]
    good = layout.blobs[layer]
    layout.blobs[layer] = b"x" * len(good)
    with pytest.raises(RegistryError, match=r"400 Bad Request: .*DIGEST_INVALID"):
        send(image, registry.name(f"{repository}:v1"))
    layout.blobs[layer] = good[:-1]
    with pytest.raises(ImageError, match=f"{len(good) - 1} bytes, manifest says {len(good)}"):
        send(image, registry.name(f"{repository}:v1"))
    layout.blobs[layer] = good
    layout.blobs[image["digest"]] = layout.blobs[image["digest"]].replace(b"2", b"3")
    with pytest.raises(ImageError, match="its bytes have the digest"):
        send(image, registry.name(f"{repository}:v1"))
    assert registry.tag(repository, "v1") == ""


def test_a_file_that_becomes_shorter_meanwhile_is_named(
    registry: Registry, layout: Layout, image: Table, tmp_path: Path, repository: str
) -> None:
    source = layout.source(tmp_path / "source")
    layer = layers_of(layout, image)[0]

    def shrinking(digest: Digest) -> object:
        found = source(digest)
        if digest == layer:
            with open(source.root / digest, "r+b") as file:
                file.truncate(1000)
        return found

    with pytest.raises(ImageError, match="truncated"):
        push(descriptor(image), shrinking, registry.name(f"{repository}:v1"))  # type: ignore[arg-type]
    assert registry.tag(repository, "v1") == ""


# --- faults -----------------------------------------------------------------------------------


def relative(answer: Answer) -> None:
    """A change: the Location without its host."""
    location = answer.headers["Location"]
    answer.headers["Location"] = "/" + location.split("/", 3)[3]


def html(exchange: Exchange) -> None:
    """A page of a proxy that stands between."""
    status(502, b"<html>Bad Gateway</html>", Content_Type="text/html")(exchange)


RIGHT = ""
# What happens to which request, how often, and how the push ends.
FAULTS: dict[str, tuple[Act, str, str, int, str]] = {
    "head-dropped": (dropped, "HEAD", "", 2, RIGHT),
    "head-500": (status(500), "HEAD", "", 2, RIGHT),
    "head-500-always": (status(500), "HEAD", "", 0, r"500 .*\(3 tries\)"),
    "head-403": (status(403), "HEAD", "", 0, "403 Forbidden"),
    "head-redirect": (status(307, Location="/v2/"), "HEAD", "", 1, RIGHT),
    "post-dropped": (dropped, "POST", "", 2, RIGHT),
    "post-lost": (lost_answer, "POST", "", 2, RIGHT),
    "post-503": (status(503, Retry_After="7"), "POST", "", 2, RIGHT),
    "post-429-always": (status(429), "POST", "", 0, r"429 .*\(3 tries\)"),
    "post-401": (status(401), "POST", "", 0, "401 Unauthorized"),
    "post-404": (status(404), "POST", "", 0, "404 Not Found"),
    "post-html": (html, "POST", "", 1, RIGHT),
    "post-no-location": (header("Location", None), "POST", "", 0, "202 without a Location"),
    "post-relative": (changed(relative), "POST", "", 0, RIGHT),
    "post-201": (status(201), "POST", "", 0, "201 Created, but the blob is not there"),
    "post-metadata": (
        *(header("Location", "http://169.254.169.254/"), "POST", "", 0),
        "link-local address",
    ),
    "put-dropped": (dropped, "PUT", UPLOADS, 2, RIGHT),
    "put-cut": (cut_request(100), "PUT", UPLOADS, 2, RIGHT),
    "put-cut-late": (cut_request(SIZE - 1), "PUT", UPLOADS, 1, RIGHT),
    "put-cut-always": (cut_request(100), "PUT", UPLOADS, 0, r"\(3 tries\)"),
    "put-lost": (lost_answer, "PUT", UPLOADS, 3, RIGHT),
    "put-answer-cut": (cut_answer(0), "PUT", UPLOADS, 3, RIGHT),
    "put-500": (status(500), "PUT", UPLOADS, 2, RIGHT),
    "put-500-always": (status(500), "PUT", UPLOADS, 0, r"500 .*\(3 tries\)"),
    "put-404": (status(404), "PUT", UPLOADS, 1, RIGHT),
    "put-400": (status(400), "PUT", UPLOADS, 0, "400 Bad Request"),
    "put-413": (status(413), "PUT", UPLOADS, 1, RIGHT),
    "put-202": (status(202), "PUT", UPLOADS, 0, "202 Accepted"),
    "manifest-dropped": (dropped, "PUT", "/manifests/", 2, RIGHT),
    "manifest-lost": (lost_answer, "PUT", "/manifests/", 2, RIGHT),
    "manifest-cut": (cut_request(10), "PUT", "/manifests/", 2, RIGHT),
    "manifest-503": (status(503), "PUT", "/manifests/", 2, RIGHT),
    "manifest-503-always": (status(503), "PUT", "/manifests/", 0, r"503 .*\(3 tries\)"),
    "manifest-403": (status(403), "PUT", "/manifests/", 0, "403 Forbidden"),
    "manifest-400": (status(400), "PUT", "/manifests/", 0, "400 Bad Request"),
}


@registry_fault
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_the_tag_moves_when_all_is_there(
    registry: Registry,
    faults: FaultProxy,
    layout: Layout,
    image: Table,
    send: Pusher,
    repository: str,
    fault: str,
) -> None:
    before = layout.image(layout.layer("before"), layout.layer(repository))
    send(before, registry.name(f"{repository}:v1"))
    act, method, path, times, words = FAULTS[fault]
    faults.on(act, method, path, times=times)
    reference = parse_reference(f"{faults.host}/{repository}:v1")
    if words:
        with pytest.raises(RegistryError, match=words):
            send(image, reference)
        assert registry.tag(repository, "v1") == before["digest"]
    else:
        send(image, reference)
        check(registry, repository, layout, image)


@detected_lie
def test_a_wrong_word_about_the_manifest_is_an_error(
    faults: FaultProxy, layout: Layout, image: Table, send: Pusher, repository: str
) -> None:
    faults.on(header("Docker-Content-Digest", "sha256:" + "0" * 64), "PUT", "/manifests/")
    with pytest.raises(RegistryError, match=f"took {image['digest']} for sha256:0000"):
        send(image, parse_reference(f"{faults.host}/{repository}:v1"))


@registry_fault
def test_an_upload_that_is_given_up_is_cancelled(
    registry: Registry, faults: FaultProxy, image: Table, send: Pusher, repository: str
) -> None:
    faults.on(status(400), "PUT", UPLOADS, times=0)
    with pytest.raises(RegistryError):
        send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    begun = len(faults.asked("POST"))
    assert begun
    assert len(faults.asked("DELETE", UPLOADS)) == begun
    uploads = registry.root / "docker/registry/v2/repositories" / repository / "_uploads"
    # It leaves some directories itself.
    assert list(uploads.rglob("data")) == []


@registry_fault
def test_a_token_that_runs_out_in_the_middle_is_renewed(
    token_registry: Registry, tokens: TokenServer, layout: Layout, image: Table, send: Pusher
) -> None:
    with running_proxy(token_registry.host) as faults:
        realm = f'Bearer realm="{tokens.url}/token",service="test-registry"'
        faults.on(status(401, WWW_Authenticate=realm), "PUT", UPLOADS, after=1)
        faults.on(status(401, WWW_Authenticate=realm), "PUT", "/manifests/")
        send(image, parse_reference(f"{faults.host}/a/b:v1"), credentials=ALICE)
    check(token_registry, "a/b", layout, image)
    assert len(tokens.asked) == 3


@kept_credential
@pytest.mark.parametrize("code", [307, 308])
def test_an_upload_that_is_sent_elsewhere_brings_no_credentials_along(
    closed_registry: Registry, layout: Layout, image: Table, send: Pusher, code: int
) -> None:
    with running_proxy(closed_registry.host) as faults, running_proxy() as other:
        other.on(status(201), times=0)
        location = f"http://{other.host}/bucket?signature=s"
        faults.on(status(code, Location=location), "PUT", UPLOADS, times=0)
        with pytest.raises(RegistryError, match="400 Bad Request"):  # it has not got the blobs
            send(image, parse_reference(f"{faults.host}/elsewhere/{code}:v1"), credentials=ALICE)
        assert {one.headers["Authorization"] for one in other.requests} == {None}
        assert len(other.requests) == 3
        sizes = {int(one.headers["Content-Length"]) for one in other.requests}
        assert max(len(blob) for blob in layout.blobs.values()) in sizes


# --- pieces -----------------------------------------------------------------------------------


@pytest.fixture
def pieces(faults: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> int:
    """The registry asks for pieces of so many bytes."""
    monkeypatch.setattr(blob_upload, "_PIECE", 1)
    faults.on(header("OCI-Chunk-Min-Length", "100000"), "POST", UPLOADS, times=0)
    return 100_000


def sent(faults: FaultProxy) -> list[str]:
    """The ranges of the pieces of the large layer."""
    ranges = [one.headers["Content-Range"] for one in faults.requests if one.method == "PATCH"]
    return [text for text in ranges if text in ("0-99999",) or not text.startswith("0-")]


def test_a_registry_that_asks_for_pieces_gets_them(
    registry: Registry, faults: FaultProxy, layout: Layout, image: Table, send: Pusher,
    repository: str, pieces: int,
) -> None:  # fmt: skip
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)
    size = len(layout.blobs[layers_of(layout, image)[0]])
    last = f"300000-{size - 1}"
    assert sent(faults) == ["0-99999", "100000-199999", "200000-299999", last]
    lengths = {one.headers["Content-Length"] for one in faults.requests if one.method == "PUT"}
    assert "0" in lengths


@registry_fault
@pytest.mark.parametrize(
    ("act", "resumed"),
    [
        (status(503), True),
        (dropped, True),
        # What this registry does not survive: it forgets the upload.
        (lost_answer, False),
        (cut_request(50_000), False),
    ],
    ids=["503", "dropped", "lost", "cut"],
)
def test_a_piece_that_fails_is_gone_on_with(
    registry: Registry, faults: FaultProxy, layout: Layout, send: Pusher, repository: str,
    pieces: int, act: Act, resumed: bool,
) -> None:  # fmt: skip
    image = layout.image(layout.layer(repository, SIZE, compression=""))
    config = layout.blobs[image["digest"]]
    small = json.loads(config)["config"]["digest"]
    layer = layers_of(layout, image)[0]

    state: list[str] = []

    def only_once(exchange: Exchange) -> None:
        if exchange.headers["Content-Range"] == "100000-199999" and not state:
            state.append("done")
            act(exchange)
        else:
            exchange.answer(exchange.forward())

    faults.on(only_once, "PATCH", times=0)
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)
    assert registry.has_blob(repository, small)
    assert registry.has_blob(repository, layer)
    assert sent(faults).count("0-99999") == (1 if resumed else 2)
    assert faults.asked("GET", UPLOADS)


@registry_fault
def test_a_session_that_is_gone_is_begun_anew(
    registry: Registry, faults: FaultProxy, layout: Layout, image: Table, send: Pusher,
    repository: str, pieces: int,
) -> None:  # fmt: skip
    faults.on(status(404), "PATCH", after=2)
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)


@detected_lie
def test_a_registry_that_miscounts_is_not_believed(
    registry: Registry, faults: FaultProxy, layout: Layout, image: Table, send: Pusher,
    repository: str, pieces: int,
) -> None:  # fmt: skip
    faults.on(header("Range", "0-999999999"), "PATCH")
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)


@registry_fault
def test_an_overlap_that_was_appended_is_sent_anew(
    registry: Registry, faults: FaultProxy, layout: Layout, send: Pusher, repository: str,
    pieces: int,
) -> None:  # fmt: skip
    image = layout.image(layout.layer(repository, SIZE, compression=""))
    state: list[str] = []

    def lose(exchange: Exchange) -> None:
        if exchange.headers["Content-Range"] == "100000-199999" and not state:
            state.append("lost")
            lost_answer(exchange)
        else:
            exchange.answer(exchange.forward())

    faults.on(lose, "PATCH", times=0)
    # It says that it has less than it has, and appends what it has already.
    faults.on(header("Range", "0-99999"), "GET", UPLOADS)
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)


@registry_fault
def test_a_proxy_that_takes_no_large_bodies_gets_pieces(
    registry: Registry, faults: FaultProxy, layout: Layout, image: Table, send: Pusher,
    repository: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(blob_upload, "_PIECE", 100_000)

    def limited(exchange: Exchange) -> None:
        if exchange.size > 100_000:
            status(413)(exchange)
        else:
            exchange.answer(exchange.forward())

    faults.on(limited, "PUT", times=0)
    faults.on(limited, "PATCH", times=0)
    send(image, parse_reference(f"{faults.host}/{repository}:v1"))
    check(registry, repository, layout, image)


def test_a_document_that_is_no_manifest_is_refused(
    registry: Registry, layout: Layout, send: Pusher, repository: str
) -> None:
    for document in (
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [7]},
        {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []},
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []},
    ):
        top = layout.add(to_json(document), str(document["mediaType"]))
        with pytest.raises(PyrunError):
            send(top, registry.name(f"{repository}:v1"))
    assert registry.tag(repository, "v1") == ""
