"""Every document that we write is valid by the JSON schemas of image-spec."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry
from referencing.jsonschema import DRAFT4

from buildkit.cache import Layer
from buildkit.documents import Documents, make_documents, make_product
from buildkit.shaping import Shape
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import (
    CONFIG,
    LAYER,
    MANIFEST,
    Descriptor,
    ExecutionParameters,
    History,
    ImageConfig,
)
from runtime.registry.referrers import artifact_manifest
from tests.buildkit.archived import layout
from tests.buildkit.support import SHELL, Pybuild
from tests.buildkit.test_export import EVERYTHING
from tests.claims import schema
from tests.support import make_image

SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
pytestmark = pytest.mark.skipif(
    not SCHEMAS.exists(), reason="golang-github-opencontainers-image-spec-dev is not installed"
)
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json",
               "application/vnd.docker.distribution.manifest.list.v2+json")  # fmt: skip
CONFIG_TYPES = (CONFIG, "application/vnd.docker.container.image.v1+json")
ODD = "\N{SNOWMAN} \\ \" ' \t \u2028 \U0001f600 {} $ = \x7f"


@functools.cache
def _validators() -> dict[str, jsonschema.Draft4Validator]:
    texts = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    # What they call each other, from either place that they say they are at.
    resources = [
        (f"https://opencontainers.org/schema/{folder}{name}", DRAFT4.create_resource(text))
        for name, text in texts.items()
        for folder in ("", "image/")
    ]
    registry: Registry[Any] = Registry().with_resources(resources)
    return {
        name.removesuffix(".json"): jsonschema.Draft4Validator(text, registry=registry)
        for name, text in texts.items()
    }


def check(document: object, name: str) -> None:
    """Whether a document is valid by a schema of image-spec."""
    _validators()[name].validate(document)


def documents(files: dict[str, bytes]) -> Iterator[tuple[object, str]]:
    """All documents of a layout, each with its schema."""
    yield json.loads(files["oci-layout"]), "image-layout-schema"
    index = json.loads(files["index.json"])
    yield index, "image-index-schema"
    waiting = list(index["manifests"])
    while waiting:
        table = waiting.pop()
        yield table, "content-descriptor"
        document = json.loads(files["blobs/" + table["digest"].replace(":", "/")])
        if table["mediaType"] in INDEX_TYPES:
            yield document, "image-index-schema"
            waiting += document["manifests"]
            continue
        yield document, "image-manifest-schema"
        for inner in (document["config"], *document["layers"]):
            yield inner, "content-descriptor"
        if document["config"]["mediaType"] in CONFIG_TYPES:
            config = files["blobs/" + document["config"]["digest"].replace(":", "/")]
            yield json.loads(config), "config-schema"


# Not here: an image without layers, whose empty list the schema forbids, and all readers take.
SMALL = "FROM scratch\nCOPY f /\n"
BUILDS: dict[str, tuple[str, list[str]]] = {
    "everything": (EVERYTHING, []),
    "gzip": (SMALL, ["--compression=gzip"]),
    "zstd": (SMALL, ["--compression=zstd"]),
    "docker's types": (SMALL, ["--format=docker"]),
    "two platforms": (SMALL, ["--platform=linux/amd64,linux/arm/v7"]),
    "docker's list": (SMALL, ["--format=docker", "--platform=linux/amd64,linux/arm64"]),
    "attestations": (SMALL, ["--attest=type=sbom", "--provenance=mode=max"]),
    "labels and annotations": (SMALL, [f"--label={ODD}x={ODD}", f"--annotation={ODD}x={ODD}"]),
    "any text": (f"{SMALL}ARG X\nENV A=$X\nLABEL l=$X\nWORKDIR /$X\nVOLUME /$X\nUSER $X\n",
                 [f"--build-arg=X={ODD}"]),
    "bytes that are no text": (f"{SHELL}COPY f /\nARG X\nRUN true\n",
                               ["--build-arg=X=\udcff"]),
    "a base with empty members": ("FROM base.tar\nCOPY f /\n", []),
    "a cache of its own steps": (SMALL, ["--cache-to=type=inline"]),
    "squashed": (f"{SHELL}COPY f /\n", ["--squash"]),
}  # fmt: skip

FIRST_TIER = ("everything", "attestations", "any text", "bytes that are no text")


@pytest.fixture
def context(pybuild: Pybuild) -> Pybuild:
    """With a file, and a base image that has empty members."""
    pybuild.add({"f": "1"})
    empty = {"Env": None, "Cmd": None, "Labels": None, "Entrypoint": None, "Volumes": None}
    make_image(pybuild.context / "base.tar", [[]], empty, document={"history": None})
    return pybuild


@schema
@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param(*build, id=name, marks=[] if name in FIRST_TIER else pytest.mark.slow)
        for name, build in BUILDS.items()
    ],
)
def test_a_build_writes_valid_documents(context: Pybuild, text: str, options: list[str]) -> None:
    ended = context.try_build(text, "-t", "a:1", "-o", "image.tar", *options)
    assert ended.status == 0, ended.stderr
    for document, name in documents(layout(context.output)):
        check(document, name)


@schema
def test_all_that_moves_images_writes_valid_documents(context: Pybuild) -> None:
    for name in ("a:1", "b:2"):
        ended = context.try_build(SMALL, "-t", name, f"--label=l={name}")
        assert ended.status == 0, ended.stderr
    ended = context.try_build(SMALL, "--cache-to=type=local,dest=cache")
    assert ended.status == 0, ended.stderr
    for arguments, place in (
        (["du"], "cache"),
        (["save", "-o", "all.tar", "a:1", "b:2"], "all.tar"),
        (["convert", "a:1", "type=oci-dir,dest=layout"], "layout"),
        (["convert", "a:1", "type=oci,dest=gzip.tar,compression=gzip"], "gzip.tar"),
    ):
        ended = context.run(*arguments)
        assert ended.status == 0, ended.stderr
        for document, kind in documents(layout(context.work / place)):
            check(document, kind)


def test_a_document_that_is_wrong_is_not_valid() -> None:
    for document, name in (
        ({"imageLayoutVersion": "2"}, "image-layout-schema"),
        ({"schemaVersion": 2, "manifests": [{"digest": "x"}]}, "image-index-schema"),
        ({"mediaType": MANIFEST, "digest": "sha256", "size": 1}, "content-descriptor"),
        ({"architecture": "x", "os": "linux", "rootfs": {}}, "config-schema"),
        ({"schemaVersion": 2, "layers": []}, "image-manifest-schema"),
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(document, name)


# --- whatever there is in it


_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_names = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=12)
_pairs = st.dictionaries(_names, _texts, max_size=3).map(lambda table: tuple(table.items()))
_lists = st.none() | st.lists(_texts, max_size=3).map(tuple)
_digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(f"sha256:{raw.hex()}"))
_layers = st.builds(
    lambda digest, size: Layer(
        descriptor=Descriptor(media_type=LAYER, digest=digest, size=size), diff_id=DiffID(digest)
    ),
    _digests,
    st.integers(0, 2**62),
)
_parameters = st.builds(
    ExecutionParameters,
    user=_texts,
    env=_pairs.map(lambda pairs: tuple(f"{name}={value}" for name, value in pairs)),
    entrypoint=_lists,
    cmd=_lists,
    shell=_lists,
    on_build=st.lists(_texts, max_size=2).map(tuple),
    volumes=st.lists(_names, max_size=2, unique=True).map(tuple),
    exposed_ports=st.lists(st.integers(1, 65535).map(lambda n: f"{n}/tcp"), max_size=2).map(tuple),
    working_dir=_texts,
    labels=_pairs,
    stop_signal=_texts,
)
_entries = st.builds(History, created_by=_texts, author=_texts, comment=_texts,
                     empty_layer=st.booleans())  # fmt: skip


@st.composite
def _images(draw: st.DrawFn) -> Documents:
    layers = tuple(draw(st.lists(_layers, min_size=1, max_size=3)))
    config = ImageConfig(
        architecture=draw(st.sampled_from(["amd64", "arm", "s390x"])),
        variant=draw(st.sampled_from(["", "v7"])),
        author=draw(_texts),
        created="2020-01-01T00:00:00Z",
        config=draw(_parameters),
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=tuple(draw(st.lists(_entries, max_size=2))),
    )
    shape = Shape(docker=draw(st.booleans()), annotations=draw(_pairs))
    return make_documents(config, layers, shape)


@schema
@given(st.lists(_images(), min_size=1, max_size=2))
@settings(max_examples=60, deadline=None)
def test_whatever_is_in_an_image_its_documents_are_valid(images: list[Documents]) -> None:
    for image in images:
        check(json.loads(image.config), "config-schema")
        check(json.loads(image.manifest), "image-manifest-schema")
        check(image.listed, "content-descriptor")
    index = make_product(tuple(images), as_index=True, docker=False).index
    check(json.loads(index), "image-index-schema")


@schema
@given(st.lists(_layers, min_size=1, max_size=2), _names, _pairs)
@settings(max_examples=40, deadline=None)
def test_whatever_is_attached_to_an_image_its_manifest_is_valid(
    layers: list[Layer], kind: str, annotations: tuple[tuple[str, str], ...]
) -> None:
    subject = Descriptor(media_type=MANIFEST, digest=Digest("sha256:" + "0" * 64), size=1)
    described = tuple(layer.descriptor for layer in layers)
    check(json.loads(artifact_manifest(subject, kind, described, annotations)),
          "image-manifest-schema")  # fmt: skip


# --- what is no text


def test_bytes_that_are_no_text_are_refused_where_documents_would_hold_them(
    context: Pybuild,
) -> None:
    for line in ("ENV A=$X", "LABEL l=$X", "WORKDIR /$X", "USER $X", "VOLUME /$X"):
        ended = context.try_build(f"FROM scratch\nARG X\n{line}\n", "--build-arg=X=a\udcffb")
        assert ended.status == 2
        assert "Containerfile:3:1: " in ended.stderr
        assert "the value is not UTF-8" in ended.stderr
    for option in ("--label", "--annotation"):
        ended = context.try_build(SMALL, f"{option}=l=a\udcffb")
        assert (ended.status, ended.stdout) == (2, "")
        assert (
            f"pybuild: {option} 'l=a\N{REPLACEMENT CHARACTER}b': it is not UTF-8" in ended.stderr
        )
