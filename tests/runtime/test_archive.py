"""image.tar as a file: what is taken, and one clear line for each way in which it is not right."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import random
import sys
from pathlib import Path

import pytest

from runtime.erofs.inplace import refusal
from runtime.errors import ImageError
from runtime.image.archive import open_archive
from runtime.image.source import open_image
from runtime.store.store import Store
from tests.support import (
    CHECKOUT,
    Caller,
    blob_name,
    busybox_layer,
    compressed,
    descriptor,
    directory,
    file,
    hardlink,
    image_files,
    make_image,
    pack,
    read_members,
    run,
    run_pyrun,
    symlink,
    tar_of,
    to_json,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Spoil = Callable[[dict[str, bytes]], object]

LAYER = [directory("etc"), file("etc/motd", "hello")]
BOTH = ("oci", "docker")
FULL_NAME = "io.containerd.image.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.mark.parametrize("views", [("oci",), ("docker",), ("oci", "docker")])
def test_each_view_alone_and_both_together_are_an_image(tmp_path: Path, views: tuple[str]) -> None:
    path = make_image(tmp_path / "i.tar", [LAYER, LAYER], {"Cmd": ["sh"]}, views=views)
    image = open_archive(str(path))
    assert image.config.config.cmd == ("sh",)
    assert [layer.digest for layer in image.manifest.layers] == list(image.config.diff_ids)


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
@pytest.mark.parametrize("views", [("oci",), ("oci", "docker")])
def test_layers_of_every_compression_run(
    public: Path, store: Path, compression: str, views: tuple[str, ...], caller: Caller
) -> None:
    path = make_image(
        public / "i.tar", [busybox_layer(), LAYER], compression=compression, views=views
    )
    result = run_pyrun(path, "/bin/cat", "/etc/motd", store=store, caller=caller)
    assert (result.stdout, result.stderr) == ("hello", "")


def test_an_archive_written_with_dot_slash_names_is_taken(tmp_path: Path) -> None:
    files = {f"./{name}": content for name, content in image_files([LAYER]).items()}
    assert open_archive(str(pack(tmp_path / "i.tar", files))).blobs


def test_of_several_platforms_this_machines_is_taken(tmp_path: Path) -> None:
    def for_machine(files: dict[str, bytes]) -> None:
        (mine,) = json.loads(files["index.json"])["manifests"]
        other = mine | {"platform": {"os": "linux", "architecture": "s390x"}}
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        mine |= {"platform": {"os": "linux", "architecture": machine}}
        files["index.json"] = to_json({"schemaVersion": 2, "manifests": [other, mine]})

    assert open_archive(str(_spoiled(tmp_path, for_machine))).blobs


def test_an_index_may_be_nested_in_an_index(tmp_path: Path) -> None:
    def nest(files: dict[str, bytes]) -> None:
        inner = files["index.json"]
        files[blob_name(inner)] = inner
        files["index.json"] = to_json(
            {"schemaVersion": 2, "manifests": [descriptor(inner, INDEX)]}
        )

    assert open_archive(str(_spoiled(tmp_path, nest))).blobs


def test_an_attestation_beside_the_image_is_passed_over(tmp_path: Path) -> None:
    def attest(files: dict[str, bytes]) -> None:
        (mine,) = json.loads(files["index.json"])["manifests"]
        note = mine | {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
        files["index.json"] = to_json({"schemaVersion": 2, "manifests": [note, mine]})

    assert open_archive(str(_spoiled(tmp_path, attest))).blobs


# --- compressed as a whole


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda content: compressed(content, "zstd"),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("pack_up", COMPRESSED.values(), ids=COMPRESSED)
def test_an_archive_that_is_compressed_as_a_whole_runs_and_leaves_no_file(
    pack_up: Callable[[bytes], bytes], busybox: Path, public: Path, store: Path, caller: Caller
) -> None:
    path = public / "image.tar"  # its bytes tell, not its name
    path.write_bytes(pack_up(busybox.read_bytes()))
    for options in ([], [], ["--rootfs=unpack"]):
        result = run_pyrun(*options, path, "echo", "hi", store=store, caller=caller)
        assert (result.stdout, result.stderr) == ("hi\n", "")
    assert os.listdir(store / "tmp") == []


def test_memory_stays_small_whatever_an_archive_unpacks_to(tmp_path: Path) -> None:
    layer = [file("zeros", bytes(200 << 20))]
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(make_image(tmp_path / "i.tar", [layer]).read_bytes(), 1))
    program = "import sys; from runtime.image.archive import open_archive; "
    program += "print(open_archive(sys.argv[1], room=sys.argv[2]).blobs[0].size, "
    program += "*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    argv = [sys.executable, "-c", program, str(path), str(tmp_path)]
    size, kilobytes = map(int, run(argv, cwd=CHECKOUT).stdout.split())
    assert size > 200 << 20
    assert kilobytes < 64 << 10


# --- several images, and names


def _named(path: Path, images: Mapping[str, bytes], views: tuple[str, ...] = BOTH) -> Path:
    """An archive of images that hold a file each."""
    files: dict[str, bytes] = {}
    tables, entries = [], []
    for name, content in images.items():
        made = image_files([[file("f", content)]], {"Cmd": [name]}, views=BOTH)
        files |= made
        [table] = json.loads(made["index.json"])["manifests"]
        [entry] = json.loads(made["manifest.json"])
        tag = name.rpartition(":")[2]
        annotations = {"org.opencontainers.image.ref.name": tag, FULL_NAME: f"docker.io/{name}"}
        tables.append(table | {"annotations": annotations})
        entries.append(entry | {"RepoTags": [name]})
    files["index.json"] = to_json({"schemaVersion": 2, "manifests": tables})
    files["manifest.json"] = to_json(entries)
    if "oci" not in views:
        files.pop("index.json")
    if "docker" not in views:
        files.pop("manifest.json")
    return pack(path, files)


@pytest.mark.parametrize("views", [("oci",), ("docker",), BOTH])
def test_one_of_several_images_is_taken_by_name_or_tag(
    public: Path, store: Path, views: tuple[str, ...]
) -> None:
    path = _named(public / "i.tar", {"me/app:v1": b"1", "me/app:v2": b"2"}, views)
    for reference in ("v2", "me/app:v2", "docker.io/me/app:v2"):
        assert open_archive(str(path), reference).config.config.cmd == ("me/app:v2",)
        made = open_image(Store(str(store)), f"{path}:{reference}")
        assert made.config.config.cmd == ("me/app:v2",)
    with pytest.raises(ImageError, match="nothing is called v3"):
        open_archive(str(path), "v3")
    with pytest.raises(ImageError, match=r"several images: .*me/app:v1, .*me/app:v2") as caught:
        open_archive(str(path))
    assert "ARCHIVE:NAME" in str(caught.value.hint)


@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_a_bundle_in_place_finds_one_image_of_an_archive_from_anywhere(
    busybox: Path, public: Path, store: Path, caller: Caller
) -> None:
    if refusal():
        pytest.skip(refusal())
    files = read_members(busybox)
    [entry] = json.loads(files["manifest.json"])
    del files["index.json"]
    other = image_files([LAYER], views=("docker",))
    entries = [entry | {"RepoTags": ["a:v1"]}, *json.loads(other["manifest.json"])]
    pack(public / "i.tar", files | other | {"manifest.json": to_json(entries)})
    made = run_pyrun("bundle", "--rootfs=inplace", "i.tar:v1", "b", store=store, cwd=public)
    assert made.status == 0, made.stderr
    config = json.loads((public / "b/config.json").read_text())
    assert config["annotations"]["org.pybuild.image"] == f"{public}/i.tar:v1"
    name = f"test-{os.getpid()}"
    ended = run_pyrun("oci", "run", "--bundle", public / "b", name, store=store, cwd=Path("/"))
    assert (ended.status, ended.stderr) == (0, "")


def test_a_name_that_means_another_image_in_each_view_is_refused(tmp_path: Path) -> None:
    path = _named(tmp_path / "i.tar", {"me/app:v1": b"1", "me/app:v2": b"2"})
    files = read_members(path)
    one, two = json.loads(files["manifest.json"])
    swapped = [one | {"RepoTags": two["RepoTags"]}, two | {"RepoTags": one["RepoTags"]}]
    pack(path, files | {"manifest.json": to_json(swapped)})
    with pytest.raises(ImageError, match="describe different images") as caught:
        open_archive(str(path), "v1")
    for entry in (one, two):
        assert f"sha256:{entry['Config'].rpartition('/')[2]}" in caught.value.message


def test_a_name_that_the_docker_view_alone_has_is_found(tmp_path: Path) -> None:
    path = _named(tmp_path / "i.tar", {"me/app:v1": b"1", "me/app:v2": b"2"})
    files = read_members(path)
    index = json.loads(files["index.json"])
    tables = [table | {"annotations": {}} for table in index["manifests"]]
    pack(path, files | {"index.json": to_json(index | {"manifests": tables})})
    assert open_archive(str(path), "me/app:v2").config.config.cmd == ("me/app:v2",)


def test_a_file_or_a_name_with_a_colon_is_what_it_was(public: Path, store: Path) -> None:
    path = _named(public / "i.tar", {"me/app:v1": b"1", "me/app:v2": b"2"})
    other = _named(public / "i.tar:v2", {"other": b"1"})
    assert open_image(Store(str(store)), f"{path}:v2").config.config.cmd == ("other",)
    other.unlink()
    (public / "app").mkdir()
    with pytest.raises(ImageError, match="no such file, and no image of that name"):
        open_image(Store(str(store)), f"{public}/app:v1")


def test_one_image_under_two_names_is_one_image(tmp_path: Path) -> None:
    def name_twice(files: dict[str, bytes]) -> None:
        (mine,) = json.loads(files["index.json"])["manifests"]
        tables = [
            mine | {"annotations": {"org.opencontainers.image.ref.name": name}}
            for name in ("a", "b")
        ]
        files["index.json"] = to_json({"schemaVersion": 2, "manifests": tables})

    assert open_archive(str(_spoiled(tmp_path, name_twice))).blobs


# --- docker's own forms


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
@pytest.mark.parametrize("link", [symlink, hardlink])
def test_layers_by_legacy_paths_and_links_are_found(
    tmp_path: Path, compression: str, link: Callable[..., bytes]
) -> None:
    tar = tar_of(LAYER)
    files = image_files([tar, tar], compression=compression, views=("docker",))
    [entry] = json.loads(files["manifest.json"])
    config, layer = files[entry["Config"]], files[entry["Layers"][0]]
    paths = ["aaaa/layer.tar", "bbbb/layer.tar"]
    entry |= {"Config": "config.json", "Layers": paths}
    target = "../aaaa/layer.tar" if link is symlink else "aaaa/layer.tar"
    path = tmp_path / "image.tar"
    members = [file("config.json", config), directory("aaaa/"), file(paths[0], layer)]
    members += [link(paths[1], target), file("manifest.json", to_json([entry]))]
    path.write_bytes(tar_of(members))
    image = open_archive(str(path))
    for stored in image.layers:
        stored.verify()
    assert len(image.blobs) == 2


def test_a_link_out_of_the_archive_is_no_layer(tmp_path: Path) -> None:
    files = image_files([LAYER], views=("docker",))
    [entry] = json.loads(files["manifest.json"])
    path = tmp_path / "image.tar"
    for target in ("/etc/passwd", "../../../etc/passwd", "layer"):
        members = [file(entry["Config"], files[entry["Config"]]), symlink("layer", target)]
        members.append(file("manifest.json", to_json([entry | {"Layers": ["layer"]}])))
        path.write_bytes(tar_of(members))
        with pytest.raises(ImageError, match="layer: no such file in the archive"):
            open_archive(str(path))


def test_a_layer_in_xz_is_refused_by_name(tmp_path: Path) -> None:
    def spoil(files: dict[str, bytes]) -> None:
        [entry] = json.loads(files["manifest.json"])
        files[entry["Layers"][0]] = lzma.compress(files[entry["Layers"][0]])

    with pytest.raises(ImageError, match=r"blobs/sha256/\w+: compressed by xz, which layers"):
        open_archive(str(_spoiled(tmp_path, spoil, ("docker",))))


def test_views_that_disagree_are_refused_with_both_digests(tmp_path: Path) -> None:
    one, two = (image_files([LAYER], {"Cmd": [name]}) for name in ("one", "two"))
    path = pack(tmp_path / "i.tar", one | two | {"index.json": one["index.json"]})
    with pytest.raises(ImageError, match="describe different images") as caught:
        open_archive(str(path))
    for files in (one, two):
        [entry] = json.loads(files["manifest.json"])
        assert f"sha256:{entry['Config'].rpartition('/')[2]}" in caught.value.message


# --- what is wrong with the documents inside -----------------------------------------------


def _spoiled(folder: Path, spoil: Spoil, views: tuple[str, ...] = ("oci",)) -> Path:
    files = image_files([LAYER], {"Cmd": ["sh"]}, views=views)
    spoil(files)
    return pack(folder / "image.tar", files)


def _edit_index(**members: Any) -> Spoil:
    return lambda files: files.update(
        {"index.json": to_json(json.loads(files["index.json"]) | members)}
    )


def _edit_docker(**members: Any) -> Spoil:
    def spoil(files: dict[str, bytes]) -> None:
        (table,) = json.loads(files["manifest.json"])
        files["manifest.json"] = to_json([table | members])

    return spoil


def _replace(name: str, content: bytes) -> Spoil:
    return lambda files: files.update({name: content})


def _flip(which: str) -> Spoil:
    """Change one byte of the manifest, config or layer, whose name stays."""

    def spoil(files: dict[str, bytes]) -> None:
        name = _blob(files, which)
        content = bytearray(files[name])
        content[len(content) // 2] ^= 1
        files[name] = bytes(content)

    return spoil


def _remove(which: str) -> Spoil:
    return lambda files: files.pop(_blob(files, which))


def _resize(which: str) -> Spoil:
    return lambda files: files.update(
        {_blob(files, which): files[_blob(files, which)] + bytes(512)}
    )


def _blob(files: dict[str, bytes], which: str) -> str:
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'][7:]}"])
    digest = {
        "manifest": entry["digest"],
        "config": manifest["config"]["digest"],
        "layer": manifest["layers"][0]["digest"],
    }[which]
    return f"blobs/sha256/{digest[7:]}"


def _twice(files: dict[str, bytes]) -> None:
    other = image_files([LAYER, LAYER], views=("oci",))
    tables = [json.loads(table["index.json"])["manifests"][0] for table in (files, other)]
    for table, name in zip(tables, ("one", "two"), strict=True):
        table["annotations"] = {"org.opencontainers.image.ref.name": name}
    files |= other | {"index.json": to_json({"schemaVersion": 2, "manifests": tables})}


def _fewer_diff_ids(files: dict[str, bytes]) -> None:
    files |= image_files([LAYER], document={"rootfs": {"type": "layers", "diff_ids": []}})


def _endless_index(files: dict[str, bytes]) -> None:
    for _ in range(8):
        inner = files["index.json"]
        files[blob_name(inner)] = inner
        files["index.json"] = to_json({"manifests": [descriptor(inner, INDEX)]})


def _other_config(files: dict[str, bytes]) -> None:
    other = image_files([LAYER], {"Cmd": ["other"]}, views=("docker",))
    files |= other


DOCUMENTS: dict[str, tuple[tuple[str, ...], Spoil, str]] = {
    "no index": (("oci",), lambda files: files.pop("index.json"), "not an image"),
    "a broken index": (("oci",), _replace("index.json", b"{"), "not valid JSON"),
    "an index that is an array": (("oci",), _replace("index.json", b"[]"), "JSON object was"),
    "no manifests": (("oci",), _replace("index.json", b"{}"), "manifests is missing"),
    "an empty index": (("oci",), _edit_index(manifests=[]), "it lists no image"),
    "an index of strings": (("oci",), _edit_index(manifests=["x"]), "it lists no image"),
    "an index of two images": (("oci",), _twice, "holds several images: one, two"),
    "an index of indexes without end": (("oci",), _endless_index, "nested too deeply"),
    "no manifest blob": (("oci",), _remove("manifest"), "no such file in the archive"),
    "no config blob": (("oci",), _remove("config"), "no such file in the archive"),
    "no layer blob": (("oci",), _remove("layer"), "no such file in the archive"),
    "another manifest": (("oci",), _flip("manifest"), "its digest is sha256:"),
    "another config": (("oci",), _flip("config"), "its digest is sha256:"),
    "a longer manifest": (("oci",), _resize("manifest"), "descriptor says"),
    "a longer layer": (("oci",), _resize("layer"), "descriptor says"),
    "fewer diff_ids than layers": (("oci",), _fewer_diff_ids, "1 layers in the manifest, 0 "),
    "a digest that is a path": (
        ("oci",),
        _edit_index(manifests=[{"mediaType": MANIFEST, "size": 1, "digest": "sha256:../../x"}]),
        "index.json: not a sha256 digest",
    ),
    "views of different layers": (BOTH, _edit_docker(Layers=[]), "describe different images"),
    "views of different configs": (BOTH, _other_config, "different images: index.json the one of"),
    "a docker view of a missing config": (BOTH, _edit_docker(Config="x"), "x: no such file"),
    "layers that are a number": (BOTH, _edit_docker(Layers=5), "manifest.json: Layers is 5"),
    "a docker view that is an object": (
        ("docker",),
        _replace("manifest.json", b"{}"),
        "an array of images expected",
    ),
    "a docker view of two images": (
        ("docker",),
        lambda files: files.update(
            {"manifest.json": to_json(json.loads(files["manifest.json"]) * 2)}
        ),
        "holds several images: ",
    ),
    "a docker view with a second document": (
        ("docker",),
        lambda files: files.update({"manifest.json": b'[{}],"images":' + files["manifest.json"]}),
        "not valid JSON",
    ),
    "a docker view without a config": (
        ("docker",),
        _edit_docker(Config="missing.json"),
        "missing.json: no such file",
    ),
    "a docker view with an absolute layer": (
        ("docker",),
        _edit_docker(Layers=["/etc/passwd"]),
        "/etc/passwd: no such file in the archive",
    ),
    "a docker view with more layers": (
        ("docker",),
        lambda files: _edit_docker(Layers=json.loads(files["manifest.json"])[0]["Layers"] * 2)(
            files
        ),
        "2 layers, the config has 1 diff_ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("views", "spoil", "message"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_does_not_fit_together_is_refused_by_name(
    tmp_path: Path, views: tuple[str, ...], spoil: Spoil, message: str
) -> None:
    path = _spoiled(tmp_path, spoil, views)
    with pytest.raises(ImageError) as caught:
        open_archive(str(path))
    assert caught.value.message.startswith(f"{path}: ")
    assert message in caught.value.message


def test_a_link_in_place_of_a_blob_is_no_blob(tmp_path: Path) -> None:
    files = image_files([LAYER], views=("oci",))
    layer = _blob(files, "layer")
    members = [file(name, content) for name, content in files.items() if name != layer]
    path = tmp_path / "image.tar"
    path.write_bytes(tar_of([*members, symlink(layer, "/etc/passwd")]))
    with pytest.raises(ImageError, match="no such file in the archive"):
        open_archive(str(path))


# --- what is wrong with the file -----------------------------------------------------------


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda _: b"x",
    "random": lambda _: random.Random(1).randbytes(100_000),
    "zeros": lambda _: bytes(10_240),
    "a text": lambda _: b"FROM scratch\n" * 1000,
    "a tar that is no image": lambda _: tar_of([file("etc/passwd", "root")]),
    "a compressed text": lambda _: gzip.compress(b"FROM scratch\n" * 1000),
    "a compressed image, cut": lambda content: gzip.compress(content)[:100_000],
    "a cut image, compressed": lambda content: gzip.compress(content[:100_000]),
    "xz without an end": lambda content: lzma.compress(content)[:100_000],
    "zstd, and a cut": lambda content: compressed(content, "zstd")[:100_000],
    "gzip, and nothing": lambda _: b"\x1f\x8b",
    "cut in a header": lambda content: content[:300],
    "cut at a third": _cut(0.33),
    "cut at two thirds": _cut(0.66),
    "cut at the end marker": lambda content: content[:-1024],
}


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize("spoil", FILES.values(), ids=FILES)
def test_a_file_that_is_no_image_gives_one_line_and_leaves_the_store_usable(
    spoil: Callable[[bytes], bytes], busybox: Path, public: Path, store: Path, caller: Caller
) -> None:
    path = public / "image.tar"
    path.write_bytes(spoil(busybox.read_bytes()))
    result = run_pyrun(path, "true", store=store, caller=caller)
    assert (result.status, result.stdout) == (125, "")
    assert result.stderr.startswith(f"pyrun: {path}: ")
    lines = result.stderr.splitlines()
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert run_pyrun(busybox, "true", store=store, caller=caller).status == 0


@pytest.mark.parametrize("kind", ["a directory", "a FIFO", "a device", "missing", "unreadable"])
def test_a_path_that_is_no_file_gives_one_line(
    kind: str, public: Path, store: Path, caller: Caller
) -> None:
    path = public / "image.tar"
    match kind:
        case "a directory":
            path.mkdir()
        case "a FIFO":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "unreadable":
            path = Path("/proc/self/mem") if caller.is_root else Path("/etc/shadow")
    result = run_pyrun(path, "true", store=store, caller=caller, timeout_s=10)
    assert result.status == 125
    assert result.stderr.startswith(f"pyrun: {path}: ")
    assert "Traceback" not in result.stderr


def test_a_byte_changed_in_a_layer_is_found_and_the_layer_is_not_kept(
    busybox: Path, public: Path, store: Path, caller: Caller
) -> None:
    content = bytearray(busybox.read_bytes())
    content[1_000_000] ^= 1  # within /bin/busybox itself
    path = public / "image.tar"
    path.write_bytes(content)
    result = run_pyrun(path, "true", store=store, caller=caller)
    assert result.status == 125
    assert "digest is sha256:" in result.stderr
    assert os.listdir(store / "layers") == os.listdir(store / "tmp") == []
    assert run_pyrun(busybox, "true", store=store, caller=caller).status == 0


@pytest.mark.slow
def test_no_single_changed_byte_makes_a_traceback(tmp_path: Path) -> None:
    content = make_image(tmp_path / "i.tar", [LAYER], {"Cmd": ["sh"]}).read_bytes()
    path = tmp_path / "spoiled.tar"
    for position in range(len(content)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
        )
        with contextlib.suppress(ImageError):  # and no other exception
            open_archive(str(path))
