"""Attestations: laid out as BuildKit says, and as in-toto and SLSA specify what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packageurl import PackageURL

from buildkit.attestations.statement import image_url
from runtime import VERSION
from tests.buildkit.debian_mirror import add_mirror
from tests.buildkit.git_server import Repository, serve_git
from tests.buildkit.support import SHELL, Pybuild, text_files
from tests.buildkit.web import running_site
from tests.runtime.registry.registries import PROGRAM, running_registry
from tests.support import digest_of, make_tree, read_members, run, run_pyrun

SBOM = "--attest=type=sbom"
SPDX = "https://spdx.dev/Document"
SLSA = "https://slsa.dev/provenance/v1"
BOTH = "--platform=linux/amd64,linux/arm64"
NAME = "localhost/app:v1"
TEXT = "FROM scratch\nCOPY f /\n"
# The keys of BuildKit's docs/attestations/attestation-storage.md.
TYPE, DIGEST = "vnd.docker.reference.type", "vnd.docker.reference.digest"
PREDICATE = "in-toto.io/predicate-type"

Table = dict[str, Any]

# https://slsa.dev/spec/v1.1/provenance, and in-toto's spec/v1/resource_descriptor.md: "a
# ResourceDescriptor MUST specify one of uri, digest or content at a minimum".
_TYPE_URI = {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:."}
_RESOURCE = {
    "type": "object",
    "anyOf": [{"required": [name]} for name in ("uri", "digest", "content")],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "uri": _TYPE_URI,
        "digest": {
            "type": "object",
            "minProperties": 1,
            "properties": {
                "sha256": {"pattern": "^[0-9a-f]{64}$"},
                "gitCommit": {"pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"},
            },
            "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]+$"},
        },
        "annotations": {"type": "object"},
    },
    "additionalProperties": False,
}
PROVENANCE = {
    "type": "object",
    "required": ["buildDefinition", "runDetails"],
    "properties": {
        "buildDefinition": {
            "type": "object",
            "required": ["buildType", "externalParameters"],
            "properties": {
                "buildType": _TYPE_URI,
                "externalParameters": {"type": "object"},
                "internalParameters": {"type": "object"},
                "resolvedDependencies": {
                    "type": "array",
                    "items": _RESOURCE,
                    "uniqueItems": True,
                },
            },
            "additionalProperties": False,
        },
        "runDetails": {
            "type": "object",
            "required": ["builder"],
            "properties": {
                "builder": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": _TYPE_URI,
                        "version": {
                            "type": "object",
                            "additionalProperties": {"type": "string"},
                        },
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


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
        slsa = import_module("in_toto_attestation.predicates.provenance.v1.provenance_pb2")
    message = parse(statement, messages.Statement())
    in_toto.Statement.copy_from_pb(message).validate()
    if statement["predicateType"] == SLSA:
        parse(statement["predicate"], slsa.Provenance())
        jsonschema.validate(statement["predicate"], PROVENANCE)


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


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("app", "pkg:docker/app@latest"),
        ("docker.io/library/alpine:3.17", "pkg:docker/alpine@3.17"),
        ("ghcr.io/team/app:v1", "pkg:docker/ghcr.io/team/app@v1"),
        ("h:5000/app:v1@sha256:12", "pkg:docker/h:5000/app@sha256:12"),
        ("h:5000/app@sha256:12", "pkg:docker/h:5000/app@sha256:12"),
    ],
)
def test_images_have_package_urls_as_buildkit_writes_them(name: str, url: str) -> None:
    assert image_url(name, "linux/amd64") == f"{url}?platform=linux%2Famd64"
    assert image_url(name, "") == url


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


# --- provenance


def _provenance(pybuild: Pybuild, text: str, *options: str | Path, **choices: Any) -> Table:
    """What a build says of where its only image comes from."""
    [image] = _built(pybuild, text, *(options or ("--provenance=mode=min",)), **choices)
    return image.predicate(SLSA)


def _materials(predicate: Table) -> list[Table]:
    found = predicate["buildDefinition"]["resolvedDependencies"]
    assert isinstance(found, list)
    return found


def _addressed(predicate: Table) -> dict[str, Table]:
    return {m["uri"]: m["digest"] for m in _materials(predicate) if "uri" in m}


def _named(predicate: Table) -> dict[str, Table]:
    return {m["name"]: m["digest"] for m in _materials(predicate) if "name" in m}


def _sha256(content: str | bytes) -> Table:
    encoded = content.encode() if isinstance(content, str) else content
    return {"sha256": hashlib.sha256(encoded).hexdigest()}


def test_provenance_says_what_was_asked_for_and_who_built(context: Pybuild) -> None:
    predicate = _provenance(context, TEXT)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    definition = predicate["buildDefinition"]
    assert definition["buildType"] == "urn:pybuild:containerfile:v1"
    assert definition["externalParameters"] == {
        "containerfile": "Containerfile",
        "platform": f"linux/{machine}",
    }
    assert definition["internalParameters"] == {"builderPlatform": f"linux/{machine}"}
    version = {"pybuild": VERSION}
    assert predicate["runDetails"] == {
        "builder": {"id": "urn:pybuild:builder", "version": version}
    }
    assert _named(predicate)["Containerfile"] == _sha256(TEXT)


def test_the_builder_may_have_another_name(context: Pybuild) -> None:
    predicate = _provenance(context, TEXT, "--provenance=builder-id=https://ci.example/7")
    assert predicate["runDetails"]["builder"]["id"] == "https://ci.example/7"


def test_the_sbom_comes_before_the_provenance(context: Pybuild) -> None:
    [image] = _built(context, TEXT, "--provenance=true", SBOM)
    assert [statement["predicateType"] for statement in image.statements] == [SPDX, SLSA]


def test_the_context_is_known_by_what_was_taken_from_it(context: Pybuild) -> None:
    first = _named(_provenance(context, TEXT))["context"]
    context.add({"other": "2"})
    assert _named(_provenance(context, TEXT))["context"] == first
    context.add({"f": "2"})
    assert _named(_provenance(context, TEXT))["context"] != first
    assert "context" not in _named(_provenance(context, "FROM scratch\nLABEL a=b\n"))


def test_a_named_context_is_one_of_its_own(context: Pybuild) -> None:
    other = make_tree(context.directory / "elsewhere", {"g": "3"})
    text = f"{TEXT}COPY --from=more g /\n"
    predicate = _provenance(context, text, "--provenance=true", f"--build-context=more={other}")
    assert {"context", "context:more"} <= set(_named(predicate))
    assert str(context.directory) not in json.dumps(predicate)


def test_where_it_is_built_makes_no_difference(as_root: Pybuild, as_user: Pybuild) -> None:
    made = []
    for pybuild in (as_root, as_user):
        pybuild.add({"f": "1", "d/other": TEXT})
        file = pybuild.context / "d/other"
        ended = pybuild.run("--provenance=mode=max", SBOM, "-f", file, pybuild.context)
        assert ended.status == 0, ended.stderr
        made.append(pybuild.output.read_bytes())
        [image] = _read(pybuild.output)
        parameters = image.predicate(SLSA)["buildDefinition"]["externalParameters"]
        assert parameters["containerfile"] == "d/other"
    assert made[0] == made[1]


def test_a_containerfile_may_have_no_name_and_no_place_in_the_context(context: Pybuild) -> None:
    ended = context.run("--provenance=true", "-f", "-", context.context, stdin=TEXT.encode())
    assert ended.status == 0, ended.stderr
    [image] = _read(context.output)
    assert _named(image.predicate(SLSA))["-"] == _sha256(TEXT)
    outside = context.directory / "outside"
    outside.write_text(TEXT)
    ended = context.run("--provenance=true", "-f", outside, context.context)
    assert ended.status == 0, ended.stderr
    [image] = _read(context.output)
    assert _named(image.predicate(SLSA))["outside"] == _sha256(TEXT)


def test_names_that_are_no_utf8_are_no_hindrance(context: Pybuild) -> None:
    name = os.fsdecode(b"odd-\xff")
    context.add({name: TEXT})
    context.write("FROM scratch\nCOPY f odd-* /\n")
    for file in (context.context / "Containerfile", context.context / name):
        ended = context.run("--provenance=mode=max", "-f", file, context.context)
        assert ended.status == 0, ended.stderr
        [image] = _read(context.output)
        assert image.predicate(SLSA)["buildDefinition"]["resolvedDependencies"]


def test_base_images_have_their_manifests_digests(context: Pybuild) -> None:
    base = context.try_build(f"{TEXT}LABEL a=b\n", "-t", "r.example/base:1")
    archive = context.build(f"{TEXT}LABEL c=d\n", "-o", "image.tar")
    shutil.copy(context.output, context.context / "base.tar")
    text = (
        "FROM base.tar AS files\nFROM scratch AS unused\nCOPY f /unused\n"
        "FROM r.example/base:1\nCOPY --from=files /f /g\n"
    )
    predicate = _provenance(context, text)
    [(uri, digest)] = _addressed(predicate).items()
    platform = predicate["buildDefinition"]["internalParameters"]["builderPlatform"]
    assert uri == f"pkg:docker/r.example/base@1?platform={platform.replace('/', '%2F')}"
    assert digest == {"sha256": base.stdout.strip().removeprefix("sha256:")}
    assert _named(predicate)["base.tar"] == {
        "sha256": archive.descriptor["digest"].removeprefix("sha256:")
    }
    assert "context" not in _named(predicate)  # a stage that nothing needs took from it


def test_each_platform_has_the_materials_of_its_own_stages(context: Pybuild) -> None:
    assert context.try_build(TEXT, BOTH, "-t", "both").status == 0
    images = _built(context, "FROM both\nLABEL a=b\n", BOTH, "--provenance=true", "-o=image.tar")
    uris = [uri for image in images for uri in _addressed(image.predicate(SLSA))]
    assert uris == [
        "pkg:docker/both@latest?platform=linux%2Famd64",
        "pkg:docker/both@latest?platform=linux%2Farm64",
    ]
    assert len({json.dumps(_addressed(image.predicate(SLSA))) for image in images}) == 2


def test_what_add_fetches_is_known_also_when_all_is_cached(pybuild: Pybuild) -> None:
    with running_site() as site:
        site.files["/tool"] = b"tool"
        checked = f"ADD --checksum=sha256:{_sha256('tool')['sha256']} {site.url}/tool /b"
        host = site.url.partition("//")[2]
        text = f"FROM scratch\nADD http://me:word@{host}/tool /a\n{checked}\n"
        first = _provenance(pybuild, text)
        assert _addressed(first) == {f"{site.url}/tool": _sha256("tool")}
        assert pybuild.steps(text, "--provenance=mode=min", "-t", "x") == ["CACHED", "CACHED"]
        assert _provenance(pybuild, text, "--provenance=mode=min", "-o", "image.tar") == first
    assert "word" not in json.dumps(first)


@pytest.mark.needs_program("git")
def test_git_repositories_have_their_commits(pybuild: Pybuild, public: Path) -> None:
    repository = Repository(public / "repositories/r.git")
    commit = repository.commit({"a": "1"})
    repository.git("tag", "v1")
    with running_site() as site:
        site.answer = lambda request: serve_git(request, public / "repositories")
        url = f"{site.url}/r.git"
        text = f"FROM scratch\nADD {url}#v1 /v\nADD {url} /r\n"
        assert _addressed(_provenance(pybuild, text)) == {
            f"git+{url}@refs/tags/v1": {"gitCommit": commit},
            f"git+{url}@refs/heads/main": {"gitCommit": commit},
        }


@pytest.mark.needs_program("dnf", "rpm")
def test_packages_are_known_also_when_all_is_cached(
    pybuild: Pybuild, hello_repository: Path
) -> None:
    shutil.copytree(hello_repository / "repo", pybuild.context / "repo")
    shutil.copy2(hello_repository / "RPM-GPG-KEY-hello", pybuild.context)
    flags = "--releasever=1 --repo=id=hello,url=repo --key=RPM-GPG-KEY-hello"
    text = f"FROM scratch\nBOOTSTRAP {flags} hello-system hello-release busybox\n"
    first = _provenance(pybuild, text)
    files = {path.name: path.read_bytes() for path in (pybuild.context / "repo").glob("*.rpm")}
    found = _addressed(first)
    assert len(found) == 3
    for uri, digest in found.items():
        purl = PackageURL.from_string(uri)
        arch = purl.qualifiers["arch"]
        assert digest == _sha256(files[f"{purl.name}-{purl.version}.{arch}.rpm"])
    for options in ((), ("--no-cache",)):  # the same packages as before, and all of it anew
        again = _provenance(pybuild, text, "--provenance=mode=min", "-o", "image.tar", *options)
        assert again == first
    pybuild.run("lock", pybuild.context)
    locked = _provenance(pybuild, text, "--provenance=mode=min", "-o", "image.tar")
    assert _addressed(locked) == found
    (pybuild.context / "pybuild.lock").unlink()
    # Records of a version that did not keep them are none.
    for record in (pybuild.store / "cache").iterdir():
        if len(record.name) == 64:
            document = json.loads(record.read_bytes())
            document.pop("packages", None)
            record.write_text(json.dumps(document))
    assert _provenance(pybuild, text, "--provenance=mode=min", "-o=image.tar") == first


@pytest.mark.slow
@pytest.mark.needs_program("apt-get", "mmdebstrap", "dpkg-deb", "gpg", "gpgv")
def test_debian_packages_are_known_too(as_root: Pybuild, debian_mirror: Path) -> None:
    add_mirror(as_root, debian_mirror)
    flags = "--manager=apt --repo=id=debian,url=debian,suite=bookworm --key=archive.asc"
    text = f"FROM scratch\nBOOTSTRAP {flags} greeting\n"
    files = {_sha256(path.read_bytes())["sha256"] for path in debian_mirror.rglob("*.deb")}
    found = _addressed(_provenance(as_root, text))
    assert {digest["sha256"] for digest in found.values()} <= files
    names = {PackageURL.from_string(uri).name for uri in found}
    assert "greeting" in names


# --- more of it, and what is never said


ASKED = "FROM scratch AS one\nARG A\nCOPY f /\nFROM one AS two\nARG HTTP_PROXY\n"


def test_mode_max_says_the_text_the_arguments_and_what_was_taken(context: Pybuild) -> None:
    options = (
        *("--provenance=mode=max", "--target=one", "--build-arg=A=value", "--label=l=1"),
        *("--timestamp=1000000000", "--annotation=n=2", "--squash"),
    )
    predicate = _provenance(context, ASKED, *options)
    parameters = predicate["buildDefinition"]["externalParameters"]
    platform = parameters.pop("platform")
    assert platform.startswith("linux/")
    assert parameters == {
        "containerfile": "Containerfile",
        "target": "one",
        "containerfileText": ASKED,
        "buildArguments": {"A": "value"},
        "labels": {"l": "1"},
        "annotations": {"n": "2"},
        "squash": "new",
        "sourceDateEpoch": "1000000000",
    }
    [taken] = [m["annotations"]["taken"] for m in _materials(predicate) if m["name"] == "context"]
    assert taken == [{"sources": ["f"], "digests": {"f": taken[0]["digests"]["f"]}}]


def test_mode_min_says_the_names_of_arguments_alone(context: Pybuild) -> None:
    predicate = _provenance(context, ASKED, "--provenance=mode=min", "--build-arg=A=value")
    parameters = predicate["buildDefinition"]["externalParameters"]
    assert parameters["buildArgumentNames"] == ["A"]
    assert "value" not in json.dumps(predicate)


def _everywhere(archive: Path) -> bytes:
    """All documents of an archive, and what is attested."""
    members = read_members(archive)
    return b"".join(content for name, content in members.items() if b"_type" in content[:9])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_secrets_are_nowhere(as_root: Pybuild, mode: str) -> None:
    canary, proxy = "canary-5d1c", "proxy-7a0e"
    mount = "--mount=type=secret,id=s,required=true"
    (as_root.work / "secret").write_text(canary)
    text = f"{SHELL}ARG A\nRUN {mount} grep -q canary /run/secrets/s\n"
    options = [
        *(f"--provenance=mode={mode}", "--secret=id=s,src=secret", SBOM),
        *("--secret=id=e,env=CANARY", f"--build-arg=HTTP_PROXY=http://me:{proxy}@127.0.0.1:1"),
        f"--build-arg=A=https://me:{canary}@host/",
    ]
    ended = as_root.try_build(text, *options, env={"CANARY": canary})
    assert ended.status == 0, ended.stderr
    [image] = _read(as_root.output)
    said = _everywhere(as_root.output)
    assert SLSA.encode() in said
    assert canary.encode() not in said
    assert proxy.encode() not in said
    parameters = image.predicate(SLSA)["buildDefinition"]["externalParameters"]
    if mode == "max":
        assert parameters["secrets"] == ["e", "s"]
        assert parameters["buildArguments"] == {"A": "https://host/"}


def test_an_address_that_says_the_value_of_an_argument_is_left_out(pybuild: Pybuild) -> None:
    with running_site() as site:
        site.files["/canary-5d1c/tool"] = b"tool"
        text = f"FROM scratch\nARG TOKEN\nADD {site.url}/$TOKEN/tool /\n"
        argument = "--build-arg=TOKEN=canary-5d1c"
        predicate = _provenance(pybuild, text, "--provenance=mode=min", argument)
        assert {"digest": _sha256("tool")} in _materials(predicate)
        assert "canary" not in json.dumps(predicate)
        whole = f"FROM scratch\nARG URL\nADD $URL /\nADD {site.url}/public /\n"
        site.files["/public"] = b"public"
        address = f"{site.url.replace('//', '//me:word@')}/canary-5d1c/tool"
        predicate = _provenance(
            pybuild, whole, "--provenance=mode=min", f"--build-arg=URL={address}"
        )
        assert _addressed(predicate) == {f"{site.url}/public": _sha256("public")}
        assert "canary" not in json.dumps(predicate)
        predicate = _provenance(pybuild, text, "--provenance=mode=max", argument)
        assert _addressed(predicate) == {f"{site.url}/canary-5d1c/tool": _sha256("tool")}


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


def test_they_go_where_the_image_goes(context: Pybuild) -> None:
    assert context.try_build(TEXT, SBOM, "-t", "app").status == 0
    assert context.run("save", "-o", context.output, "app").status == 0
    [image] = _read(context.output)
    assert image.predicate(SPDX)
    assert context.run("rmi", "app").status == 0
    assert _in_store(context) == []
    assert context.run("load", "-i", context.output).status == 0
    assert len(_in_store(context)) == 1
    assert context.run("verify-store").status == 0


@pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")
def test_a_registry_gets_them_and_is_named_by_who_builds_on_it(
    context: Pybuild, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/app:v1"
        ended = context.try_build(TEXT, SBOM, "-t", name, "--push")
        assert ended.status == 0, ended.stderr
        [statement] = _in_store(context)
        assert registry.tag("team/app", "v1") == ended.stdout.strip()
        assert registry.has_blob("team/app", statement.name)
        assert context.run("rmi", name).status == 0
        predicate = _provenance(context, f"FROM {name}\nLABEL a=b\n")
    [(uri, digest)] = _addressed(predicate).items()
    assert uri.startswith(f"pkg:docker/{registry.host}/team/app@v1?platform=linux%2F")
    assert registry.data(f"sha256:{digest['sha256']}").exists()


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
