"""`pybuild convert`: any image that can be read as anything that can be written."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.buildkit.archived import (
    FULL_NAME,
    blobs_in,
    check_archive,
    layout,
    names_in,
    platforms,
    put,
    several,
    shell,
)
from tests.buildkit.support import SHELL, Pybuild
from tests.support import file, image_files, run_pyrun

TWO = {"app:v1": b"one", "me/app:v2": b"two"}
TEXT = f"{SHELL}RUN echo 1 > /f\nENV A=1\nCMD cat /f\n"
someone = pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)


def _convert(pybuild: Pybuild, *arguments: str | Path) -> None:
    ended = pybuild.run("convert", *arguments)
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")


@someone
def test_every_form_leads_back_to_the_same_bytes(anybody: Pybuild) -> None:
    anybody.build(TEXT, "-t", "app:v1", "-o", "image.tar")
    whole = anybody.output.read_bytes()
    _convert(anybody, "app:v1", "0.tar")
    (anybody.work / "0.tar.gz").write_bytes(gzip.compress(whole))
    _convert(anybody, "image.tar", "type=oci,dest=oci.tar")
    _convert(anybody, "oci.tar", "type=docker,dest=docker.tar")
    _convert(anybody, "docker.tar", "type=oci-dir,dest=layout")
    _convert(anybody, "oci-layout://layout:v1", "type=oci,dest=zstd.tar,compression=zstd:9")
    _convert(anybody, "zstd.tar", "type=hybrid,dest=gzip.tar,compression=gzip")
    for source in ("app:v1", "0.tar", "0.tar.gz", "oci.tar", "docker.tar", "layout", "layout:v1"):
        _convert(anybody, source, "again.tar")
        assert (anybody.work / "again.tar").read_bytes() == whole, source
    for source in ("zstd.tar", "gzip.tar", "gzip.tar:v1"):
        _convert(anybody, source, "type=hybrid,dest=again.tar,compression=none")
        assert (anybody.work / "again.tar").read_bytes() == whole, source
    ended = run_pyrun(anybody.work / "zstd.tar", store=anybody.store, caller=anybody.caller)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_root_filesystems_are_what_a_build_writes(anybody: Pybuild) -> None:
    anybody.build(TEXT, "-o", "image.tar", "-o", "type=tar,dest=built.tar")
    _convert(anybody, "image.tar", "type=tar,dest=made.tar")
    assert (anybody.work / "made.tar").read_bytes() == (anybody.work / "built.tar").read_bytes()
    (anybody.work / "there").mkdir(mode=0o777)
    (anybody.work / "there").chmod(0o777)
    for word in ("type=local,dest=there", "type=rootfs,dest=new"):
        _convert(anybody, "image.tar", word)
        assert (anybody.work / word.rpartition("=")[2] / "f").read_text() == "1\n"


def test_a_file_is_converted_without_bringing_it_into_the_store(pybuild: Pybuild) -> None:
    put(pybuild, "a.tar", several(TWO))
    _convert(pybuild, "a.tar", "b.tar")
    assert blobs_in(pybuild) == set(names_in(pybuild)) == set()
    assert json.loads(layout(pybuild.work / "b.tar")["manifest.json"])[1]["RepoTags"] == [
        "me/app:v2"
    ]


def test_one_of_several_images_gets_another_name(pybuild: Pybuild) -> None:
    put(pybuild, "a.tar", several(TWO))
    _convert(pybuild, "-t", "mine", "a.tar:v2", "b.tar")
    [entry] = json.loads(layout(pybuild.work / "b.tar")["manifest.json"])
    assert entry["RepoTags"] == ["mine:latest"]
    _convert(pybuild, "a.tar:me/app:v2", "type=tar,dest=root.tar")
    with tarfile.open(pybuild.work / "root.tar") as archive:
        content = archive.extractfile("own")
        assert content is not None
        assert content.read() == b"two"
    for arguments in (["-t", "mine", "a.tar", "b.tar"], ["a.tar", "type=tar,dest=x"]):
        ended = pybuild.run("convert", *arguments)
        assert ended.status == 1
        assert "a.tar: holds several images: app:v1, me/app:v2" in ended.stderr


def test_a_platform_is_taken_out_of_an_index(pybuild: Pybuild) -> None:
    name = {FULL_NAME: "docker.io/library/app:v1"}
    files = platforms({"linux/s390x": "1", "linux/arm64": "2"}, annotations=name)
    put(pybuild, "a.tar", files)
    _convert(pybuild, "a.tar", "b.tar")
    outer = json.loads(files["index.json"])["manifests"][0]
    assert check_archive(pybuild.work / "b.tar")["manifests"][0]["digest"] == outer["digest"]
    _convert(pybuild, "--platform=linux/arm64", "a.tar", "type=docker,dest=c.tar")
    [entry] = json.loads(layout(pybuild.work / "c.tar")["manifest.json"])
    config = json.loads(layout(pybuild.work / "c.tar")[entry["Config"]])
    assert config["architecture"] == "arm64"
    for kind in ("docker", "tar"):
        ended = pybuild.run("convert", "a.tar", f"type={kind},dest=d")
        assert ended.status == 1
        assert "only for linux/arm64, linux/s390x" in ended.stderr
    ended = pybuild.run("convert", "--platform=linux/ppc64le", "a.tar", "d.tar")
    assert ended.status == 1
    assert "a.tar: no image for linux/ppc64le, only for linux/arm64, linux/s390x" in ended.stderr


def test_dockers_media_types_stay_dockers(pybuild: Pybuild) -> None:
    pybuild.build("FROM scratch\nCOPY Containerfile /\n", "--format=docker", "-o", "image.tar")
    _convert(pybuild, "image.tar", "type=oci,dest=b.tar,compression=gzip")
    [table] = check_archive(pybuild.work / "b.tar")["manifests"]
    manifest = json.loads(layout(pybuild.work / "b.tar")["blobs/sha256/" + table["digest"][7:]])
    [layer] = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ended = pybuild.run("convert", "image.tar", "type=oci,dest=b.tar,compression=zstd")
    assert ended.status == 2
    assert "docker's format has no zstd" in ended.stderr


def test_a_lie_is_found_and_what_was_there_stays(pybuild: Pybuild) -> None:
    document = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    put(pybuild, "a.tar", image_files([[file("f")]], compression="gzip", document=document))
    (pybuild.work / "b.tar").write_text("earlier")
    for word in ("b.tar", "type=oci,dest=b.tar,compression=zstd", "type=tar,dest=b.tar"):
        ended = pybuild.run("convert", "a.tar", word)
        assert ended.status == 1
        assert ended.stderr.startswith("pybuild: a.tar: layer 1 (sha256:")
        assert "diff_id is sha256:" in ended.stderr
    assert (pybuild.work / "b.tar").read_text() == "earlier"
    assert sorted(os.listdir(pybuild.work)) == ["a.tar", "b.tar"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["a.tar"], 2, "SOURCE and what to write expected"),
        (["missing", "b.tar"], 1, "missing: no such file, and no image of that name in "),
        (["a.tar:v9", "b.tar"], 1, "a.tar: nothing is called v9"),
        (["a.tar", "type=zip,dest=b"], 2, "tar, hybrid, local, rootfs or oci-dir"),
        (["a.tar", "type=oci-dir"], 2, "dest=DIRECTORY expected"),
        (["a.tar", "type=docker,dest=b,compression=gzip"], 2, "nothing to compress"),
        (["a.tar", "no/such/b.tar"], 5, "no/such/b.tar: no such directory"),
        (["--platform=a/b/c/d", "a.tar", "b.tar"], 2, "--platform 'a/b/c/d'"),
        (["--format=oci", "a.tar", "b.tar"], 2, "pybuild convert has no option --format"),
    ],
)
def test_what_cannot_be_is_one_message(
    pybuild: Pybuild, arguments: list[str], status: int, message: str
) -> None:
    put(pybuild, "a.tar", several(TWO))
    ended = pybuild.run("convert", *arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize("form", ["oci-archive:s:me/app:v9", "docker-archive:s:me/app:v9"])
def test_what_skopeo_writes_is_converted_and_read_by_it(pybuild: Pybuild, form: str) -> None:
    pybuild.build(TEXT, "-o", "image.tar")
    transport, _, rest = form.partition(":")
    shell("skopeo", "copy", f"oci-archive:{pybuild.output}", f"{transport}:{pybuild.work}/{rest}")
    for kind, reader in (("oci", "oci-archive"), ("docker", "docker-archive"), ("oci-dir", "oci")):
        _convert(pybuild, "s", f"type={kind},dest={kind}")
        seen = json.loads(shell("skopeo", "inspect", f"{reader}:{pybuild.work}/{kind}"))
        assert seen["Env"][-1] == "A=1"
