"""Manifest and image configuration: read as the image-spec has them, refused by member."""

from __future__ import annotations

import copy
import json

import pytest

from runtime.errors import ImageError
from runtime.oci.image import ImageConfig, Manifest, canonical_media_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

D1, D2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
LAYER = "application/vnd.oci.image.layer.v1.tar"

MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": D1,
        "size": 7023,
    },
    "layers": [
        {"mediaType": LAYER, "digest": D2, "size": 32654, "annotations": {"key": "value"}},
        {"mediaType": LAYER + "+gzip", "digest": D1, "size": 0},
    ],
}

CONFIG: dict[str, Any] = {
    "created": "2015-10-31T22:22:56.015925234Z",
    "author": "Alyssa P. Hacker <alyspdev@example.com>",
    "architecture": "amd64",
    "variant": "v3",
    "os": "linux",
    "config": {
        "User": "alice:users",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/bin", "EMPTY="],
        "Entrypoint": ["/bin/app"],
        "Cmd": [],
        "Volumes": {"/var/data": {}},
        "WorkingDir": "/home/alice",
        "Labels": {"com.example": "x"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
        "OnBuild": ["RUN true"],
        "Shell": ["/bin/bash", "-c"],
    },
    "rootfs": {"type": "layers", "diff_ids": [D1, D2]},
    "history": [
        {"created": "2015-10-31T22:22:54Z", "created_by": "ADD file", "author": "a"},
        {"created_by": "CMD sh", "comment": "none", "empty_layer": True},
    ],
}  # fmt: skip


def _manifest(document: object) -> Manifest:
    return Manifest.from_json(json.dumps(document).encode(), "m")


def _config(document: object) -> ImageConfig:
    return ImageConfig.from_json(json.dumps(document).encode(), "c")


def _with(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the member at a dotted path replaced; `...` removes it."""
    changed = copy.deepcopy(document)
    *above, name = (int(step) if step.isdigit() else step for step in path.split("."))
    place: Any = changed
    for step in above:
        place = place[step]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return changed


def test_a_manifest_survives_reading_and_writing() -> None:
    assert _manifest(MANIFEST).to_json() == MANIFEST


def test_a_config_survives_reading_and_writing() -> None:
    assert _config(CONFIG).to_json() == CONFIG


def test_the_smallest_config_has_no_layers_and_no_command() -> None:
    config = _config({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}})
    assert (config.diff_ids, config.config.cmd, config.config.env) == ((), None, ())


def test_null_members_are_absent_ones() -> None:
    nulls = dict.fromkeys(CONFIG["config"])
    assert (
        _config(_with(CONFIG, "config", nulls)).config
        == _config(_with(CONFIG, "config", {})).config
    )


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", LAYER + "+gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar", LAYER),
        ("text/plain", "text/plain"),
    ],
)
def test_docker_names_of_media_types_are_known(docker: str, oci: str) -> None:
    assert canonical_media_type(docker) == oci


# path of the member | its malformed value | what the error says
MALFORMED_MANIFESTS: list[tuple[str, object, str]] = [
    ("schemaVersion", 1, "m: schemaVersion is 1, 2 expected"),
    ("schemaVersion", "2", "m: schemaVersion is '2'"),
    ("schemaVersion", True, "m: schemaVersion is True"),
    ("schemaVersion", ..., "m: schemaVersion is missing"),
    ("config", ..., "m: config is missing"),
    ("config", [], "m: config is []"),
    ("config.mediaType", 5, "m: config: mediaType is 5"),
    ("config.digest", ..., "m: config: "),
    ("config.digest", "md5:1", "m: config: "),
    ("config.size", ..., "m: config: size is missing"),
    ("config.size", -1, "m: config: size is -1"),
    ("config.size", 1 << 62, "m: config: size is 4611686018427387904"),
    ("config.size", True, "m: config: size is True"),
    ("config.size", 1.0, "m: config: size is 1.0"),
    ("layers", ..., "m: layers is missing"),
    ("layers", {}, "m: layers is {}"),
    ("layers.1", "x", "m: layers[1]: is 'x'"),
    ("layers.1.digest", "sha256:xyz", "m: layers[1]: "),
    ("layers.0.annotations", [], "m: layers[0]: annotations is []"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED_MANIFESTS)
def test_a_malformed_member_of_a_manifest_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        _manifest(_with(MANIFEST, path, value))
    assert caught.value.message.startswith(message)


MALFORMED_CONFIGS: list[tuple[str, object, str]] = [
    ("created", 5, "c: created is 5"),
    ("author", [], "c: author is []"),
    ("architecture", 64, "c: architecture is 64"),
    ("os", {}, "c: os is {}"),
    ("config", [], "c: config is []"),
    ("config.User", 0, "c: config: User is 0"),
    ("config.ExposedPorts", [80], "c: config: ExposedPorts is [80]"),
    ("config.Env", {"A": "b"}, "c: config: Env is {'A': 'b'}"),
    ("config.Env", ["A=b", 5], "c: config: Env holds 5"),
    ("config.Entrypoint", "sh", "c: config: Entrypoint is 'sh'"),
    ("config.Cmd", [None], "c: config: Cmd holds None"),
    ("config.Volumes", ["/v"], "c: config: Volumes is ['/v']"),
    ("config.WorkingDir", ["/"], "c: config: WorkingDir is ['/']"),
    ("config.Labels", ["a"], "c: config: Labels is ['a']"),
    ("config.StopSignal", 15, "c: config: StopSignal is 15"),
    ("config.Healthcheck", "NONE", "c: config: Healthcheck is 'NONE'"),
    ("config.OnBuild", "RUN", "c: config: OnBuild is 'RUN'"),
    ("config.Shell", [1], "c: config: Shell holds 1"),
    ("rootfs", ..., "c: rootfs is missing"),
    ("rootfs", [], "c: rootfs is []"),
    ("rootfs.diff_ids", "x", "c: rootfs: diff_ids is 'x'"),
    ("rootfs.diff_ids", [5], "c: rootfs: diff_ids holds 5"),
    ("rootfs.diff_ids", [D1, "sha256:../../x"], "c: rootfs: "),
    ("history", {}, "c: history is {}"),
    ("history.1", 5, "c: history[1]: is 5"),
    ("history.1.empty_layer", "yes", "c: history[1]: empty_layer is 'yes'"),
    ("history.0.created_by", 5, "c: history[0]: created_by is 5"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED_CONFIGS)
def test_a_malformed_member_of_a_config_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        _config(_with(CONFIG, path, value))
    assert caught.value.message.startswith(message)
