"""--cache-to and --cache-from: machines that have nothing but a cache elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from buildkit.errors import UsageError
from buildkit.remote_cache.options import read_sources, read_targets
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.claims import secret
from tests.runtime.registry.fault_proxy import FaultProxy, Rule, status
from tests.runtime.registry.registries import PROGRAM, Registry
from tests.support import CHECKOUT

pytestmark = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")

# What is done anew has other bytes each time.
TEXT = (
    SHELL.replace("FROM scratch", "FROM scratch AS system")
    + """\
FROM system AS builder
RUN head -c 200000 /dev/urandom > /made; echo built > /out
FROM system AS other
RUN head -c 100 /dev/urandom > /other
FROM system
COPY --from=builder /out /out
COPY --from=other /other /other
WORKDIR /srv
RUN head -c 100 /dev/urandom > /here
CMD ["cat", "/here"]
"""
)
OTHER_COPY = TEXT.replace("/out /out", "/out /elsewhere")

SLOW = pytest.mark.slow
HELLO = CHECKOUT / "examples/hello/Containerfile"


class Places:
    """The options for one cache, of which each test has its own."""

    def __init__(self, kind: str, host: str, directory: Path) -> None:
        self.kind, self.host, self.directory = kind, host, directory

    def to(self, *more: str, name: str = "cache") -> str:
        """--cache-to."""
        return ",".join([f"--cache-to=type={self.kind}", self._place(name, "dest"), *more])

    def source(self, name: str = "cache") -> str:
        """--cache-from."""
        return f"--cache-from=type={self.kind},{self._place(name, 'src')}"

    def _place(self, name: str, key: str) -> str:
        if self.kind == "local":
            return f"{key}={self.directory / name}"
        return f"ref={self.host}/{self.directory.name}/{name}:1".lower()


@pytest.fixture(params=["local", "registry"])
def either(request: pytest.FixtureRequest, registry: Registry, pybuild: Pybuild) -> Places:
    """Caches in directories, then in a registry."""
    return Places(request.param, registry.host, pybuild.work)


@pytest.fixture(params=["local", pytest.param("registry", marks=SLOW)])
def places(request: pytest.FixtureRequest, registry: Registry, pybuild: Pybuild) -> Places:
    """The same, for what they have in common."""
    return Places(request.param, registry.host, pybuild.work)


def fresh(pybuild: Pybuild, text: str, *options: str, store: str = "fresh") -> tuple[Image, str]:
    """Build with a store that has nothing; the image, and what was said."""
    ended = pybuild.try_build(text, "--root", store, *options)
    assert ended.status == 0, ended.stderr
    return Image(pybuild.output), ended.stderr


def done(log: str) -> list[str]:
    """The steps of the Containerfile that were done, not found."""
    titles = dict(re.findall(r"^#(\d+) (\[.*)$", log, re.MULTILINE))
    ended = re.findall(r"^#(\d+) DONE", log, re.MULTILINE)
    return [titles[number] for number in ended if not titles[number].startswith("[internal]")]


def _asked(proxy: FaultProxy, method: str, path: str) -> list[str]:
    return [a.path for a in proxy.requests if a.method == method and re.search(path, a.path)]


# --- What is found


@pytest.mark.parametrize("mode", ["min", pytest.param("max", marks=SLOW)])
def test_a_fresh_machine_rebuilds_nothing(pybuild: Pybuild, either: Places, mode: str) -> None:
    first = pybuild.build(TEXT, either.to(f"mode={mode}"))
    again, log = fresh(pybuild, TEXT, either.source())
    assert done(log) == []
    assert again.path.read_bytes() == first.path.read_bytes()


def test_whoever_builds_makes_use_of_the_same_cache(
    anybody: Pybuild, pybuild: Pybuild, registry: Registry
) -> None:
    places = Places("registry", registry.host, anybody.work)
    pybuild.build(TEXT, places.to("mode=max"))
    _, log = fresh(anybody, TEXT, places.source())
    assert done(log) == []
    # What is done on top of it is done as if all had been done here.
    image, log = fresh(anybody, f"{TEXT}RUN cat /here /other > /both\n", places.source())
    assert len(done(log)) == 1
    assert image.read("both") == image.read("here") + image.read("other")


def test_an_image_is_a_cache_of_its_own_steps(pybuild: Pybuild, registry: Registry) -> None:
    name = f"{registry.host}/inline/{pybuild.directory.name.lower()}:1"
    options = ("-t", name, "--push", "--cache-to=type=inline", "--compression=gzip")
    first = pybuild.build(TEXT, *options, "-o", "image.tar")
    assert "pybuild.cache.v1" in first.config
    again, log = fresh(pybuild, TEXT, *options, "-o", "image.tar", f"--cache-from={name}")
    assert done(log) == []
    assert again.path.read_bytes() == first.path.read_bytes()


@SLOW
def test_an_image_for_several_platforms_is_a_cache_for_each(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/platforms/{pybuild.directory.name.lower()}:1"
    text = "FROM scratch\nARG TARGETARCH\nCOPY busybox /bin-$TARGETARCH\n"
    options = ("-t", name, "--push", "--platform=linux/amd64,linux/arm64")
    ended = pybuild.try_build(text, *options, "--cache-to=type=inline")
    assert ended.status == 0, ended.stderr
    ended = pybuild.try_build(text, "--root=fresh", *options, f"--cache-from={name}")
    assert ended.status == 0, ended.stderr
    assert done(ended.stderr) == []


def test_layers_that_nobody_needs_are_not_fetched(pybuild: Pybuild, seen: FaultProxy) -> None:
    places = Places("registry", seen.host, pybuild.work)
    first = pybuild.build(TEXT, places.to("mode=max"))
    seen.requests.clear()
    fresh(pybuild, TEXT, places.source())
    # Those of the image, once; and the table of steps.
    assert len(_asked(seen, "GET", "/blobs/")) == len(first.layers) + 1


def test_the_layers_of_stages_are_in_the_larger_cache(pybuild: Pybuild, places: Places) -> None:
    pybuild.build(TEXT, places.to("mode=max"))
    image, log = fresh(pybuild, OTHER_COPY, places.source())
    assert [title.partition("] ")[2] for title in done(log)] == [
        "COPY --from=builder /out /elsewhere",
        "COPY --from=other /other /other",
        "WORKDIR /srv",
        "RUN head -c 100 /dev/urandom > /here",
    ]
    assert image.read("elsewhere") == b"built\n"


def test_a_stage_whose_layers_are_nowhere_is_built_when_it_is_needed(
    pybuild: Pybuild, places: Places
) -> None:
    pybuild.build(TEXT, places.to("mode=min"))
    image, log = fresh(pybuild, OTHER_COPY, places.source())
    assert any(title.startswith("[builder 1/1]") for title in done(log))
    assert not any("busybox" in title for title in done(log))
    assert image.read("elsewhere") == b"built\n"
    assert pybuild.run("verify-store", "--root", "fresh").status == 0
    # What was done is known now, and is all that is believed.
    ended = pybuild.try_build(OTHER_COPY, "--root", "fresh", "-o", "again.tar")
    assert done(ended.stderr) == []
    assert (pybuild.work / "again.tar").read_bytes() == image.path.read_bytes()


def test_steps_without_a_cache_take_nothing_from_elsewhere(
    pybuild: Pybuild, places: Places
) -> None:
    first = pybuild.build(TEXT, places.to())
    again, log = fresh(pybuild, TEXT, places.source(), "--no-cache", store="one")
    assert "import cache" not in log
    assert again.layers != first.layers
    _, log = fresh(pybuild, TEXT, places.source(), "--no-cache-filter=other", store="two")
    assert [title.partition(" ")[0] for title in done(log)][:1] == ["[other"]


@SLOW
@pytest.mark.needs_program("dnf", "rpm")
def test_packages_of_a_system_are_known_from_the_cache(
    pybuild: Pybuild, places: Places, hello_repository: Path
) -> None:
    for name in ("repo", "RPM-GPG-KEY-hello", "motd"):
        source, target = hello_repository / name, pybuild.context / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    text = HELLO.read_text()
    options = ("--attest=type=provenance,mode=max", "--sbom=spdx")
    first = pybuild.try_build(text, places.to(), *options)
    assert first.status == 0, first.stderr
    files = [pybuild.output, Path(f"{pybuild.output}.spdx.json")]
    written = [path.read_bytes() for path in files]
    again = pybuild.try_build(text, "--root", "fresh", places.source(), *options)
    assert done(again.stderr) == []
    assert [path.read_bytes() for path in files] == written


def test_bake_reads_and_writes_caches(pybuild: Pybuild, places: Places) -> None:
    pybuild.write(TEXT)
    target = {"context": str(pybuild.context), "cache-from": [places.source()[13:]]}
    target["cache-to"] = [places.to("mode=max")[11:]]
    definition = {
        "group": {"default": {"targets": ["all", "builder"]}},
        "target": {
            "all": target | {"tags": ["all"]},
            "builder": target | {"target": "builder", "tags": ["builder"]},
        },
    }
    (pybuild.work / "docker-bake.json").write_text(json.dumps(definition))
    first = pybuild.run("bake")
    assert first.status == 0, first.stderr
    # Both targets are in the one cache that they name.
    again = pybuild.run("bake", "--root", "fresh")
    assert again.status == 0, again.stderr
    assert done(again.stderr) == []
    assert again.stdout == first.stdout


# --- What is written


@SLOW
def test_a_cache_is_an_artifact_that_others_can_copy(pybuild: Pybuild, places: Places) -> None:
    pybuild.build(TEXT, places.to("mode=max"))
    origin = f"oci:{pybuild.work}/cache:latest"
    if places.kind == "registry":
        origin = "docker://" + places.source().partition("ref=")[2]
    copied = pybuild.directory / "copied"
    words = ["skopeo", "copy", "--src-tls-verify=false", origin, f"oci:{copied}:latest"]
    subprocess.run(words, check=True, capture_output=True)
    _, log = fresh(pybuild, TEXT, f"--cache-from=type=local,src={copied}")
    assert done(log) == []


@pytest.mark.parametrize(
    "compression", ["gzip", *(pytest.param(n, marks=SLOW) for n in ("zstd", "uncompressed"))]
)
def test_layers_are_compressed_as_it_is_asked(
    pybuild: Pybuild, places: Places, compression: str
) -> None:
    first = pybuild.build(TEXT, places.to(f"compression={compression}"))
    again, log = fresh(pybuild, TEXT, places.source())
    assert done(log) == []
    assert again.path.read_bytes() == first.path.read_bytes()
    if places.kind == "local":
        types = {layer["mediaType"].rpartition("tar")[2] for layer in _manifest(pybuild)["layers"]}
        assert types == {{"gzip": "+gzip", "zstd": "+zstd", "uncompressed": ""}[compression]}


def test_an_image_that_is_pushed_and_its_cache_have_the_same_blobs(
    pybuild: Pybuild, registry: Registry
) -> None:
    places = Places("local", "", pybuild.work)
    name = f"{registry.host}/shared/{pybuild.directory.name.lower()}:1"
    image = pybuild.build(TEXT, places.to(), "-t", name, "--push", "-o", "image.tar")
    assert _digests(_manifest(pybuild)) == _digests(image.manifest)


@pytest.mark.parametrize("kind", ["local", "registry"])
def test_what_a_cache_has_compressed_is_not_compressed_again(
    pybuild: Pybuild, registry: Registry, kind: str
) -> None:
    local, places = (Places(k, registry.host, pybuild.work) for k in ("local", kind))
    pybuild.build(TEXT, local.to("compression=gzip,compression-level=1"))
    layers = [
        layer | {"compression": "gzip:6"} if "blob" in layer else layer
        for layer in _table(pybuild)["layers"]
    ]
    _change_table(pybuild, "cache", layers=layers)
    if kind == "registry":
        origin, place = f"oci:{pybuild.work}/cache:latest", places.source().partition("ref=")[2]
        words = ["skopeo", "copy", "--dest-tls-verify=false", origin, f"docker://{place}"]
        subprocess.run(words, check=True, capture_output=True)
    image, log = fresh(pybuild, TEXT, places.source(), "--compression=gzip:6")
    assert done(log) == []
    # Bytes that level 6 would not make: they are the cache's.
    assert _digests(image.manifest) == _digests(_manifest(pybuild))
    assert pybuild.run("verify-store", "--root", "fresh").status == 0


@SLOW
def test_the_same_steps_make_the_same_cache(pybuild: Pybuild) -> None:
    places = Places("local", "", pybuild.work)
    pybuild.build(TEXT, places.to("mode=max", name="one"), places.to("mode=max", name="two"))
    fresh(pybuild, TEXT, places.source("one"), places.to("mode=max", name="three"))
    indexes = {
        (pybuild.work / name / "index.json").read_bytes() for name in ("one", "two", "three")
    }
    assert len(indexes) == 1


@SLOW
def test_what_a_registry_has_is_not_sent_there_again(pybuild: Pybuild, seen: FaultProxy) -> None:
    places = Places("registry", seen.host, pybuild.work)
    pybuild.build(TEXT, places.to("mode=max"))
    for name in ("cache", "copy"):  # where it came from, and another repository there
        seen.requests.clear()
        fresh(pybuild, TEXT, places.source(), places.to("mode=max", name=name), store=name)
        assert _asked(seen, "PATCH", "") == []
        # A table of steps has one blob, which the other repository has not got.
        assert len(_asked(seen, "PUT", "/blobs/")) == (name == "copy")
    _, log = fresh(pybuild, OTHER_COPY, places.source("copy"), store="last")
    assert not any(title.startswith("[builder") for title in done(log))


@SLOW
def test_layers_that_were_not_fetched_go_from_cache_to_cache(
    pybuild: Pybuild, registry: Registry
) -> None:
    first, second = (Places(k, registry.host, pybuild.work) for k in ("registry", "local"))
    pybuild.build(TEXT, first.to("mode=max"))
    fresh(pybuild, TEXT, first.source(), second.to("mode=max"), store="one")
    _, log = fresh(pybuild, OTHER_COPY, second.source(), store="two")
    assert not any(title.startswith("[builder") for title in done(log))


def test_a_directory_does_not_grow_from_build_to_build(pybuild: Pybuild) -> None:
    places = Places("local", "", pybuild.work)
    pybuild.build(TEXT, places.to(name="kept"), places.to("tag=other", name="cache"))
    counts = []
    for number in range(3):
        pybuild.build(f"{TEXT}RUN echo {number} > /number\n", places.to("mode=max"))
        counts.append(len(os.listdir(pybuild.work / "cache/blobs/sha256")))
    assert len(set(counts)) == 1
    # What has another name there is still whole.
    source = f"{places.source()},tag=other"
    _, log = fresh(pybuild, TEXT, source)
    assert done(log) == []


@secret
def test_no_secret_is_in_a_cache(pybuild: Pybuild) -> None:
    pybuild.add({"secret": "canary-93b1"})
    places = Places("local", "", pybuild.work)
    text = f"{SHELL}ARG WORD\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo $WORD\n"
    secret = f"--secret=id=s,src={pybuild.context}/secret"
    pybuild.build(text, secret, "--build-arg=WORD=canary-77", places.to("mode=max"))
    [config] = [b for b in _blobs(pybuild) if b'"steps"' in b]
    assert b"canary" not in config


# --- What goes wrong


def test_a_cache_that_is_not_there_yet_is_no_error(pybuild: Pybuild, places: Places) -> None:
    _, log = fresh(pybuild, TEXT, places.source("nothing"))
    assert "there is none yet" in log


def test_a_cache_that_cannot_be_read_is_gone_on_without(pybuild: Pybuild) -> None:
    work = pybuild.work
    text = "FROM scratch\nCOPY busybox /\n"
    pybuild.build(
        text, "-t", "image:latest", "-o", "image.tar", "--cache-to=type=local,dest=later"
    )
    ended = pybuild.run("save", "--format=oci-dir", "-o", "image", "image:latest")
    assert ended.status == 0, ended.stderr
    index = json.loads((work / "image/index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "latest"
    (work / "image/index.json").write_text(json.dumps(index))
    (work / "broken/blobs/sha256").mkdir(parents=True)
    (work / "broken/index.json").write_text("{")
    _change_table(pybuild, "later", version=2)
    said = {
        "broken": "not valid JSON",
        "image": "an image, and no cache",
        "image,tag=nothing": "nothing there is called nothing",
        "later": "version is 2, 1 expected",
    }
    options = [f"--cache-from=type=local,src={work}/{name}" for name in said]
    _, log = fresh(pybuild, text, *options)
    for words in said.values():
        assert words in log
    assert len(done(log)) == 1


@SLOW
def test_a_registry_that_is_not_there_is_gone_on_without(pybuild: Pybuild) -> None:
    _, log = fresh(pybuild, "FROM scratch\nCOPY busybox /\n", "--cache-from=127.0.0.1:9/x")
    assert "Connection refused" in log
    assert len(done(log)) == 1


def test_a_damaged_layer_is_made_again(pybuild: Pybuild) -> None:
    places = Places("local", "", pybuild.work)
    pybuild.build(TEXT, places.to())
    blobs = pybuild.work / "cache/blobs/sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[1000] ^= 1
    largest.write_bytes(content)
    image, log = fresh(pybuild, TEXT, places.source())
    assert any("busybox" in title for title in done(log))
    assert image.read("out") == b"built\n"
    assert pybuild.run("verify-store", "--root", "fresh").status == 0


@pytest.mark.parametrize("code", [404, pytest.param(500, marks=SLOW)])
def test_a_registry_that_has_lost_a_layer_costs_time_only(
    pybuild: Pybuild, seen: FaultProxy, code: int
) -> None:
    places = Places("registry", seen.host, pybuild.work)
    pybuild.build(TEXT, places.to("compression=uncompressed"))
    blob = pybuild.build(TEXT).manifest["layers"][-1]["digest"]
    seen.rules.append(Rule(status(code), "GET", f"/blobs/{blob}", times=0))
    image, log = fresh(pybuild, TEXT, places.source())
    assert any("/here" in title for title in done(log))
    assert image.read("out") == b"built\n"
    assert pybuild.run("verify-store", "--root", "fresh").status == 0


@SLOW
def test_a_cache_that_lies_about_a_layer_is_not_believed(pybuild: Pybuild) -> None:
    places = Places("local", "", pybuild.work)
    first = pybuild.build(TEXT, places.to())
    table = _table(pybuild)
    one, two = [layer for layer in table["layers"] if "blob" in layer][:2]
    one["blob"], two["blob"] = two["blob"], one["blob"]
    _change_table(pybuild, "cache", layers=table["layers"])
    image, log = fresh(pybuild, TEXT, places.source())
    assert len(done(log)) >= 1
    assert image.config["rootfs"]["diff_ids"][0] == first.config["rootfs"]["diff_ids"][0]
    assert pybuild.run("verify-store", "--root", "fresh").status == 0


def test_a_cache_that_cannot_be_written_fails_the_build_after_the_image(
    pybuild: Pybuild, seen: FaultProxy
) -> None:
    seen.rules.append(Rule(status(403), "POST", times=0))
    place = f"{seen.host}/cache"
    ended = pybuild.try_build(SHELL, f"--cache-to={place}")
    assert ended.status == 4
    assert f"\npybuild: --cache-to {place}: " in ended.stderr
    assert pybuild.output.exists()
    ended = pybuild.try_build(SHELL, f"--cache-to=type=registry,ref={place},ignore-error=true")
    assert ended.status == 0
    assert "not written" in ended.stderr


def test_a_directory_that_holds_something_else_is_refused(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(SHELL, f"--cache-to=type=local,dest={pybuild.context}")
    assert ended.status == 2
    assert "neither empty nor an OCI layout" in ended.stderr
    assert not pybuild.output.exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--cache-from=", "a name or type="),
        ("--cache-from=UPPER", "lower"),
        ("--cache-from=type=gha", "actions/cache"),
        ("--cache-from=type=local", "src=DIRECTORY expected"),
        ("--cache-from=type=local,src=x,digest=y", "not a sha256 digest"),
        ("--cache-from=type=local,src=x,mode=max", "'mode' is not known"),
        ("--cache-from=ref=x", "type= expected"),
        ("--cache-from=type=registry,ref=x,ref=y", "each once"),
        ("--cache-to=type=s3,bucket=x", "registry, local or inline"),
        ("--cache-to=type=registry", "ref=NAME expected"),
        ("--cache-to=type=inline,mode=max", "mode=min"),
        ("--cache-to=x,mode=most", "KEY=VALUE expected"),
        ("--cache-to=type=registry,ref=x,mode=most", "min or max"),
        ("--cache-to=type=registry,ref=x,compression=xz", "uncompressed, gzip, zstd"),
        ("--cache-to=type=registry,ref=x,compression=gzip,compression-level=77", "level"),
        ("--cache-to=type=registry,ref=x,image-manifest=false", "the only form"),
        ("--cache-to=type=registry,ref=x,ignore-error=perhaps", "true or false"),
    ],
)
def test_options_that_make_no_sense_are_named(option: str, words: str) -> None:
    name, _, word = option.partition("=")
    with pytest.raises(UsageError) as raised:
        (read_sources if name == "--cache-from" else read_targets)((word,))
    assert words in raised.value.message + str(raised.value.hint)
    assert raised.value.message.startswith(f"{name} ")


def test_a_wrong_option_is_status_2_before_anything_is_built(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(SHELL, "--cache-to=type=gha")
    assert (ended.status, "actions/cache" in ended.stderr) == (2, True)
    assert not pybuild.output.exists()


@SLOW
def test_two_builds_write_one_directory_at_once(pybuild: Pybuild) -> None:
    places = Places("local", "", pybuild.work)
    pybuild.build(TEXT, places.to("mode=max"))
    builds = [
        pybuild.start(TEXT, places.to("mode=max"), "-o", f"{number}.tar") for number in range(4)
    ]
    assert [build.wait() for build in builds] == [0, 0, 0, 0]
    _, log = fresh(pybuild, TEXT, places.source())
    assert done(log) == []


# --- Reading what was written


def _blobs(pybuild: Pybuild, name: str = "cache") -> list[bytes]:
    return [path.read_bytes() for path in (pybuild.work / name / "blobs/sha256").iterdir()]


def _manifest(pybuild: Pybuild, name: str = "cache") -> dict[str, Any]:
    index = json.loads((pybuild.work / name / "index.json").read_text())
    [entry] = index["manifests"]
    found: dict[str, Any] = json.loads(_path(pybuild, name, entry).read_text())
    return found


def _digests(manifest: Mapping[str, Any]) -> set[str]:
    return {layer["digest"] for layer in manifest["layers"]}


def _path(pybuild: Pybuild, name: str, descriptor: Mapping[str, Any]) -> Path:
    return pybuild.work / name / "blobs" / str(descriptor["digest"]).replace(":", "/")


def _table(pybuild: Pybuild, name: str = "cache") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        _path(pybuild, name, _manifest(pybuild, name)["config"]).read_text()
    )
    return found


def _change_table(pybuild: Pybuild, name: str, **members: object) -> None:
    """Write a cache whose table of steps says something else, with all digests right."""
    root = pybuild.work / name
    table, manifest = _table(pybuild, name) | members, _manifest(pybuild, name)
    manifest["config"] |= _put(root, table)
    index = json.loads((root / "index.json").read_text())
    index["manifests"][0] |= _put(root, manifest)
    (root / "index.json").write_text(json.dumps(index))


def _put(root: Path, document: object) -> dict[str, Any]:
    content = json.dumps(document).encode()
    digest = hashlib.sha256(content).hexdigest()
    (root / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}
