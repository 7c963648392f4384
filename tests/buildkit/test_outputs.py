"""-o in all its forms, and what the command line makes of the image as a whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, text_files
from tests.support import command, run, tree_state

TEXT = f"""\
{SHELL}
COPY d /d
RUN rm /d/gone && echo changed > /d/f && ln /d/f /d/h && mkdir -p /e/f && chmod 2750 /e
RUN rm -r /e/f && mkdir /e/f && touch /e/f/new && ln -s ../d /e/l
"""
FILES: dict[str, Any] = {"d/f": "1", "d/gone": "2", "d/é": "3", "d/s/deep": "4"}
TREE = {"d/f": "changed\n", "d/é": "3", "d/s/deep": "4", "e/f/new": "", "e/l": "-> ../d"}


@pytest.fixture
def context(anybody: Pybuild) -> Pybuild:
    """Somebody with files to copy."""
    anybody.add(FILES)
    return anybody


def _layout(archive: Path | bytes) -> dict[str, bytes]:
    """The members of an archive."""
    content = archive if isinstance(archive, bytes) else archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def _manifest(archive: Path) -> dict[str, Any]:
    members = _layout(archive)
    digest = json.loads(members["index.json"])["manifests"][0]["digest"]
    found: dict[str, Any] = json.loads(members[f"blobs/sha256/{digest.removeprefix('sha256:')}"])
    return found


def _runs(pybuild: Pybuild, archive: Path) -> str:
    """What `pyrun` sees in an image."""
    ended = run(
        [*command("pyrun"), f"--root={pybuild.store}", archive, "cat", "/d/h"],
        caller=pybuild.caller,
        env=pybuild.environment(),
    )
    assert ended.status == 0, ended.stderr
    return ended.stdout


# --- Archives


def test_an_archive_can_be_of_one_kind(context: Pybuild) -> None:
    context.build(
        TEXT, "-o", "type=oci,dest=oci.tar", "-o", "type=docker,dest=docker.tar", "-o", "image.tar"
    )
    whole, oci, docker = (_layout(context.work / f"{n}.tar") for n in ("image", "oci", "docker"))
    assert set(oci) == set(whole) - {"manifest.json"}
    assert set(docker) < set(whole) - {"index.json", "oci-layout"}
    assert oci["index.json"] == whole["index.json"]
    assert docker["manifest.json"] == whole["manifest.json"]


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_skopeo_reads_an_archive_of_one_kind(context: Pybuild, kind: str) -> None:
    context.try_build(TEXT, "-o", f"type={kind},dest=one.tar")
    seen = subprocess.run(
        ["skopeo", "inspect", f"{kind}-archive:{context.work}/one.tar"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert len(json.loads(seen.stdout)["Layers"]) == 5


@pytest.mark.parametrize("word", ["-", "type=oci,dest=-", "type=tar", "type=docker"])
def test_an_archive_goes_to_standard_output_and_nothing_else_does(
    context: Pybuild, word: str
) -> None:
    context.write(TEXT)
    with open(context.directory / "out", "wb") as out:
        subprocess.run(
            [*context.command, "-o", word, context.context],
            stdout=out, env=context.environment(), cwd=context.work, check=True,
            **context.caller.switch,
        )  # fmt: skip
    members = _layout(context.directory / "out")
    assert ("d/f" if word == "type=tar" else "blobs/sha256") in {
        n[:12].rstrip("/") for n in members
    }


@pytest.mark.parametrize("word", ["pipe", "type=oci,dest=pipe", "type=tar,dest=pipe"])
def test_a_pipe_is_written_into_each_time_and_stays_one(context: Pybuild, word: str) -> None:
    os.mkfifo(context.work / "pipe")
    os.chown(context.work / "pipe", context.caller.uid, context.caller.gid)
    for _ in range(2):
        read = context.work / "read"
        with (
            read.open("wb") as file,
            subprocess.Popen(["cat", context.work / "pipe"], stdout=file) as cat,
        ):
            context.write(TEXT)
            ended = context.run("-o", word, context.context, timeout_s=60)
            assert ended.status == 0, ended.stderr
            cat.wait(10)
        assert {"d/f", "index.json"} & set(_layout(read))
    assert stat.S_ISFIFO((context.work / "pipe").stat().st_mode)


@pytest.mark.needs_root
def test_a_device_is_written_into_and_stays_one(as_root: Pybuild) -> None:
    full, null = as_root.directory / "full", as_root.directory / "null"
    os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    as_root.add({"f": "text"})
    text = "FROM scratch\nCOPY f /\n"
    assert as_root.try_build(text, "-o", null).status == 0
    ended = as_root.try_build(text, "-o", full)
    assert (ended.status, "No space left on device" in ended.stderr) == (5, True)
    ended = as_root.try_build(text, "-t", "a", "--sbom", f"spdx,dest={full}")
    assert (ended.status, "No space left on device" in ended.stderr) == (5, True)
    assert stat.S_ISCHR(full.stat().st_mode)
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_terminal_gets_no_archive(pybuild: Pybuild) -> None:
    script = f"{' '.join(command('pybuild'))} -o - {pybuild.context}"
    pybuild.write("FROM scratch\n")
    ended = subprocess.run(
        ["script", "-qec", script, "/dev/null"],
        capture_output=True, text=True, env=pybuild.environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "standard output is a terminal" in ended.stdout


def test_several_outputs_are_written_by_one_build(context: Pybuild) -> None:
    words = ["-o", "a.tar", "-o", "type=oci,dest=b.tar", "-o", "type=tar,dest=c.tar"]
    assert context.try_build(TEXT, *words).status == 0
    assert {"a.tar", "b.tar", "c.tar"} <= set(os.listdir(context.work))
    again = context.try_build(TEXT, *words)
    assert [f"{name}.tar: up to date" in again.stderr for name in "abc"] == [True] * 3
    (context.work / "b.tar").unlink()
    assert context.try_build(TEXT, *words).status == 0
    assert (context.work / "b.tar").exists()


# --- The root filesystem


def test_a_tar_of_the_root_filesystem_is_all_layers_in_one(context: Pybuild) -> None:
    context.try_build(TEXT, "-o", "type=tar,dest=root.tar")
    with tarfile.open(context.work / "root.tar") as tar:
        members = {member.name: member for member in tar}
        assert tar.extractfile("d/f").read() == b"changed\n"  # type: ignore[union-attr]
    assert {"d", "d/f", "d/h", "d/é", "d/s/deep", "e", "e/f/new", "e/l", "bin/sh"} <= set(members)
    assert not {"d/gone"} & set(members)
    assert not any(".wh." in name for name in members)
    assert (members["d/h"].type, members["d/h"].linkname) == (tarfile.LNKTYPE, "d/f")
    assert (members["e"].mode, members["e"].uid) == (0o2750, 0)


def test_a_directory_gets_the_files_and_keeps_what_it_had(context: Pybuild) -> None:
    out = context.work / "out"
    (out / "d").mkdir(parents=True)
    (out / "d" / "f").write_text("old")
    (out / "d" / "mine").write_text("mine")
    for path in (out, out / "d", out / "d" / "f"):
        os.chown(path, context.caller.uid, context.caller.gid)
    assert context.try_build(TEXT, "-o", f"type=local,dest={out}").status == 0
    assert (out / "d" / "f").read_text() == "changed\n"
    assert (out / "d" / "mine").read_text() == "mine"
    assert os.path.samefile(out / "d" / "f", out / "d" / "h")
    assert os.readlink(out / "e" / "l") == "../d"
    assert (out / "d" / "f").stat().st_uid == context.caller.uid
    assert {path.name for path in context.work.iterdir()} == {"out"}


def test_a_link_in_the_directory_is_not_followed(context: Pybuild) -> None:
    out, elsewhere = context.work / "out", context.directory / "elsewhere"
    for path in (out, elsewhere):
        path.mkdir()
        os.chown(path, context.caller.uid, context.caller.gid)
    (out / "d").symlink_to(elsewhere)
    os.chown(out / "d", context.caller.uid, context.caller.gid, follow_symlinks=False)
    assert context.try_build(TEXT, "-o", f"type=local,dest={out}").status == 0
    assert list(elsewhere.iterdir()) == []
    assert (out / "d" / "f").read_text() == "changed\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo", "umoci")
def test_a_root_filesystem_is_what_umoci_unpacks(as_root: Pybuild) -> None:
    as_root.add(FILES)
    text = f"{TEXT}RUN chown 3:4 /d/f && chmod 4711 /d/f && mkfifo /p && mknod /n c 1 3\n"
    as_root.build(text, "-o", "image.tar", "-o", "type=rootfs,dest=root")
    layout, bundle = as_root.directory / "layout", as_root.directory / "bundle"
    copy = ["skopeo", "copy", "-q", f"oci-archive:{as_root.output}", f"oci:{layout}:x"]
    subprocess.run(copy, check=True)
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:x", bundle], check=True)
    assert tree_state(as_root.work / "root") == tree_state(bundle / "rootfs")


def test_the_working_directory_can_get_the_files(context: Pybuild) -> None:
    context.directory.chmod(0o555)
    ended = context.try_build(TEXT, "-o", "type=local,dest=.")
    context.directory.chmod(0o755)
    assert ended.status == 0, ended.stderr
    assert {path.name for path in context.work.iterdir()} == {"bin", "d", "e"}


def test_a_root_filesystem_is_not_written_over_files(context: Pybuild) -> None:
    out = context.work / "out"
    out.mkdir()
    (out / "mine").write_text("1")
    ended = context.try_build(TEXT, "-o", f"type=rootfs,dest={out}")
    assert ended.status == 5
    assert "out: not empty" in ended.stderr
    assert os.listdir(out) == ["mine"]


def test_an_image_that_is_only_cached_is_no_file(pybuild: Pybuild) -> None:
    for word in ("type=cacheonly", "type=image", "type=image,name=named:1"):
        ended = pybuild.try_build(SHELL, "-o", word, "--load")
        assert ended.status == 0, ended.stderr
        assert not pybuild.output.exists()
    assert "named:1" in pybuild.run("images", "--format=json").stdout


# --- Wrong


@pytest.mark.parametrize(
    ("word", "status", "message"),
    [
        ("type=registry", 2, "--push: to what name?"),
        ("type=registry,dest=x", 2, "'dest' is not known"),
        ("type=image,oci-mediatypes=false", 2, "--format docker"),
        ("type=image,push=perhaps", 2, "push=perhaps: true or false"),
        ("type=image,name=a,name=b", 2, "each once"),
        ("type=registry,name=UPPER", 2, "not an image name"),
        ("type=zip,dest=x", 2, "oci, docker, tar, local or rootfs"),
        ("type=oci,dest=x,y=z", 2, "'y' is not known"),
        ("type=oci,dest=x,dest=y", 2, "each once"),
        ("type=local", 2, "dest=DIRECTORY expected"),
        ("type=rootfs,dest=-", 2, "dest=DIRECTORY expected"),
        ("type=tar,dest=x,compression=gzip", 2, "nothing to compress"),
        ("type=oci,dest=x,compression=lzma", 2, "none, gzip or zstd"),
        ("type=oci,dest=x,compression=zstd,compression-level=99", 2, "from 1 to 19"),
        ("", 2, "no name given"),
        ("no/such/x.tar", 5, "no such directory"),
        ("type=tar,dest=.", 5, "is a directory"),
    ],
)
def test_a_wrong_output_is_refused_before_anything_is_built(
    pybuild: Pybuild, word: str, status: int, message: str
) -> None:
    ended = pybuild.try_build(SHELL, f"--output={word}")
    assert ended.status == status
    assert message in ended.stderr
    assert "#1" not in ended.stderr


def test_one_place_is_not_written_twice(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(SHELL, "-o", "x.tar", "-o", "type=oci,dest=x.tar")
    assert ended.status == 2
    assert "x.tar is written twice" in ended.stderr


# --- Compression


@pytest.mark.parametrize(
    ("how", "kind", "magic"),
    [("gzip", "gzip", b"\x1f\x8b"), ("zstd:9", "zstd", b"\x28\xb5\x2f\xfd")],
)
def test_layers_are_compressed_and_are_what_they_were(
    context: Pybuild, how: str, kind: str, magic: bytes
) -> None:
    plain = context.build(TEXT)
    files, config = text_files(plain), plain.config["rootfs"]
    context.try_build(TEXT, f"--compression={how}", "-o", "small.tar")
    manifest = _manifest(context.work / "small.tar")
    members = _layout(context.work / "small.tar")
    for layer, diff_id in zip(manifest["layers"], config["diff_ids"], strict=True):
        assert layer["mediaType"].endswith(f"+{kind}")
        blob = members[f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}"]
        assert len(blob) == layer["size"]
        assert blob.startswith(magic)
        if kind == "gzip":
            assert f"sha256:{hashlib.sha256(gzip.decompress(blob)).hexdigest()}" == diff_id
    assert files["d/f"] == "changed\n"


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_a_compressed_image_runs_and_is_built_on(context: Pybuild, how: str) -> None:
    context.try_build(TEXT, f"--compression={how}", "-t", "small", "-o", "small.tar")
    assert _runs(context, context.work / "small.tar") == "changed\n"
    image = context.build("FROM small\nRUN cat /d/h > /n\n")
    assert image.read("n") == b"changed\n"
    context.try_build("FROM small\nRUN cat /d/h > /n\n", "--squash-all", "-o", "one.tar")
    assert _runs(context, context.work / "one.tar") == "changed\n"


@pytest.mark.needs_program("skopeo", "taskset")
@pytest.mark.parametrize("how", ["gzip:1", "zstd"])
def test_compressed_bytes_do_not_depend_on_the_number_of_processors(
    as_root: Pybuild, how: str
) -> None:
    as_root.add({"big": os.urandom(3_000_000).hex()})
    digests = set()
    for launcher in (["taskset", "-c", "0"], []):
        as_root.write("FROM scratch\nCOPY big /\n")
        env = as_root.environment({"PYBUILD_ROOT": str(as_root.work / f"store{len(launcher)}")})
        subprocess.run(
            [*launcher, *as_root.command, f"--compression={how}", as_root.context],
            cwd=as_root.work, env=env, check=True,
        )  # fmt: skip
        digests.add(hashlib.sha256(as_root.output.read_bytes()).hexdigest())
        subprocess.run(["skopeo", "inspect", f"oci-archive:{as_root.output}"], check=True)
    assert len(digests) == 1


def test_two_outputs_may_be_compressed_differently(context: Pybuild) -> None:
    words = ["-o", "type=oci,dest=a.tar,compression=gzip,compression-level=1", "-o", "b.tar"]
    context.try_build(TEXT, *words)
    kinds = [
        {layer["mediaType"].rpartition(".")[2] for layer in _manifest(context.work / n)["layers"]}
        for n in ("a.tar", "b.tar")
    ]
    assert kinds == [{"tar+gzip"}, {"tar"}]


# --- Squash, labels, formats


@pytest.mark.parametrize(("option", "count"), [("--squash", 2), ("--squash-all", 1)])
def test_layers_become_one(context: Pybuild, option: str, count: int) -> None:
    base = context.build(
        "FROM scratch\nCOPY d /d\nCOPY d /e/f\n",
        "--squash",
        "-t",
        "base",
        "-o",
        "b.tar",
        "-o",
        "image.tar",
    )
    assert len(base.layers) == 1
    text = TEXT.replace("FROM scratch", "FROM base").replace("COPY d /d\n", "")
    whole = context.build(text)
    context.build(text, "-o", "type=tar,dest=whole.tar")
    image = context.build(text, option, "-o", "image.tar", "-t", "squashed")
    assert len(image.layers) == count
    assert len(image.created_by) == len(whole.created_by)
    entries = image.config["history"]
    assert sum(not entry.get("empty_layer", False) for entry in entries) == count
    assert len(image.config["rootfs"]["diff_ids"]) == count
    context.build("FROM squashed\n", "-o", "type=tar,dest=squashed.tar")
    assert (context.work / "squashed.tar").read_bytes() == (
        context.work / "whole.tar"
    ).read_bytes()
    if option == "--squash":
        assert "d/.wh.gone" in image.files


def test_labels_and_annotations_are_added_and_win(context: Pybuild) -> None:
    text = "FROM scratch\nLABEL a=1 b=2\nCOPY d /d\n"
    options = ["--label", "b=3", "--label=c=x=y", "--annotation", "org.example=1"]
    image = context.build(text, *options, "--annotation=manifest:two=2")
    assert image.config["config"]["Labels"] == {"a": "1", "b": "3", "c": "x=y"}
    assert _manifest(context.output)["annotations"] == {"org.example": "1", "two": "2"}
    assert context.build(text).config["config"]["Labels"] == {"a": "1", "b": "2"}


@pytest.mark.needs_program("skopeo")
def test_dockers_format_has_dockers_media_types(context: Pybuild) -> None:
    context.build(TEXT, "--format=docker", "--compression=gzip", "-o", "image.tar")
    manifest = _manifest(context.output)
    types = {manifest["mediaType"], manifest["config"]["mediaType"]}
    types |= {layer["mediaType"] for layer in manifest["layers"]}
    assert types == {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
    subprocess.run(["skopeo", "inspect", f"oci-archive:{context.output}"], check=True)
    ended = context.try_build(TEXT, "--format=docker", "--compression=zstd")
    assert ended.status == 2
    assert "docker's format has no zstd" in ended.stderr


def test_a_timestamp_is_the_latest_time_of_anything(context: Pybuild) -> None:
    image = context.build(TEXT, "--timestamp=400000000", env={"SOURCE_DATE_EPOCH": "1"})
    assert image.config["created"] == "1982-09-04T15:06:40Z"
    assert max(info.mtime for info in image.files.values()) == 400_000_000


def test_metadata_has_buildxs_keys(context: Pybuild) -> None:
    options = [
        "--metadata-file=meta.json",
        "--iidfile=iid",
        "-t",
        "a:1",
        "-t",
        "b",
        "-o",
        "image.tar",
    ]
    for _ in ("built", "up to date"):
        ended = context.try_build(TEXT, *options)
        assert ended.status == 0, ended.stderr
        found = json.loads((context.work / "meta.json").read_text())
        manifest = _layout(context.output)
        digest = ended.stdout.strip()
        assert found["containerimage.digest"] == digest
        assert found["containerimage.config.digest"] == (context.work / "iid").read_text()
        assert found["image.name"] == "a:1,b"
        descriptor = found["containerimage.descriptor"]
        blob = manifest[f"blobs/sha256/{digest.removeprefix('sha256:')}"]
        assert (descriptor["digest"], descriptor["size"]) == (digest, len(blob))
        (context.work / "meta.json").unlink()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--label==x", "--label '=x': NAME=VALUE expected"),
        ("--annotation=index:a=b", "only the manifest"),
        ("--compression=lz4", "none, gzip or zstd"),
        ("--compression=gzip:0", "a level from 1 to 9"),
        ("--timestamp=now", "--timestamp 'now': seconds since 1970"),
        ("--format=json", "is not a format"),
    ],
)
def test_a_wrong_word_is_refused(pybuild: Pybuild, option: str, message: str) -> None:
    ended = pybuild.try_build("FROM scratch\n", option)
    assert ended.status == 2
    assert message in ended.stderr


def test_the_same_options_do_nothing_anew_and_others_do(context: Pybuild) -> None:
    context.try_build(TEXT, "--label=a=1")
    again = context.try_build(TEXT, "--label=a=1")
    assert "image.tar: up to date" in again.stderr
    other = context.try_build(TEXT, "--label=a=2")
    assert "image.tar: written" in other.stderr
    assert Image(context.output).config["config"]["Labels"] == {"a": "2"}
