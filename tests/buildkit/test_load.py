"""`pybuild load`: all images of archives come into the store, whole and verified, or none."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.buildkit.archived import (
    FULL_NAME,
    REF_NAME,
    blobs_in,
    engine,
    names_in,
    platforms,
    put,
    several,
    shell,
)
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import (
    blob_name,
    compressed,
    digest_of,
    file,
    image_files,
    run_pyrun,
    tar_of,
    to_json,
    wait_for,
)

BOTH = ("oci", "docker")
TWO = {"app:v1": b"one", "me/app:v2": b"two"}
LOADED = "Loaded image: app:v1\nLoaded image: me/app:v2\n"
WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "zstd": lambda content: compressed(content, "zstd"),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
someone = pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)


@pytest.mark.parametrize("pack_up", WHOLE.values(), ids=WHOLE)
def test_an_archive_comes_by_name_and_by_pipe_however_it_is_compressed(
    anybody: Pybuild, pack_up: Callable[[bytes], bytes]
) -> None:
    path = put(anybody, "a.tar", several(TWO))
    path.write_bytes(pack_up(path.read_bytes()))
    for options, choices in ((["-i", "a.tar"], {}), ([], {"stdin": path.read_bytes()})):
        ended = anybody.run("load", *options, **choices)
        assert (ended.status, ended.stdout, ended.stderr) == (0, LOADED, "")
    assert os.listdir(anybody.store / "tmp") == []
    assert anybody.run("verify-store").status == 0


@pytest.mark.parametrize("views", [("oci",), ("docker",), BOTH])
def test_each_view_brings_all_images_and_what_they_share_once(
    pybuild: Pybuild, views: tuple[str, ...]
) -> None:
    files = several(TWO, views)
    put(pybuild, "a.tar", files)
    assert pybuild.run("load", "--input=a.tar").stdout == LOADED
    digests = {name.rpartition("/")[2] for name in files if name.startswith("blobs/")}
    if "oci" in views:  # to the byte
        assert blobs_in(pybuild) == digests
        assert {digest.removeprefix("sha256:") for digest in names_in(pybuild).values()} < digests
    assert len(blobs_in(pybuild)) == 7  # a layer of both; of each a layer and two documents


@someone
def test_what_was_loaded_runs_and_is_built_on(anybody: Pybuild) -> None:
    anybody.build(SHELL, "-t", "base", "-o", "image.tar")
    other = Pybuild(
        directory=anybody.directory, caller=anybody.caller, variables=anybody.variables
    )
    assert other.run("reset", "--force").status == 0
    assert other.run("load", "-i", "image.tar").stdout == "Loaded image: base:latest\n"
    ended = run_pyrun("base", "/bin/busybox", "echo", "hi", store=other.store, caller=other.caller)
    assert (ended.stdout, ended.stderr) == ("hi\n", "")
    assert other.build("FROM base\nRUN echo 1 > /f\n").read("f") == b"1\n"


def test_a_directory_of_a_layout_is_loaded(pybuild: Pybuild) -> None:
    path = put(pybuild, "a.tar", several(TWO, ("oci",)))
    (pybuild.work / "layout").mkdir()
    shell("tar", "-C", pybuild.work / "layout", "-xf", path)
    assert pybuild.run("load", "-i", "layout").stdout == LOADED


@someone
def test_from_reads_an_archive_that_is_compressed_and_one_image_of_it(anybody: Pybuild) -> None:
    anybody.build(f"{SHELL}ENV A=1\n", "-t", "app:v1", "-o", "image.tar")
    anybody.build("FROM app:v1\nENV B=1\n", "-t", "app:v2", "-o", "image.tar")
    assert anybody.run("save", "-o", "all.tar", "app:v1", "app:v2").status == 0
    whole = gzip.compress((anybody.work / "all.tar").read_bytes())
    anybody.add({"all.tar": whole, "all": whole})
    assert anybody.run("reset", "--force").status == 0
    for name, last in (("all.tar:v1", "A=1"), ("./all:app:v2", "B=1"), ("all.tar:v2", "B=1")):
        image = anybody.build(f"FROM {name}\nRUN echo 1 > /f\n")
        assert image.process["Env"][-1] == last
        assert image.read("f") == b"1\n"
    ended = anybody.try_build("FROM all.tar\n")
    assert ended.status == 1
    assert "all.tar: index.json: holds several images: " in ended.stderr


def test_loading_twice_and_two_at_once_is_the_same_as_once(pybuild: Pybuild) -> None:
    path = put(pybuild, "a.tar", several(TWO))
    argv = [*pybuild.command, "load", "-i", str(path)]
    running = [
        subprocess.Popen(argv, env=pybuild.environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in running] == [LOADED] * 3
    before = pybuild.store_files()
    assert pybuild.run("load", "-i", path).stdout == LOADED
    assert pybuild.store_files() == before
    assert os.listdir(pybuild.store / "tmp") == []


# --- names


def _edit(files: dict[str, bytes], **annotations: str) -> dict[str, bytes]:
    """Let index.json say something else of its only image."""
    index = json.loads(files["index.json"])
    given = {key.replace("__", "."): value for key, value in annotations.items()}
    index["manifests"][0]["annotations"] = given
    return files | {"index.json": to_json(index)}


@pytest.mark.parametrize(
    ("full", "short", "name"),
    [
        ("docker.io/library/app:v1", "v1", "app:v1"),
        ("docker.io/me/app:v1", "", "me/app:v1"),
        ("quay.io/me/app:v1", "v1", "quay.io/me/app:v1"),
        ("localhost/app:V1", "", "localhost/app:V1"),
        ("", "me/app:v2", "me/app:v2"),
        ("", "me/app", "me/app:latest"),
        ("", "v3", "v3:latest"),
        ("", "", None),
        ("docker.io/library/app@sha256:" + "0" * 64, "", None),
    ],
)
def test_an_image_gets_the_name_that_the_index_says(
    pybuild: Pybuild, full: str, short: str, name: str | None
) -> None:
    files = image_files([[file("f")]], views=("oci",))
    given = {key: value for key, value in ((FULL_NAME, full), (REF_NAME, short)) if value}
    put(pybuild, "a.tar", _edit(files, **given))
    ended = pybuild.run("load", "-i", "a.tar")
    [table] = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files["blobs/sha256/" + table["digest"][7:]])
    said = f"image: {name}" if name else f"image ID: {manifest['config']['digest']}"
    assert ended.stdout == f"Loaded {said}\n", ended.stderr
    assert names_in(pybuild) == ({name: table["digest"]} if name else {})


def test_names_of_both_views_are_each_there_once(pybuild: Pybuild) -> None:
    files = _edit(image_files([[file("f")]]), **{FULL_NAME: "docker.io/library/app:v1"})
    [entry] = json.loads(files["manifest.json"])
    files["manifest.json"] = to_json([entry | {"RepoTags": ["app:v1", "docker.io/app:v1", "b:2"]}])
    put(pybuild, "a.tar", files)
    assert pybuild.run("load", "-i", "a.tar").stdout == "Loaded image: app:v1\nLoaded image: b:2\n"


def test_an_image_without_a_name_is_given_one(pybuild: Pybuild) -> None:
    put(pybuild, "a.tar", image_files([[file("f")]]))
    assert pybuild.run("load", "-i", "a.tar", "-t", "mine").stdout == "Loaded image: mine:latest\n"
    put(pybuild, "b.tar", several(TWO))
    ended = pybuild.run("load", "-i", "b.tar", "-t", "mine")
    assert ended.status == 2
    assert "b.tar: holds several images: which one is mine:latest?" in ended.stderr


@pytest.mark.parametrize(
    "name", ["App:v1", "../x:1", "a b:1", "a:\x1b[2J", "x" * 300, ":v1", "a:"]
)
@pytest.mark.parametrize("view", BOTH)
def test_a_name_that_is_none_is_refused(pybuild: Pybuild, name: str, view: str) -> None:
    files = image_files([[file("f")]], views=(view,))
    if view == "oci":
        files = _edit(files, **{FULL_NAME: name})
    else:
        [entry] = json.loads(files["manifest.json"])
        files["manifest.json"] = to_json([entry | {"RepoTags": [name]}])
    put(pybuild, "a.tar", files)
    ended = pybuild.run("load", "-i", "a.tar")
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr == f"pybuild: a.tar: {name!r}: not an image name\n"
    assert blobs_in(pybuild) == set()


# --- several platforms


def test_an_image_for_several_platforms_keeps_its_index(pybuild: Pybuild) -> None:
    name = {FULL_NAME: "docker.io/library/app:v1"}
    files = platforms({"linux/amd64": "here", "linux/s390x": "there"}, annotations=name)
    put(pybuild, "a.tar", files)
    assert pybuild.run("load", "-i", "a.tar").stdout == "Loaded image: app:v1\n"
    [table] = json.loads(files["index.json"])["manifests"]
    assert names_in(pybuild) == {"app:v1": table["digest"]}
    assert pybuild.run("verify-store").status == 0
    image = pybuild.build("FROM --platform=linux/s390x app:v1\n")
    assert image.config["architecture"] == "s390x"


def test_platforms_that_an_archive_lacks_are_said_and_the_rest_is_whole(pybuild: Pybuild) -> None:
    name = {FULL_NAME: "docker.io/library/app:v1"}
    several_names = {"linux/amd64": "1", "linux/s390x": "2", "linux/arm64": "3"}
    files = platforms(several_names, annotations=name)
    [table] = json.loads(files["index.json"])["manifests"]
    inner = json.loads(files["blobs/sha256/" + table["digest"][7:]])["manifests"]
    del files["blobs/sha256/" + inner[1]["digest"][7:]]
    put(pybuild, "two.tar", files)
    ended = pybuild.run("load", "-i", "two.tar")
    assert ended.stdout == "Loaded image: app:v1\n"
    assert f"linux/s390x ({inner[1]['digest']}) is not there" in ended.stderr
    assert pybuild.run("verify-store").status == 0
    del files["blobs/sha256/" + inner[2]["digest"][7:]]
    put(pybuild, "one.tar", files)
    ended = pybuild.run("load", "-q", "-i", "one.tar")
    assert ended.stderr == ""
    assert names_in(pybuild) == {"app:v1": inner[0]["digest"]}
    del files["blobs/sha256/" + inner[0]["digest"][7:]]
    put(pybuild, "none.tar", files)
    ended = pybuild.run("load", "-q", "-i", "none.tar")
    assert ended.status == 1
    assert "none of its images is there" in ended.stderr


def test_attestations_come_along_and_are_not_pruned(pybuild: Pybuild) -> None:
    files = platforms({"linux/amd64": "1"})
    [table] = json.loads(files["index.json"])["manifests"]
    index = json.loads(files.pop("blobs/sha256/" + table["digest"][7:]))
    blob = b'{"predicate": 1}'
    described = {"mediaType": "application/vnd.in-toto+json", "digest": digest_of(blob)}
    statement = to_json(
        {
            "schemaVersion": 2,
            "config": described | {"size": len(blob)},
            "layers": [described | {"size": len(blob)}],
        }
    )
    about = {"vnd.docker.reference.type": "attestation-manifest"}
    index["manifests"].append(
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_of(statement),
            "size": len(statement),
            "annotations": about,
        }
    )
    whole = to_json(index)
    files |= {blob_name(content): content for content in (blob, statement, whole)}
    outer = table | {
        "digest": digest_of(whole),
        "size": len(whole),
        "annotations": {REF_NAME: "a:b"},
    }
    files["index.json"] = to_json({"schemaVersion": 2, "manifests": [outer]})
    put(pybuild, "a.tar", files)
    assert pybuild.run("load", "-i", "a.tar").stdout == "Loaded image: a:b\n"
    assert pybuild.run("prune", "--all").status == 0
    assert blobs_in(pybuild) == {n.rpartition("/")[2] for n in files if n.startswith("blobs/")}
    assert pybuild.run("save", "-o", "b.tar", "a:b").status == 0
    other = pybuild.run("load", "-i", "b.tar", env={"PYBUILD_ROOT": str(pybuild.work / "other")})
    assert other.stdout == "Loaded image: a:b\n"


# --- what is wrong


def _flip(files: dict[str, bytes], which: int) -> None:
    """Change a byte of a layer: 0, the lower one; 1, the upper."""
    [first, *_] = json.loads(files["manifest.json"])
    name = first["Layers"][which]
    content = bytearray(files[name])
    content[600] ^= 1
    files[name] = bytes(content)


def _lie(files: dict[str, bytes]) -> None:
    """A configuration promises other content than its compressed layer has."""
    made = image_files([[file("f")]], compression="gzip", document=_diff_ids("0"))
    files.clear()
    files |= made


def _diff_ids(digit: str) -> dict[str, object]:
    return {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + digit * 64]}}


def _lie_plainly(files: dict[str, bytes]) -> None:
    files.clear()
    files |= image_files([[file("f")]], document=_diff_ids("0"))


def _drop_layer(files: dict[str, bytes]) -> None:
    del files[json.loads(files["manifest.json"])[1]["Layers"][1]]


def _disagree(files: dict[str, bytes]) -> None:
    files["manifest.json"] = image_files([[file("other")]])["manifest.json"]
    files |= {k: v for k, v in image_files([[file("other")]]).items() if k.startswith("blobs")}


def _two_of_a_name(files: dict[str, bytes]) -> None:
    entries = json.loads(files["manifest.json"])
    files["manifest.json"] = to_json([entry | {"RepoTags": ["same:1"]} for entry in entries])


DAMAGE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a byte of a shared layer": (lambda files: _flip(files, 0), "digest is sha256:"),
    "a byte of a layer": (lambda files: _flip(files, 1), "digest is sha256:"),
    "another content than promised": (_lie, "diff_id is sha256:"),
    "another plain content than promised": (_lie_plainly, "diff_id is sha256:"),
    "a layer of the second image": (_drop_layer, "no such file in the archive"),
    "views that disagree": (_disagree, "index.json and manifest.json describe different images"),
    "two images of a name": (_two_of_a_name, "two images are called same:1: sha256:"),
    "no image at all": (
        lambda files: files.update({"index.json": b"{}", "manifest.json": b"[]"}),
        "an array of images expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_promised_is_named_and_nothing_is_loaded(
    pybuild: Pybuild, spoil: Callable[[dict[str, bytes]], None], message: str
) -> None:
    files = several(TWO)
    spoil(files)
    put(pybuild, "a.tar", files)
    ended = pybuild.run("load", "-i", "a.tar")
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.startswith("pybuild: a.tar: ")
    assert message in ended.stderr
    assert blobs_in(pybuild) == set(names_in(pybuild)) == set()
    assert os.listdir(pybuild.store / "tmp") == []


def test_a_lie_about_a_blob_that_is_there_already_is_found(pybuild: Pybuild) -> None:
    layer = [file("f")]
    put(pybuild, "true.tar", image_files([layer], compression="gzip"))
    put(pybuild, "lie.tar", image_files([layer], compression="gzip", document=_diff_ids("1")))
    assert pybuild.run("load", "-i", "true.tar", "-t", "a").status == 0
    ended = pybuild.run("load", "-i", "lie.tar", "-t", "b")
    assert ended.status == 1
    assert "diff_id is sha256:" in ended.stderr
    assert set(names_in(pybuild)) == {"a:latest"}


@pytest.mark.parametrize("pack_up", WHOLE.values(), ids=WHOLE)
def test_an_archive_that_is_cut_is_an_error_wherever_it_is_cut(
    pybuild: Pybuild, pack_up: Callable[[bytes], bytes]
) -> None:
    whole = pack_up(put(pybuild, "a.tar", several(TWO)).read_bytes())
    for share in (0, 0.001, 0.3, 0.6, 0.95):
        ended = pybuild.run("load", stdin=whole[: int(len(whole) * share)])
        assert (ended.status, ended.stdout) == (1, "")
        assert ended.stderr.startswith("pybuild: standard input: ")
        assert len(ended.stderr.splitlines()) <= 2
    assert names_in(pybuild) == {}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-i", "missing.tar"], 1, "missing.tar: No such file"),
        (["-i", "."], 1, ".: a directory, but no OCI layout"),
        (["x.tar"], 2, "unexpected x.tar"),
        (["-o", "x.tar"], 2, "pybuild load has no option --output"),
        (["--inptu=x"], 2, "unknown option --inptu"),
        (["-t", "A"], 2, "-t 'A': not an image name"),
    ],
)
def test_a_wrong_command_line_is_one_message(
    pybuild: Pybuild, arguments: list[str], status: int, message: str
) -> None:
    ended = pybuild.run("load", *arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert message in ended.stderr


def test_a_tar_of_files_is_no_image(pybuild: Pybuild) -> None:
    ended = pybuild.run("load", stdin=tar_of([file("etc/passwd")]))
    assert ended.status == 1
    assert (
        "standard input: not an image: it has no index.json and no manifest.json" in ended.stderr
    )


def test_help_names_all_three_commands(pybuild: Pybuild) -> None:
    for command in ("load", "save", "convert"):
        ended = pybuild.run(command, "--help")
        assert ended.status == 0
        assert f"pybuild {command}" in ended.stdout
    assert "load|save|convert" in pybuild.run("--help").stdout


def test_standard_output_that_is_full_is_status_5(pybuild: Pybuild) -> None:
    put(pybuild, "a.tar", several(TWO))
    argv = [*pybuild.command, "load", "-i", str(pybuild.work / "a.tar")]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            argv, env=pybuild.environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 5
    assert ended.stderr == b"pybuild: standard output: No space left on device\n"


# --- a full disk, and a signal


@pytest.mark.needs_root
@pytest.mark.parametrize("way", ["plain", "gzip"])
def test_a_full_store_is_status_5_and_leaves_nothing(as_root: Pybuild, way: str) -> None:
    files = image_files([[file("big", os.urandom(4 << 20))], [file("more", os.urandom(4 << 20))]])
    path = put(as_root, "a.tar", files)
    path.write_bytes(WHOLE[way](path.read_bytes()))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", as_root.store], check=True)
    try:
        ended = as_root.run("load", "-i", "a.tar")
        assert ended.status == 5
        assert "No space left on device" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert os.listdir(as_root.store / "tmp") == []
        assert blobs_in(as_root) == set()
    finally:
        subprocess.run(["umount", as_root.store], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_is_interrupted_leaves_nothing(pybuild: Pybuild, number: int) -> None:
    content = put(pybuild, "a.tar", several(TWO)).read_bytes()
    process = subprocess.Popen(
        [*pybuild.command, "load"],
        env=pybuild.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(content[: len(content) // 2])
    process.stdin.flush()
    descriptors = Path(f"/proc/{process.pid}/fd")

    def is_reading() -> bool:
        links = []
        for path in descriptors.iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(os.readlink(path))
        return any(link.startswith(f"{pybuild.store}/tmp/") for link in links)

    wait_for(is_reading)  # into its file without a name
    process.send_signal(number)
    assert process.wait(20) == (-9 if number == signal.SIGKILL else 128 + number)
    assert b"Traceback" not in process.communicate()[1]
    assert os.listdir(pybuild.store / "tmp") == []
    assert blobs_in(pybuild) == set(names_in(pybuild)) == set()


# --- other programs


def _our_image(pybuild: Pybuild) -> str:
    """Build an image; its configuration's digest, which every program keeps."""
    pybuild.build(f"{SHELL}RUN echo 1 > /f\nENV A=1\n", "-t", "app:v1", "-o", "image.tar")
    return str(Image(pybuild.output).manifest["config"]["digest"])


def _config(pybuild: Pybuild, name: str) -> str:
    digest = names_in(pybuild)[name]
    manifest = (pybuild.store / "blobs/sha256" / digest[7:]).read_text()
    return str(json.loads(manifest)["config"]["digest"])


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("oci-archive:o.tar:me/app:v9", "me/app:v9"),
        ("docker-archive:o.tar:me/app:v9", "me/app:v9"),
        ("docker-archive:o.tar", ""),
        ("oci:o.tar:me/app:v9", "me/app:v9"),
    ],
)
def test_what_skopeo_writes_is_loaded(as_root: Pybuild, form: str, name: str) -> None:
    digest = _our_image(as_root)
    transport, _, rest = form.partition(":")
    shell("skopeo", "copy", f"oci-archive:{as_root.output}", f"{transport}:{as_root.work}/{rest}")
    ended = as_root.run("load", "-i", "o.tar")
    assert ended.stdout == f"Loaded image{f': {name}' if name else f' ID: {digest}'}\n", ended
    if name:
        assert _config(as_root, name) == digest
        assert as_root.run("verify-store").status == 0


@pytest.mark.needs_root
@pytest.mark.needs_program("podman", "skopeo")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_podman_saves_is_loaded(as_root: Pybuild, form: str) -> None:
    digest = _our_image(as_root)
    podman = engine("podman", as_root)
    podman("load", "--input", str(as_root.output))
    podman("tag", "app:v1", "localhost/other:v2")
    path = as_root.work / "saved.tar"
    names = ["app:v1"] if form == "oci-archive" else ["app:v1", "localhost/other:v2"]
    more = ["--multi-image-archive"] if len(names) > 1 else []
    podman("save", *more, "--format", form, "--output", str(path), *names)
    ended = as_root.run("load", "-i", path)
    assert ended.status == 0, ended.stderr
    assert set(ended.stdout.split()) >= {"localhost/other:v2", "app:v1"} & set(names)
    assert _config(as_root, names[-1]) == digest


@pytest.mark.needs_root
@pytest.mark.needs_program("buildah", "skopeo")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_buildah_pushes_is_loaded(as_root: Pybuild, form: str) -> None:
    _our_image(as_root)
    buildah = engine("buildah", as_root)
    container = buildah("from", "--pull-never", f"oci-archive:{as_root.output}").strip()
    buildah("config", "--env", "B=2", container)
    buildah("commit", "-q", container, f"{form}:{as_root.work}/b.tar:localhost/mine:v3")
    ended = as_root.run("load", "-i", "b.tar")
    assert ended.stdout == "Loaded image: localhost/mine:v3\n", ended.stderr
    assert as_root.build("FROM localhost/mine:v3\n").process["Env"][-2:] == ["A=1", "B=2"]


@pytest.mark.needs_root
@pytest.mark.needs_program("umoci")
def test_what_umoci_makes_is_loaded(as_root: Pybuild) -> None:
    place = as_root.work / "layout"
    shell("umoci", "init", "--layout", place)
    for tag in ("v1", "v2"):
        shell("umoci", "new", "--image", f"{place}:{tag}")
        bundle = as_root.work / f"bundle-{tag}"
        shell("umoci", "unpack", "--image", f"{place}:{tag}", bundle)
        (bundle / "rootfs/f").write_text(tag)
        shell("umoci", "repack", "--image", f"{place}:{tag}", bundle)
    ended = as_root.run("load", "-i", "layout")
    assert sorted(ended.stdout.splitlines()) == [
        "Loaded image: v1:latest",
        "Loaded image: v2:latest",
    ]
    assert as_root.run("convert", "v2", "type=local,dest=files").status == 0
    assert (as_root.work / "files/f").read_text() == "v2"
