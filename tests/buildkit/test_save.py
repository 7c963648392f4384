"""`pybuild save`: images of the store as one archive, the same bytes for the same images."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.buildkit.archived import (
    FULL_NAME,
    REF_NAME,
    blobs_in,
    check_archive,
    engine,
    layout,
    names_in,
    platforms,
    put,
    several,
    shell,
)
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import run_pyrun

TWO = {"app:v1": b"one", "me/app:v2": b"two"}
KINDS = ["hybrid", "oci", "docker", "oci-dir"]
TEXT = f"{SHELL}RUN echo 1 > /f\nENV A=1\nCMD cat /f\n"
someone = pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)


@pytest.fixture
def two(pybuild: Pybuild) -> Pybuild:
    """A store with two images that have a layer in common."""
    put(pybuild, "two.tar", several(TWO))
    assert pybuild.run("load", "-i", "two.tar").status == 0
    return pybuild


def test_it_writes_the_bytes_that_the_build_wrote(anybody: Pybuild) -> None:
    anybody.build(TEXT, "-t", "app:v1", "-o", "image.tar", "-o", "type=oci,dest=oci.tar")
    ended = anybody.run("save", "-o", "saved.tar", "app:v1")
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
    saved = anybody.work / "saved.tar"
    assert saved.read_bytes() == anybody.output.read_bytes()
    assert anybody.run("save", "--format=oci", "-o", "saved.tar", "app:v1").status == 0
    assert saved.read_bytes() == (anybody.work / "oci.tar").read_bytes()
    piped = subprocess.run(
        [*anybody.command, "save", "app:v1"],
        env=anybody.environment(), stdout=subprocess.PIPE, check=True, **anybody.caller.switch,
    )  # fmt: skip
    assert piped.stdout == anybody.output.read_bytes()


@someone
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded_with_all_names_and_runs(anybody: Pybuild, kind: str) -> None:
    anybody.build(TEXT, "-t", "app:v1", "-t", "me/other", "-o", "image.tar")
    anybody.build("FROM app:v1\nENV B=1\n", "-t", "app:v2")
    names = ["app:v1", "me/other", "app:v2"]
    assert anybody.run("save", f"--format={kind}", "-o", "all", *names).status == 0
    before = names_in(anybody)
    assert anybody.run("reset", "--force").status == 0
    loaded = anybody.run("load", "-i", "all")
    assert sorted(loaded.stdout.splitlines()) == [
        "Loaded image: app:v1",
        "Loaded image: app:v2",
        "Loaded image: me/other:latest",
    ]
    assert names_in(anybody) == before
    ended = run_pyrun("me/other", store=anybody.store, caller=anybody.caller)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


@pytest.mark.parametrize("kind", KINDS)
def test_what_images_share_is_there_once_and_order_does_not_count(two: Pybuild, kind: str) -> None:
    for name, order in (("a", ["app:v1", "me/app:v2"]), ("b", ["me/app:v2", "app:v1", "app:v1"])):
        assert two.run("save", "--format", kind, "-o", name, *order).status == 0
    a, b = two.work / "a", two.work / "b"
    if kind == "oci-dir":
        assert layout(a) == layout(b)
        check_archive(a)
        return
    assert a.read_bytes() == b.read_bytes()
    listed = shell("tar", "-tf", a).splitlines()
    assert len(listed) == len(set(listed))
    blobs = [name for name in listed if name.startswith("blobs/sha256/") and name[-1] != "/"]
    assert len(blobs) == (5 if kind == "docker" else 7)


def test_names_with_the_same_tag_are_told_apart(pybuild: Pybuild) -> None:
    put(pybuild, "two.tar", several({"a:v1": b"1", "b:v1": b"2"}))
    assert pybuild.run("load", "-i", "two.tar").status == 0
    assert pybuild.run("save", "-o", "s.tar", "a:v1", "b:v1").status == 0
    tables = [table["annotations"] for table in check_archive(pybuild.work / "s.tar")["manifests"]]
    assert [table[REF_NAME] for table in tables] == ["a:v1", "b:v1"]
    assert [table[FULL_NAME] for table in tables] == [
        f"docker.io/library/{name}:v1" for name in "ab"
    ]


@pytest.mark.parametrize(
    ("how", "kind"), [("gzip", "+gzip"), ("gzip:9", "+gzip"), ("zstd", "+zstd"), ("none", "")]
)
def test_layers_are_compressed_anew_and_configurations_stay(
    two: Pybuild, how: str, kind: str
) -> None:
    path = two.work / "s.tar"
    for before in ("gzip", "zstd"):
        put(two, "before.tar", several(TWO))
        two.run("convert", "two.tar", f"type=oci,dest=before.tar,compression={before}")
        assert two.run("load", "-i", "before.tar").status == 0
        assert two.run("save", "--compression", how, "-o", path, *TWO).status == 0
        contents = set()
        for table in check_archive(path)["manifests"]:
            files = layout(path)
            manifest = json.loads(files["blobs/sha256/" + table["digest"][7:]])
            config = json.loads(files["blobs/sha256/" + manifest["config"]["digest"][7:]])
            for layer, diff_id in zip(
                manifest["layers"], config["rootfs"]["diff_ids"], strict=True
            ):
                assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar{kind}"
                blob = files["blobs/sha256/" + layer["digest"][7:]]
                assert len(blob) == layer["size"]
                if kind == "+gzip":
                    blob = gzip.decompress(blob)
                if kind != "+zstd":
                    assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == diff_id
            contents.add(manifest["config"]["digest"])
        assert len(contents) == 2


def test_an_image_for_several_platforms_is_whole_but_for_docker(pybuild: Pybuild) -> None:
    name = {FULL_NAME: "docker.io/library/app:v1"}
    files = platforms({"linux/amd64": "here", "linux/arm64": "there"}, annotations=name)
    put(pybuild, "p.tar", files)
    assert pybuild.run("load", "-i", "p.tar").status == 0
    for kind in ("hybrid", "oci"):
        assert pybuild.run("save", "--format", kind, "-o", "s.tar", "app:v1").status == 0
        [table] = check_archive(pybuild.work / "s.tar")["manifests"]
        assert table["digest"] == names_in(pybuild)["app:v1"]
    for how in ("gzip", "zstd"):
        assert pybuild.run("save", "--compression", how, "-o", "s.tar", "app:v1").status == 0
        check_archive(pybuild.work / "s.tar")
        there = pybuild.run("load", "-i", "s.tar", env={"PYBUILD_ROOT": f"{pybuild.work}/{how}"})
        assert there.stdout == "Loaded image: app:v1\n"
    assert pybuild.run("save", "--format=docker", "-o", "d.tar", "app:v1").status == 0
    [entry] = json.loads(layout(pybuild.work / "d.tar")["manifest.json"])
    config = json.loads(layout(pybuild.work / "d.tar")[entry["Config"]])
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert config["architecture"] == machine


def test_an_id_is_saved_without_a_name(two: Pybuild) -> None:
    ids = two.run("images", "-q", "--no-trunc").stdout.split()
    assert len(ids) == 2
    for kind in ("oci", "docker"):
        assert two.run("save", "--format", kind, "-o", "s.tar", *ids).status == 0
        loaded = two.run("load", "-i", "s.tar")
        assert sorted(loaded.stdout.splitlines()) == sorted(f"Loaded image ID: {i}" for i in ids)
    ended = two.run("save", "-o", "s.tar", ids[0][:19], "me/app:v2")
    assert ended.status == 0, ended.stderr
    assert "me/app:v2" in two.run("load", "-i", "s.tar").stdout


def test_an_index_that_was_loaded_goes_with_its_last_name(pybuild: Pybuild) -> None:
    name = {FULL_NAME: "docker.io/library/app:v1"}
    put(pybuild, "a.tar", platforms({"linux/amd64": "1", "linux/arm64": "2"}, annotations=name))
    assert pybuild.run("load", "-i", "a.tar").status == 0
    assert pybuild.run("tag", "app:v1", "other").status == 0
    assert pybuild.run("rmi", "app:v1").status == 0
    assert pybuild.run("save", "-o", "b.tar", "other").status == 0
    assert pybuild.run("rmi", "other").status == 0
    assert blobs_in(pybuild) == set()


# --- what is wrong


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["app:v1", "missing"], 1, "missing: no image of that name or id in "),
        ([], 2, "no image named"),
        (["--format=zip", "app:v1"], 2, "--format 'zip': hybrid, oci, docker, oci-dir"),
        (["--format=oci-dir", "app:v1"], 2, "-o DIRECTORY expected"),
        (["--format=docker", "--compression=gzip", "app:v1"], 2, "nothing to compress"),
        (["--compression=lzma", "app:v1"], 2, "none, gzip or zstd"),
        (["-o", "no/such", "app:v1"], 5, "no/such: no such directory"),
        (["-o", ".", "app:v1"], 5, ".: is a directory"),
        (["--format=oci-dir", "-o", ".", "app:v1"], 5, ".: not empty"),
        (["-q", "app:v1"], 2, "pybuild save has no option --quiet"),
    ],
)
def test_what_cannot_be_is_one_message(
    two: Pybuild, arguments: list[str], status: int, message: str
) -> None:
    ended = two.run("save", *arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_terminal_is_not_written_to(two: Pybuild) -> None:
    outer, inner = pty.openpty()
    ended = subprocess.run(
        [*two.command, "save", "app:v1"],
        env=two.environment(), stdout=inner, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(inner)
    os.close(outer)
    assert ended.returncode == 2
    assert b"standard output is a terminal" in ended.stderr


def test_a_damaged_store_is_not_saved_and_what_was_there_stays(two: Pybuild) -> None:
    layers = json.loads(layout(two.work / "two.tar")["manifest.json"])[0]["Layers"]
    path = two.store / layers[1]
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    (two.work / "s.tar").write_text("earlier")
    ended = two.run("save", "-o", "s.tar", "app:v1")
    assert ended.status == 1
    assert "app:v1: layer 2 (sha256:" in ended.stderr
    assert (two.work / "s.tar").read_text() == "earlier"
    path.unlink()
    ended = two.run("save", "-o", "s.tar", "app:v1")
    assert ended.status == 1
    assert "missing from the store" in ended.stderr


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_status_5_and_what_was_there_stays(as_root: Pybuild, kind: str) -> None:
    put(as_root, "a.tar", several({"app:v1": os.urandom(3 << 20)}))
    assert as_root.run("load", "-i", "a.tar").status == 0
    place = as_root.work / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=True)
    try:
        if kind != "oci-dir":
            (place / "s").write_text("earlier")
        ended = as_root.run("save", "--format", kind, "-o", "small/s", "app:v1")
        assert ended.status == 5
        assert "small/s: No space left on device" in ended.stderr
        assert os.listdir(place) == ([] if kind == "oci-dir" else ["s"])
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_device_is_status_5(two: Pybuild) -> None:
    ended = two.run("save", "-o", "/dev/full", "app:v1")
    assert ended.status == 5
    assert "No space left on device" in ended.stderr


# --- other programs


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize(
    ("kind", "transport"),
    [
        ("hybrid", "oci-archive"),
        ("hybrid", "docker-archive"),
        ("oci", "oci-archive"),
        ("docker", "docker-archive"),
        ("oci-dir", "oci"),
    ],
)
def test_skopeo_finds_each_image_by_its_name(two: Pybuild, kind: str, transport: str) -> None:
    assert two.run("save", "--format", kind, "-o", "s", *TWO).status == 0
    for name in TWO:
        reference = name if transport == "docker-archive" else name.rpartition(":")[2]
        copied = two.work / f"copied-{reference.rpartition(':')[2]}"
        shell(
            *("skopeo", "copy", f"{transport}:{two.work}/s:{reference}"),
            f"dir:{copied}",
        )
        layers = json.loads((copied / "manifest.json").read_text())["layers"]
        assert len(layers) == 2


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
@pytest.mark.parametrize("kind", ["hybrid", "docker"])
def test_podman_loads_all_images_under_their_names(as_root: Pybuild, kind: str) -> None:
    as_root.build(TEXT, "-t", "localhost/app:v1", "-o", "image.tar")
    image = Image(as_root.output)
    as_root.build("FROM localhost/app:v1\nENV B=1\n", "-t", "localhost/app:v2")
    names = ["localhost/app:v1", "localhost/app:v2"]
    assert as_root.run("save", "--format", kind, "-o", "s.tar", *names).status == 0
    podman = engine("podman", as_root)
    podman("load", "--input", str(as_root.work / "s.tar"))
    for name, env in zip(names, ("A=1", "B=1"), strict=True):
        [table] = json.loads(podman("image", "inspect", name))
        assert table["Config"]["Env"][-1] == env
    [table] = json.loads(podman("image", "inspect", names[0]))
    assert table["Id"] == image.manifest["config"]["digest"].removeprefix("sha256:")


@pytest.mark.needs_root
@pytest.mark.needs_program("umoci")
def test_umoci_unpacks_a_layout_that_we_saved(as_root: Pybuild) -> None:
    as_root.build(TEXT, "-t", "app:v1", "-o", "image.tar")
    ended = as_root.run("save", "--format=oci-dir", "--compression=gzip", "-o", "lay", "app:v1")
    assert ended.status == 0, ended.stderr
    shell("umoci", "unpack", "--image", f"{as_root.work}/lay:v1", as_root.work / "bundle")
    assert (as_root.work / "bundle/rootfs/f").read_text() == "1\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("buildah")
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_buildah_builds_on_what_we_saved(as_root: Pybuild, kind: str) -> None:
    as_root.build(TEXT, "-t", "localhost/app:v1", "-o", "image.tar")
    assert as_root.run("save", "--format", kind, "-o", "s.tar", "localhost/app:v1").status == 0
    buildah = engine("buildah", as_root)
    container = buildah("from", "--pull-never", f"{kind}-archive:{as_root.work}/s.tar").strip()
    mounted = Path(buildah("mount", container).strip())
    assert (mounted / "f").read_text() == "1\n"
