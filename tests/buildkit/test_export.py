"""The archive's documents against the OCI image-spec and docker's format."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.image.names import tagged
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import digest_of, make_image, run_pyrun

EVERYTHING = f"""\
{SHELL}
MAINTAINER me
ENV PATH=/bin A=1
LABEL l=1 m=2
EXPOSE 80 53/udp
VOLUME /v /w
USER 5:6
WORKDIR /work
ENTRYPOINT ["sh", "-c"]
CMD ["echo $A"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
SHELL ["sh", "-ec"]
ONBUILD RUN x
RUN true
"""
_TYPE = "application/vnd.oci.image"


@pytest.fixture
def image(pybuild: Pybuild) -> Image:
    """An image that has a bit of everything."""
    return pybuild.build(EVERYTHING, env={"SOURCE_DATE_EPOCH": "1700000000"})


def _check_descriptor(image: Image, descriptor: Mapping[str, Any], media_type: str) -> bytes:
    """A descriptor says the truth about its blob (descriptor.md); returns the blob."""
    assert descriptor["mediaType"] == media_type
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", descriptor["digest"])
    blob = image.blob(descriptor)
    assert (digest_of(blob), len(blob)) == (descriptor["digest"], descriptor["size"])
    return blob


def check_image(image: Image) -> None:
    """Every rule of the image-spec that a reader can check."""
    assert image.members["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    assert (image.index["schemaVersion"], image.index["mediaType"]) == (
        2,
        f"{_TYPE}.index.v1+json",
    )
    _check_descriptor(image, image.descriptor, f"{_TYPE}.manifest.v1+json")
    assert set(image.manifest) == {"schemaVersion", "mediaType", "config", "layers"}
    assert image.manifest["mediaType"] == image.descriptor["mediaType"]
    _check_descriptor(image, image.manifest["config"], f"{_TYPE}.config.v1+json")
    layers = [
        _check_descriptor(image, layer, f"{_TYPE}.layer.v1.tar")
        for layer in image.manifest["layers"]
    ]
    assert image.config["rootfs"] == {
        "type": "layers",
        "diff_ids": [digest_of(layer) for layer in layers],
    }
    history = image.config["history"]
    assert sum(not entry.get("empty_layer", False) for entry in history) == len(layers)
    platform = {key: image.config[key] for key in ("architecture", "os")}
    assert image.descriptor["platform"] == platform
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert all(time.fullmatch(entry["created"]) for entry in (image.config, *history))
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            names = archive.getnames()
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith(("/", "../")) or "/../" in name]


def test_every_document_is_as_the_image_spec_wants_it(image: Image) -> None:
    check_image(image)


def test_a_user_without_rights_writes_valid_images_too(as_user: Pybuild) -> None:
    check_image(as_user.build(EVERYTHING))


def test_an_image_without_layers_is_valid(pybuild: Pybuild) -> None:
    image = pybuild.build("FROM scratch\nCMD x\n")
    check_image(image)
    assert image.layers == []


def test_the_configuration_is_what_the_containerfile_says(image: Image) -> None:
    assert image.process == {
        "User": "5:6",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/bin", "A=1"],
        "Entrypoint": ["sh", "-c"],
        "Cmd": ["echo $A"],
        "Volumes": {"/v": {}, "/w": {}},
        "WorkingDir": "/work",
        "Labels": {"l": "1", "m": "2"},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000},
        "OnBuild": ["RUN x"],
        "Shell": ["sh", "-ec"],
    }
    assert image.config["author"] == "me"


def test_the_history_tells_every_instruction_in_order(image: Image) -> None:
    words = [text.split()[0] for text in image.created_by]
    written = [line.split()[0] for line in EVERYTHING.splitlines()[1:] if line]
    assert words == [word for word in written if word != "ONBUILD"]
    assert {entry["comment"] for entry in image.config["history"]} == {"buildkit.dockerfile.v0"}


def test_the_docker_view_is_the_same_image(image: Image) -> None:
    [table] = image.docker
    assert digest_of(image.members[table["Config"]]) == image.manifest["config"]["digest"]
    assert [digest_of(image.members[name]) for name in table["Layers"]] == [
        layer["digest"] for layer in image.manifest["layers"]
    ]


def test_a_reader_can_stream_documents_first_and_layers_in_order(image: Image) -> None:
    names = [name.removeprefix("blobs/sha256/") for name in image.members]
    layers = [layer["digest"].removeprefix("sha256:") for layer in image.manifest["layers"]]
    assert names[:3] == ["oci-layout", "index.json", "manifest.json"]
    assert names[-len(layers) :] == layers


def test_a_layer_that_is_there_twice_is_stored_once(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    image = pybuild.build("FROM scratch\nCOPY a /\nCOPY a /\n")
    check_image(image)
    assert image.layers[0] == image.layers[1]
    with tarfile.open(image.path) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))


def test_gzip_layers_of_a_base_are_taken_over_as_they_are(pybuild: Pybuild, busybox: Path) -> None:
    base = make_image(pybuild.context / "base.tar", [_layer(busybox)], compression="gzip")
    image = pybuild.build("FROM base.tar\nRUN touch /a\n")
    assert image.manifest["layers"][0] == Image(base).manifest["layers"][0]
    assert image.config["rootfs"]["diff_ids"][0] == Image(base).config["rootfs"]["diff_ids"][0]
    assert list(image.layer()) == ["a"]


def _layer(archive: Path) -> bytes:
    return Image(archive).layers[0]


# --- Bases


def test_an_archive_in_the_context_is_a_base_with_its_configuration(
    anybody: Pybuild, busybox: Path
) -> None:
    (anybody.context / "base.tar").write_bytes(busybox.read_bytes())
    image = anybody.build("FROM base.tar\nRUN echo $GREETING > /a\n")
    assert image.read("a") == b"hello\n"
    assert image.process["Cmd"] == ["sh"]
    ran = run_pyrun(anybody.output, "cat", "/a", store=anybody.store, caller=anybody.caller)
    assert ran.stdout == "hello\n"


def test_copy_from_takes_from_an_archive(pybuild: Pybuild, busybox: Path) -> None:
    (pybuild.context / "base.tar").write_bytes(busybox.read_bytes())
    image = pybuild.build("FROM scratch\nCOPY --from=base.tar /etc/passwd /p\n")
    assert list(image.files) == ["p"]


def test_a_stage_builds_on_another(pybuild: Pybuild) -> None:
    text = f"{SHELL.replace('scratch', 'scratch AS a')}RUN echo 1 > /a\nFROM a\nRUN echo 2 >> /a\n"
    image = pybuild.build(text)
    check_image(image)
    assert (image.read("a"), len(image.layers)) == (b"1\n2\n", 4)


def test_target_stops_at_a_stage(pybuild: Pybuild) -> None:
    pybuild.add({"a": "", "b": ""})
    text = "FROM scratch AS one\nCOPY a /\nFROM scratch\nCOPY b /\n"
    assert list(pybuild.build(text, "--target", "one").files) == ["a"]
    assert list(pybuild.build(text).files) == ["b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no image 'base.tar': no such file in the context"),
        (b"", "base.tar"),
        (b"no tar at all" * 100, "base.tar"),
    ],
)
def test_a_base_that_is_none_is_an_error_before_anything_is_done(
    pybuild: Pybuild, content: bytes | None, message: str
) -> None:
    if content is not None:
        (pybuild.context / "base.tar").write_bytes(content)
    ended = pybuild.try_build("FROM base.tar\nRUN x\n")
    assert ended.status in (1, 2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "internal error" not in ended.stderr


def test_a_base_whose_layer_is_damaged_is_an_error_that_says_which(
    pybuild: Pybuild, busybox: Path
) -> None:
    content = busybox.read_bytes()
    path = pybuild.context / "base.tar"
    path.write_bytes(content.replace(b"root:x:0:0", b"evil:x:0:0"))
    ended = pybuild.try_build("FROM base.tar\nRUN x\n")
    assert ended.status == 1
    assert "layer" in ended.stderr
    assert "Containerfile:1:6" in ended.stderr
    assert os.listdir(pybuild.store / "layers") == []


# --- The file that is written


def test_the_output_directory_must_be_there(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build("FROM scratch\nCOPY a /\n", "-o", "nowhere/a.tar")
    assert ended.status == 5
    assert "nowhere/a.tar: no such directory" in ended.stderr.lower()


def test_an_output_directory_that_may_not_be_written_to_is_status_5(as_user: Pybuild) -> None:
    as_user.add({"a": ""})
    ended = as_user.try_build("FROM scratch\nCOPY a /\n", "-o", "/etc/a.tar")
    assert ended.status == 5
    assert "pybuild: /etc/a.tar: " in ended.stderr
    assert ended.stderr.count("\n") == 1  # said before anything is built


def test_an_output_that_is_a_directory_is_status_5(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    (pybuild.work / "d").mkdir()
    ended = pybuild.try_build("FROM scratch\nCOPY a /\n", "-o", "d")
    assert ended.status == 5
    assert os.listdir(pybuild.work) == ["d"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a:latest"), ("a:1", "a:1"), ("r:5/a", "r:5/a:latest"), ("r:5/a:1", "r:5/a:1")],
)
def test_a_name_without_a_tag_is_the_latest(name: str, expected: str) -> None:
    assert tagged(name) == expected
