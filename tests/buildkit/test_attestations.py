"""Attestations: laid out as BuildKit says, and as in-toto and SLSA specify what is in them."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import SHELL, Pybuild, text_files
from tests.support import digest_of, read_members, run, run_pyrun

SBOM = "--attest=type=sbom"
SPDX = "https://spdx.dev/Document"
BOTH = "--platform=linux/amd64,linux/arm64"
NAME = "localhost/app:v1"
TEXT = "FROM scratch\nCOPY f /\n"
# The keys of BuildKit's docs/attestations/attestation-storage.md.
TYPE, DIGEST = "vnd.docker.reference.type", "vnd.docker.reference.digest"
PREDICATE = "in-toto.io/predicate-type"

Table = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """One image of an index, and what is attested of it."""

    descriptor: Table
    manifest: Table
    config: Table
    statements: list[Table]

    def predicate(self, kind: str) -> Table:
        """The only one of a type."""
        [found] = [s["predicate"] for s in self.statements if s["predicateType"] == kind]
        assert isinstance(found, dict)
        return found


def _read(archive: Path) -> list[Attested]:
    """The images of an archive; the layout of all that is beside them is looked at."""
    members = read_members(archive)

    def blob(descriptor: Table) -> bytes:
        content = members["blobs/" + descriptor["digest"].replace(":", "/")]
        assert (digest_of(content), len(content)) == (descriptor["digest"], descriptor["size"])
        return content

    [entry] = json.loads(members["index.json"])["manifests"]
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    index = json.loads(blob(entry))
    assert (index["schemaVersion"], index["mediaType"]) == (2, entry["mediaType"])
    listed = index["manifests"]
    count = len(listed) // 2
    assert not any("annotations" in image for image in listed[:count])
    found = []
    for image, attestation in zip(listed[:count], listed[count:], strict=True):
        assert attestation == {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": attestation["digest"],
            "size": attestation["size"],
            "annotations": {DIGEST: image["digest"], TYPE: "attestation-manifest"},
            "platform": {"architecture": "unknown", "os": "unknown"},
        }
        manifest = json.loads(blob(attestation))
        statements = [json.loads(blob(layer)) for layer in manifest["layers"]]
        assert manifest == {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": manifest["config"]["digest"],
                "size": manifest["config"]["size"],
            },
            "layers": [
                {
                    "mediaType": "application/vnd.in-toto+json",
                    "digest": layer["digest"],
                    "size": layer["size"],
                    "annotations": {PREDICATE: statement["predicateType"]},
                }
                for layer, statement in zip(manifest["layers"], statements, strict=True)
            ],
        }
        assert json.loads(blob(manifest["config"])) == {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {
                "type": "layers",
                "diff_ids": [layer["digest"] for layer in manifest["layers"]],
            },
        }
        described = json.loads(blob(image))
        for statement in statements:
            _check_statement(statement, image["digest"])
        found.append(
            Attested(
                descriptor=image,
                manifest=described,
                config=json.loads(blob(described["config"])),
                statements=statements,
            )
        )
    return found


def _check_statement(statement: Table, digest: str) -> None:
    """Against in-toto's own protocol buffers, which take no member that they do not know."""
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    for subject in statement["subject"]:
        assert subject["digest"] == {"sha256": digest.removeprefix("sha256:")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what protobuf thinks of Python's versions
        parse = import_module("google.protobuf.json_format").ParseDict
        messages = import_module("in_toto_attestation.v1.statement_pb2")
        in_toto = import_module("in_toto_attestation.v1.statement")
    message = parse(statement, messages.Statement())
    in_toto.Statement.copy_from_pb(message).validate()


def _built(pybuild: Pybuild, text: str, *arguments: str | Path, **choices: Any) -> list[Attested]:
    ended = pybuild.try_build(text, *arguments, **choices)
    assert ended.status == 0, ended.stderr
    return _read(pybuild.output)


@pytest.fixture
def context(pybuild: Pybuild) -> Pybuild:
    """A context with a file."""
    pybuild.add({"f": "1"})
    return pybuild


# --- where they are


def test_an_image_has_a_manifest_of_attestations_beside_it(context: Pybuild) -> None:
    [image] = _built(context, TEXT, SBOM)
    assert [s["predicateType"] for s in image.statements] == [SPDX]
    assert image.statements[0]["subject"][0]["name"] == "_"


def test_the_image_is_the_same_as_without(context: Pybuild) -> None:
    alone = context.build(TEXT)
    [image] = _built(context, TEXT, SBOM)
    assert image.descriptor["digest"] == alone.descriptor["digest"]


def test_each_image_of_an_index_has_its_own(context: Pybuild) -> None:
    images = _built(context, TEXT, BOTH, SBOM)
    assert [image.config["architecture"] for image in images] == ["amd64", "arm64"]


def test_the_subject_has_the_names_of_the_image(context: Pybuild) -> None:
    [image] = _built(
        context, TEXT, SBOM, "-t", "app", "-t", "r.example:5000/a/b:2", "-o=image.tar"
    )
    architecture = image.config["architecture"]
    assert [subject["name"] for subject in image.statements[0]["subject"]] == [
        f"pkg:docker/app@latest?platform=linux%2F{architecture}",
        f"pkg:docker/r.example:5000/a/b@2?platform=linux%2F{architecture}",
    ]


def test_what_is_attested_is_of_the_image_as_it_is_in_the_archive(context: Pybuild) -> None:
    output = "type=oci,dest=image.tar,compression=gzip"
    [image] = _built(context, TEXT, SBOM, "-t", "app", "-o", output)
    assert image.manifest["layers"][0]["mediaType"].endswith("tar+gzip")


def test_two_builds_give_the_same_bytes(context: Pybuild) -> None:
    _built(context, TEXT, SBOM)
    before = context.output.read_bytes()
    _built(context, TEXT, SBOM, "--no-cache")
    assert context.output.read_bytes() == before


def test_without_being_asked_for_there_is_none(context: Pybuild) -> None:
    plain = context.build(TEXT)
    for options in (["--provenance=false", "--sbom=false"], ["--attest=type=sbom,disabled=true"]):
        assert context.build(TEXT, *options).descriptor == plain.descriptor


@pytest.mark.parametrize("kind", ["docker", "tar", "local"])
def test_what_has_no_place_for_them_is_said(context: Pybuild, kind: str) -> None:
    ended = context.try_build(TEXT, SBOM, "-o", f"type={kind},dest=out")
    assert ended.status == 0
    assert "out: written, without attestations" in ended.stderr
    if kind == "docker":
        names = read_members(context.work / "out")
        assert len(names) == 3, sorted(names)  # manifest.json, the configuration, a layer


def test_dockers_format_is_refused(context: Pybuild) -> None:
    ended = context.try_build(TEXT, SBOM, "--format=docker")
    assert ended.status == 2
    assert "docker's format has no place for attestations" in ended.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attest=sbom"], "'sbom' is not known"),
        (["--attest=type=vex"], "type is provenance or sbom"),
        (["--attest=type=sbom,generator=x"], "type=sbom has no generator"),
        (["--provenance=mode=most"], "mode is min or max"),
        (["--provenance=version=v0.2"], "only version v1"),
        (["--provenance=builder-id=me"], "builder-id is a URI"),
        (["--provenance=true", "--attest=type=provenance"], "asked for twice"),
        ([SBOM, "--sbom=true"], "asked for twice"),
        (["--attest=type=sbom,disabled=maybe"], "disabled is true or false"),
        (["--sbom=yes"], "spdx or cyclonedx"),
    ],
)
def test_a_bad_option_is_one_line(context: Pybuild, options: list[str], words: str) -> None:
    ended = context.try_build(TEXT, *options)
    assert ended.status == 2
    assert words in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_writes_nothing_attests_nothing(context: Pybuild) -> None:
    context.write(TEXT)
    ended = context.run("verify-reproducible", "--provenance=true", context.context)
    assert ended.status == 2
    assert "--provenance has no place there" in ended.stderr


def test_files_and_attestations_are_asked_for_beside_each_other(context: Pybuild) -> None:
    [image] = _built(context, TEXT, "--sbom=true", "--sbom=spdx")
    file = json.loads((context.work / "image.tar.spdx.json").read_text())
    predicate = image.predicate(SPDX)
    assert predicate["packages"][0]["checksums"] == file["packages"][0]["checksums"]
    assert (file["name"], predicate["name"]) == ("image.tar", "image")


# --- the SBOM


def test_the_sbom_is_the_document_that_the_command_writes(
    context: Pybuild, rpm_database: Path
) -> None:
    context.add({"rpmdb.sqlite": rpm_database.read_bytes(), "os": "ID=odd\nVERSION_ID=7\n"})
    text = "FROM scratch\nCOPY rpmdb.sqlite /usr/lib/sysimage/rpm/\nCOPY os /etc/os-release\n"
    [image] = _built(context, text, SBOM, "-t", NAME, "-o", "image.tar")
    ended = context.run("sbom", NAME)
    assert ended.status == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert len(document["packages"]) > 3
    assert image.predicate(SPDX) == document


# --- the record, and the store


def test_a_build_that_is_recorded_says_the_same(context: Pybuild) -> None:
    said = context.work / "digest"
    first = context.try_build(TEXT, SBOM, f"--digest-file={said}", "-t", "app", "-o", "image.tar")
    assert said.read_text() == first.stdout.strip()
    again = context.try_build(TEXT, SBOM, f"--digest-file={said}", "-t", "app", "-o", "image.tar")
    assert "up to date" in again.stderr
    assert again.stdout == first.stdout
    other = context.try_build(TEXT, f"--digest-file={said}", "-t", "app", "-o", "image.tar")
    assert "up to date" not in other.stderr
    assert other.stdout != first.stdout


def test_the_id_of_an_image_is_that_of_its_configuration(context: Pybuild) -> None:
    [image] = _built(context, TEXT, SBOM, "--iidfile=iid", "--metadata-file=metadata")
    config = image.manifest["config"]["digest"]
    assert (context.work / "iid").read_text() == config
    metadata = json.loads((context.work / "metadata").read_text())
    assert metadata["containerimage.config.digest"] == config
    assert metadata["containerimage.descriptor"]["mediaType"].endswith("image.index.v1+json")


def _in_store(pybuild: Pybuild) -> list[Path]:
    """The statements in the store."""
    blobs = (pybuild.store / "blobs/sha256").iterdir()
    return [path for path in blobs if path.read_bytes().startswith(b'{"_type":')]


def test_a_name_keeps_them(context: Pybuild) -> None:
    assert context.try_build(TEXT, SBOM, "-t", "app").status == 0
    before = sorted((context.store / "blobs/sha256").iterdir())
    assert context.run("prune", "--all").status == 0
    assert sorted((context.store / "blobs/sha256").iterdir()) == before
    assert context.run("verify-store").status == 0
    again = context.try_build(f"{TEXT}LABEL a=b\n", "-o", "image.tar")
    assert again.status == 0, again.stderr


def test_they_go_with_the_last_name(context: Pybuild) -> None:
    assert context.try_build(TEXT, SBOM, "-t", "app", "-t", "other").status == 0
    assert context.run("rmi", "app").status == 0
    assert len(_in_store(context)) == 1
    assert context.run("rmi", "other").status == 0
    assert _in_store(context) == []


def test_one_that_is_missing_is_damage(context: Pybuild) -> None:
    assert context.try_build(TEXT, SBOM, "-t", "app").status == 0
    [statement] = _in_store(context)
    statement.unlink()
    ended = context.run("verify-store")
    assert ended.status == 1
    assert f"of an attestation: sha256:{statement.name}: missing" in ended.stdout + ended.stderr


# --- who reads the image


@pytest.fixture
def runs(as_root: Pybuild) -> Pybuild:
    """An image that runs, with its attestations, in an archive and under a name."""
    text = f'{SHELL}RUN echo hello >/greeting\nCMD ["cat", "/greeting"]\n'
    ended = as_root.try_build(text, SBOM, "--provenance=true", "-t", NAME, "-o", "image.tar")
    assert ended.status == 0, ended.stderr
    return as_root


@pytest.mark.needs_root
def test_pyrun_runs_it(runs: Pybuild) -> None:
    for image in (runs.output, NAME):
        assert run_pyrun(image, store=runs.store).stdout == "hello\n"


@pytest.mark.needs_root
def test_it_is_a_base(runs: Pybuild) -> None:
    made = runs.build(f"FROM {NAME}\nRUN cp /greeting /copy\n")
    assert text_files(made)["copy"] == "hello\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_sees_the_image_in_both_views(runs: Pybuild, transport: str) -> None:
    ended = run(["skopeo", "inspect", f"{transport}:{runs.output}"])
    assert ended.status == 0, ended.stderr
    [image] = _read(runs.output)
    assert len(json.loads(ended.stdout)["Layers"]) == len(image.manifest["layers"])


@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo")
def test_skopeo_copies_all_of_it_as_it_is(runs: Pybuild, tmp_path: Path) -> None:
    # Without --preserve-digests it compresses the layers.
    whole = ["skopeo", "copy", "--all", "--preserve-digests"]
    ended = run([*whole, f"oci-archive:{runs.output}", f"oci:{tmp_path}/c:v1"])
    assert ended.status == 0, ended.stderr
    [copied] = json.loads((tmp_path / "c/index.json").read_text())["manifests"]
    [own] = json.loads(read_members(runs.output)["index.json"])["manifests"]
    assert copied["digest"] == own["digest"]


@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo", "umoci")
def test_umoci_unpacks_the_image_that_skopeo_takes_out(runs: Pybuild, tmp_path: Path) -> None:
    # umoci itself takes no index with two manifests.
    ended = run(["skopeo", "copy", f"oci-archive:{runs.output}", f"oci:{tmp_path}/c:v1"])
    assert ended.status == 0, ended.stderr
    ended = run(["umoci", "unpack", "--image", f"{tmp_path}/c:v1", tmp_path / "bundle"])
    assert ended.status == 0, ended.stderr
    assert (tmp_path / "bundle/rootfs/greeting").read_text() == "hello\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
def test_podman_loads_the_image(runs: Pybuild, tmp_path: Path) -> None:
    # podman takes no long path for its sockets.
    storage = [
        f"--root={tmp_path}/root",
        f"--runroot={runs.directory}/run",
        "--storage-driver=vfs",
    ]
    ended = run(["podman", *storage, "load", "-q", "-i", runs.output])
    assert ended.status == 0, ended.stderr
    ended = run(["podman", *storage, "image", "inspect", "--format={{json .Config.Cmd}}", NAME])
    assert ended.stdout.strip() == '["cat","/greeting"]', ended.stderr
    run(["podman", *storage, "system", "reset", "-f"])
