"""ADD of archives, through `pybuild`: what is unpacked, where it goes, and where it cannot go."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from buildkit.archives import is_archive, open_archive
from buildkit.errors import BuildError
from buildkit.unpacking import unpack
from tests.buildkit.support import Image, Pybuild, make_pybuild, modes, text_files
from tests.support import (
    EPOCH,
    PASSWD,
    Caller,
    TreeValue,
    character,
    directory,
    fifo,
    file,
    hardlink,
    make_tree,
    pax,
    pax_records,
    run,
    symlink,
    tar_of,
    tree_state,
)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
    "two gzip members": lambda c: gzip.compress(c[:700]) + gzip.compress(c[700:]),
    "two bzip2 streams": lambda c: bz2.compress(c[:700]) + bz2.compress(c[700:]),
    "two padded xz streams": lambda c: lzma.compress(c[:700]) + bytes(8) + lzma.compress(c[700:]),
    "two zstd frames": lambda c: _zstd(c[:700]) + _zstd(c[700:]),
}

BELOW = """\
FROM scratch AS below
COPY below /
FROM below
"""


def _files(pybuild: Pybuild, text: str, *arguments: str) -> dict[str, str]:
    return text_files(pybuild.build(text, *arguments))


def _add(pybuild: Pybuild, entries: Iterable[bytes], add: str = "ADD t.tar /") -> Image:
    """The image of one ADD of these members."""
    pybuild.add({"t.tar": tar_of(entries)})
    return pybuild.build(f"FROM scratch\n{add}\n")


# --- What is an archive


@pytest.mark.parametrize("compression", COMPRESSED)
def test_archives_are_told_by_their_content_not_by_their_name(
    pybuild: Pybuild, compression: str
) -> None:
    content = tar_of([file("a", "1"), directory("d"), file("d/b", "2" * 3000)])
    pybuild.add({"name": COMPRESSED[compression](content)})
    assert _files(pybuild, "FROM scratch\nADD name /x\n") == {"x/a": "1", "x/d/b": "2" * 3000}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tar", b"no tar at all"),
        ("t.tar.gz", gzip.compress(b"no tar" * 1000, mtime=0)),
        ("t.tar.gz", b"\x1f\x8b and no gzip"),
        ("t.tar.bz2", b"BZh and no bzip2"),
        ("t.tar.xz", b"\xfd7zXZ\0 and no xz"),
        ("t.tar.zst", b"\x28\xb5\x2f\xfd and no zstd"),
        ("t.tar", b""),
        ("t.tar", bytes(10240)),
        ("t.tar", file("a")[:300]),
    ],
)
def test_what_is_no_archive_is_copied_whatever_its_name(
    pybuild: Pybuild, name: str, content: bytes
) -> None:
    pybuild.add({name: content})
    assert pybuild.build(f"FROM scratch\nADD {name} /x/\n").read(f"x/{name}") == content


def test_only_files_that_the_instruction_names_are_unpacked(pybuild: Pybuild) -> None:
    tar = tar_of([file("a", "1")])
    pybuild.add({"d/t.tar": tar, "g/1.tar": tar, "g/2.tar": tar_of([file("b", "2")])})
    pybuild.add({"g/no": "3", "link": Path("d/t.tar")})
    image = pybuild.build("FROM scratch\nADD d /d/\nADD g/* /g/\nADD link /l\n")
    assert image.read("d/t.tar") == tar
    assert set(text_files(image)) == {"d/t.tar", "g/a", "g/b", "g/no", "l/a"}


def test_copy_and_unpack_false_take_an_archive_as_it_is(pybuild: Pybuild) -> None:
    tar = tar_of([file("a", "1")])
    pybuild.add({"t.tar": tar})
    image = pybuild.build(
        "FROM scratch\nCOPY t.tar /1/\nADD --unpack=false t.tar /2/\nADD --unpack t.tar /3/\n"
    )
    assert image.read("1/t.tar") == image.read("2/t.tar") == tar
    assert image.read("3/a") == b"1"


def test_reading_an_archive_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    packer = zlib.compressobj(wbits=31)
    piece = bytes(1 << 20)
    path.write_bytes(b"".join(packer.compress(piece) for _ in range(128)) + packer.flush())
    tracemalloc.start()
    try:
        with open_archive(str(path), "bomb") as reader:
            reader.skip(128 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_fifo_in_the_context_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert not is_archive(str(tmp_path / "fifo"))


# --- What its members become


def test_every_kind_of_member(pybuild: Pybuild) -> None:
    image = _add(
        pybuild,
        [
            directory("./", mode=0o700, uid=9),
            directory("./d", mode=0o2750),
            file("d/f", "1", mode=0o4711),
            symlink("d/l", "/nowhere"),
            hardlink("d/h", "./d/f"),
            hardlink("d/m", "/d/l"),
            hardlink("d/f", "d/f"),
            fifo("p", mode=0o622),
            file("old/", mode=0o755),
            file("n" * 200 + "/" + "m" * 250, "long"),
            file("é\udcff", "bytes"),
        ],
        "ADD t.tar /x",
    )
    found = {name: (info.type, f"{info.mode:o}") for name, info in image.files.items()}
    long = f"x/{'n' * 200}"
    assert found == {
        "x": (tarfile.DIRTYPE, "755"),
        "x/d": (tarfile.DIRTYPE, "2750"),
        "x/d/f": (tarfile.REGTYPE, "4711"),
        "x/d/h": (tarfile.LNKTYPE, "4711"),
        "x/d/l": (tarfile.SYMTYPE, "777"),
        "x/d/m": (tarfile.SYMTYPE, "777"),
        "x/p": (tarfile.FIFOTYPE, "622"),
        "x/old": (tarfile.DIRTYPE, "755"),
        long: (tarfile.DIRTYPE, "755"),
        f"{long}/{'m' * 250}": (tarfile.REGTYPE, "644"),
        "x/é\udcff": (tarfile.REGTYPE, "644"),
    }
    assert image.files["x/d/l"].linkname == "/nowhere"


@pytest.mark.needs_root
def test_devices_need_the_root_of_the_machine(
    as_root: Pybuild, as_user: Pybuild, plain: Pybuild
) -> None:
    tar = tar_of([character("dev/null", 1, 3, mode=0o666), file("a")])
    for pybuild in (as_root, as_user, plain):
        pybuild.add({"t.tar": tar})
    image = as_root.build("FROM scratch\nADD t.tar /\n")
    assert plain.build("FROM scratch\nADD t.tar /\n").descriptor == image.descriptor
    info = image.files["dev/null"]
    assert (info.ischr(), info.devmajor, info.devminor, info.mode) == (True, 1, 3, 0o666)
    ended = as_user.try_build("FROM scratch\nADD t.tar /\n")
    assert ended.status == 1
    assert "t.tar: dev/null: a device node, which only the machine's root" in ended.stderr


def test_extended_attributes_are_kept_as_far_as_they_belong_to_an_image(pybuild: Pybuild) -> None:
    records: dict[str, str | bytes] = {
        "SCHILY.xattr.user.note": b"\xff\x00=\n",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "label",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "mtime": "1.5",
    }
    image = _add(pybuild, [pax_records(records), file("a"), pax_records(records), directory("d")])
    for name in ("a", "d"):
        attributes = {k: v for k, v in image.files[name].pax_headers.items() if "xattr" in k}
        assert {k: v.encode("utf-8", "surrogateescape") for k, v in attributes.items()} == {
            "SCHILY.xattr.user.note": b"\xff\x00=\n"
        }


@pytest.mark.needs_program("tar")
@pytest.mark.parametrize("version", ["", "0.0", "0.1", "1.0"])
@pytest.mark.parametrize("parts", [0, 1, 3, 60])
def test_sparse_files_have_all_their_bytes(
    pybuild: Pybuild, tmp_path: Path, version: str, parts: int
) -> None:
    with open(tmp_path / "holes", "wb") as holes:
        for number in range(parts):
            holes.seek(number * 65536 + 8192)
            holes.write(b"%d" % number * 4096)
        holes.truncate(parts * 65536 + 12345)
    (tmp_path / "after").write_text("after")
    tar = pybuild.context / "t.tar"
    form = ["--format=posix", f"--sparse-version={version}"] if version else ["--format=gnu"]
    argv: list[str | Path] = ["tar", "-C", tmp_path, "-cSf", tar, "--owner=0", "--group=0", *form]
    assert run([*argv, "holes", "after"]).status == 0
    assert tar.stat().st_size < parts * 65536 + 12345 + 10240
    image = pybuild.build("FROM scratch\nADD t.tar /\n")
    assert image.read("holes") == (tmp_path / "holes").read_bytes()
    assert image.read("after") == b"after"


@pytest.mark.parametrize(
    "records",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 62)},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 63)},
        {"GNU.sparse.map": "5,3,0,2", "GNU.sparse.size": "100"},
        {"GNU.sparse.map": "0,5,9", "GNU.sparse.size": "100"},
        {"GNU.sparse.map": "0,5", "GNU.sparse.size": "4"},
        {"GNU.sparse.map": "-5,5", "GNU.sparse.size": "4"},
        {"GNU.sparse.map": "0,4", "GNU.sparse.size": "9"},
        {"GNU.sparse.size": "9"},
    ],
)
def test_a_map_that_does_not_fit_is_refused(pybuild: Pybuild, records: dict[str, str]) -> None:
    pybuild.add({"t.tar": tar_of([file("a"), pax_records(records), file("holes", "12345")])})
    ended = pybuild.try_build("FROM scratch\nADD t.tar /\n")
    assert ended.status == 1
    assert "t.tar: holes: " in ended.stderr
    assert " sparse file" in ended.stderr


def test_a_later_member_wins(pybuild: Pybuild) -> None:
    image = _add(
        pybuild,
        [
            file("a", "1"),
            symlink("a", "b"),
            file("a", "2"),
            directory("e"),
            file("e/deep/er/x", "3"),
            file("e", "4"),
            file("k", "5"),
            directory("k"),
            file("k/x", "6"),
        ],
    )
    assert text_files(image) == {"a": "2", "e": "4", "k/x": "6"}


# --- Owners, modes, times


def test_owner_and_mode_are_the_archives_own(pybuild: Pybuild) -> None:
    entries = [directory("d", uid=5, gid=6, mode=0o700), file("d/f", uid=7, gid=8, mode=0o2755)]
    image = _add(pybuild, [*entries, file("i/f", uid=9)], "ADD --chmod=600 t.tar /x")
    assert modes(image) == {
        "x": "0:0 755",
        "x/d": "5:6 700",
        "x/d/f": "7:8 2755",
        "x/i": "0:0 755",
        "x/i/f": "9:0 644",
    }


def test_chown_gives_all_that_is_made_another_owner(pybuild: Pybuild) -> None:
    entries = [file("d/f", uid=7, mode=0o4755), symlink("l", "x", uid=7), hardlink("h", "d/f")]
    pybuild.add({"t.tar": tar_of(entries), "passwd": PASSWD})
    image = pybuild.build("FROM scratch\nCOPY passwd /etc/\nADD --chown=1000:5 t.tar /x\n")
    found = {name: mode for name, mode in modes(image).items() if name[0] == "x"}
    assert found == {
        "x": "1000:5 755",
        "x/d": "1000:5 755",
        "x/d/f": "1000:5 4755",
        "x/h": "1000:5 4755",
        "x/l": "1000:5 777",
    }


def test_times_are_kept_and_the_newest_is_the_epoch_of_what_follows(pybuild: Pybuild) -> None:
    entries = [
        directory("d", mtime=400_000_000),
        file("d/f", mtime=500_000_000),
        symlink("d/l", "f", mtime=600_000_000),
        pax(mtime="-5.5"),
        file("before"),
    ]
    pybuild.add({"t.tar": tar_of(entries), "a": ""})
    image = pybuild.build("FROM scratch\nADD t.tar /\nCOPY a /\n")
    assert {name: info.mtime for name, info in image.files.items()} == {
        "d": 400_000_000,
        "d/f": 500_000_000,
        "d/l": 600_000_000,
        "before": 0,
        "a": 600_000_000,
    }
    assert image.config["created"] == "1989-01-05T10:40:00Z"


def test_no_time_is_later_than_source_date_epoch(pybuild: Pybuild) -> None:
    pybuild.add({"t.tar": tar_of([file("a", mtime=500_000_000), file("b", mtime=300_000_000)])})
    env = {"SOURCE_DATE_EPOCH": "400000000"}
    image = pybuild.build("FROM scratch\nADD t.tar /\n", env=env)
    assert {n: i.mtime for n, i in image.files.items()} == {"a": 400_000_000, "b": 300_000_000}


@pytest.mark.needs_root
def test_an_owner_that_a_user_cannot_give_is_refused(as_user: Pybuild) -> None:
    as_user.add({"t.tar": tar_of([pax(uid="4000000000"), file("a")])})
    ended = as_user.try_build("FROM scratch\nADD t.tar /\n")
    assert ended.status == 1
    assert "t.tar: a: owner 4000000000:0 is not among the ids of who builds" in ended.stderr
    assert as_user.try_build("FROM scratch\nADD --chown=0 t.tar /\n").status == 0


# --- Where it goes

TAR = tar_of([directory("e"), file("e/x", "1"), file("l/y", "2")])


@pytest.mark.parametrize(
    ("below", "add", "expected"),
    [
        pytest.param({"z": "o"}, "/n", {"n/e/x": "1", "n/l/y": "2", "z": "o"}, id="a new place"),
        pytest.param(
            {"e/x": "o", "e/k": "k"}, "/", {"e/x": "1", "e/k": "k", "l/y": "2"}, id="merged"
        ),
        pytest.param(
            {"e/x/a/b": "o", "l": Path("e")}, "/", {"e/x": "1", "l": "-> e", "e/y": "2"},
            id="a file replaces a directory; parents through a link",
        ),
        pytest.param(
            {"e": Path("usr/e"), "usr/e/k": "k"}, "/",
            {"e": "-> usr/e", "usr/e/x": "1", "usr/e/k": "k", "l/y": "2"},
            id="a directory into the one that a link names",
        ),
        pytest.param(
            {"e": Path("/usr/e"), "k": "k"}, "/",
            {"e": "-> /usr/e", "usr/e/x": "1", "k": "k", "l/y": "2"},
            id="what a link to nothing names is made",
        ),
        pytest.param(
            {"e": Path("k"), "k": "k"}, "/", {"e/x": "1", "k": "k", "l/y": "2"},
            id="a directory replaces a link to a file",
        ),
        pytest.param(
            {"e": "o"}, "/", {"e/x": "1", "l/y": "2"}, id="a directory replaces a file"
        ),
        pytest.param(
            {"d": Path("/r"), "r/k": "k", "r/l": Path("/s")}, "/d",
            {"d": "-> /r", "r/k": "k", "r/e/x": "1", "r/l": "-> /s", "s/y": "2"},
            id="links are the image's own, seen from its root",
        ),
        pytest.param(
            {"d/l": Path("../../../../../s"), "k": ""}, "/d",
            {"d/l": "-> ../../../../../s", "k": "", "d/e/x": "1", "s/y": "2"},
            id="a link that leads up ends at the root",
        ),
    ],
)  # fmt: skip
def test_what_is_there_already(
    anybody: Pybuild, below: dict[str, TreeValue], add: str, expected: dict[str, str]
) -> None:
    anybody.add({"t.tar": TAR, **{f"below/{name}": value for name, value in below.items()}})
    found = _files(anybody, f"{BELOW}ADD t.tar {add}\nFROM scratch\nCOPY --from=1 / /\n")
    assert found == expected


def test_the_destination_is_a_directory(pybuild: Pybuild) -> None:
    pybuild.add({"t.tar": TAR, "f": ""})
    ended = pybuild.try_build("FROM scratch\nCOPY f /\nADD t.tar /f\n")
    assert ended.status == 1
    assert "Containerfile:3:1: destination /f: Not a directory" in ended.stderr


def test_a_deep_directory_is_replaced(anybody: Pybuild) -> None:
    deep = "/".join("d" * 900)
    anybody.add({"deep.tar": tar_of([file(f"e/{deep}/f"), file("e/k")])})
    anybody.add({"t.tar": tar_of([file("e", "1")])})
    text = "FROM scratch\nADD deep.tar /\nADD t.tar /\nFROM scratch\nCOPY --from=0 / /\n"
    assert _files(anybody, text) == {"e": "1"}


def test_several_archives_and_files_go_in_order(pybuild: Pybuild) -> None:
    pybuild.add({"1.tar": tar_of([file("a", "1"), file("b", "1")])})
    pybuild.add({"b": "2", "3.tar": tar_of([file("c", "3")]), "c": "4"})
    text = "FROM scratch\nADD 1.tar b 3.tar c <<d /x/\n5\nd\n"
    assert _files(pybuild, text) == {"x/a": "1", "x/b": "2", "x/c": "4", "x/d": "5\n"}


# --- What leads outside

UP = "../" * 30

# name | members, given the path of something outside | what is said, or "" if it stays inside
ATTACKS: dict[str, tuple[Callable[[str], list[bytes]], str]] = {
    "a name with ..": (lambda d: [file(f"{UP}{d[1:]}/new")], "leads out of the destination"),
    "a name with .. inside": (lambda d: [file("a/../../x")], "a/../../x: leads out"),
    "a hard link with ..": (lambda d: [hardlink("x", f"{UP}{d[1:]}/file")], "x: leads out"),
    "an absolute name": (lambda d: [file(f"{d}/new", "1")], ""),
    "a hard link to an absolute name": (
        lambda d: [hardlink("x", f"{d}/file"), file("x", "1")],
        "which is not there",
    ),
    "through an absolute link": (lambda d: [symlink("x", d), file("x/new", "1")], ""),
    "through a relative link": (
        lambda d: [symlink("x", UP + d[1:]), file("x/new", "1"), file("x/file", "1")],
        "",
    ),
    "onto a link": (lambda d: [symlink("x", f"{d}/file"), file("x", "1")], ""),
    "a directory onto a link": (lambda d: [symlink("x", d), directory("x", mode=0o777)], ""),
    "a hard link through a link": (
        lambda d: [symlink("x", d), hardlink("y", "x/file"), file("y", "1")],
        "which is not there",
    ),
    "a device onto a link": (lambda d: [symlink("x", f"{d}/new"), fifo("x")], ""),
    "links in a circle": (
        lambda d: [symlink("x", "y"), symlink("y", "x"), file("x/f")],
        "x/f: Too many levels of symbolic links",
    ),
    "through proc": (
        lambda d: [symlink("x", "/proc/self/root"), file(f"x{d}/new", "1")],
        "",
    ),
    "its own destination replaced": (
        lambda d: [symlink("x", "/"), file("x/dst", "1"), file("dst/new", "1")],
        "dst/new: ",
    ),
    "a whiteout": (lambda d: [file(".wh.file")], ".wh.file: a name that begins with .wh."),
    "a whiteout of a directory": (lambda d: [file("a/.wh..wh..opq")], "would hide a file"),
    "a directory that is a whiteout": (lambda d: [file(".wh.a/b")], "would hide a file"),
    "a whiteout as a device": (lambda d: [character("x", 0, 0)], "x: device 0/0 would hide"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_member_leaves_the_root(anybody: Pybuild, public: Path, name: str) -> None:
    outside = make_tree(public / "outside", {"file": "kept"})
    outside.chmod(0o777)
    (outside / "file").chmod(0o666)
    before = tree_state(outside)
    attack, said = ATTACKS[name]
    anybody.add({"t.tar": tar_of(attack(str(outside)))})
    ended = anybody.try_build("FROM scratch\nADD t.tar /dst\n")
    assert tree_state(outside) == before
    assert ended.status == (1 if said else 0), ended.stderr
    assert said in ended.stderr
    assert not said or "Containerfile:2:1: t.tar: " in ended.stderr


# --- What is broken


@pytest.mark.parametrize("compression", ["plain", "gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_one_error_that_names_it_and_the_member(
    pybuild: Pybuild, compression: str, kept: float
) -> None:
    # More than one block of bzip2, so that the first member can be read.
    content = random.Random(1).randbytes(3_000_000)
    tar = COMPRESSED[compression](tar_of([file("first", "1"), file("second", content)]))
    pybuild.add({"t.tar": tar[: int(len(tar) * kept)]})
    ended = pybuild.try_build("FROM scratch\nADD t.tar /\n")
    assert ended.status == 1
    assert ended.stderr.count("t.tar: ") == 1
    assert "truncated" in ended.stderr
    assert "second" in ended.stderr
    assert not pybuild.output.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file("a"), "t: the tar ends without its end marker: truncated (in or after a)"),
        (file("a") + b"x" * 512, "in a tar header (in or after a)"),
        (file("a") + b"\1" + file("b")[1:], "a header has a wrong checksum) (in or after a)"),
        (tar_of([pax(size="x"), file("a")]), "t: PAX size"),
        (gzip.compress(tar_of([file("a")]), mtime=0)[:-8] + bytes(8), "t: not valid gzip: "),
        (lzma.compress(tar_of([file("a")]))[:-8] + bytes(8), "t: not valid xz: "),
    ],
)
def test_a_broken_archive_is_an_error(pybuild: Pybuild, content: bytes, message: str) -> None:
    pybuild.add({"t": content})
    ended = pybuild.try_build("FROM scratch\nADD t /\n")
    assert ended.status == 1
    assert message in ended.stderr


# --- The cache, and who builds


def test_a_change_of_the_archive_is_noticed_and_its_own_times_are_not_content(
    pybuild: Pybuild,
) -> None:
    text = "FROM scratch\nADD t.tar /\n"
    pybuild.add({"t.tar": tar_of([file("a", "1")])})
    assert pybuild.steps(text) == ["DONE"]
    os.utime(pybuild.context / "t.tar", (1, 1))
    assert pybuild.steps(text) == ["CACHED"]
    pybuild.add({"t.tar": tar_of([file("a", "2")])})
    assert pybuild.steps(text) == ["DONE"]
    assert Image(pybuild.output).read("a") == b"2"


def test_copied_unpacked_and_kept_archives_are_not_taken_for_each_other(pybuild: Pybuild) -> None:
    pybuild.add({"t.tar": tar_of([file("a", "1")])})
    assert pybuild.steps("FROM scratch\nCOPY t.tar /x/\n") == ["DONE"]
    assert pybuild.steps("FROM scratch\nADD t.tar /x/\n") == ["DONE"]
    assert set(text_files(Image(pybuild.output))) == {"x/a"}
    assert pybuild.steps("FROM scratch\nADD --unpack=false t.tar /x/\n") == ["CACHED"]
    assert set(text_files(Image(pybuild.output))) == {"x/t.tar"}


@pytest.mark.needs_root
def test_whoever_builds_the_layer_has_the_same_bytes(
    as_root: Pybuild, as_user: Pybuild, plain: Pybuild
) -> None:
    entries = [
        directory("e", uid=1, gid=2, mode=0o2770),
        file("e/x", "1", uid=3, gid=4, mode=0o6755),
        hardlink("e/h", "e/x"),
        symlink("e/l", "/e", uid=5),
        pax_records({"SCHILY.xattr.user.a": "b"}),
        file("l/y", "2", mtime=EPOCH + 5),
        fifo("p", uid=7),
        directory("gone"),
    ]
    digests = set()
    for pybuild in (as_root, as_user, plain):
        below: dict[str, TreeValue] = {"e/k": "k", "p/q": "", "l": Path("m"), "x": ""}
        pybuild.add({f"below/{name}": value for name, value in below.items()})
        pybuild.add({"t.tar": tar_of(entries)})
        image = pybuild.build(f"{BELOW}ADD t.tar /\nCOPY t.tar /\n")
        digests.add(image.descriptor["digest"])
    assert len(digests) == 1


@pytest.mark.needs_root
def test_a_user_with_one_id_can_unpack_what_has_no_other_owner(
    public: Path, lone_user: Caller
) -> None:
    pybuild = make_pybuild(public / "lone", lone_user)
    pybuild.add({"0.tar": tar_of([file("a", "1")]), "5.tar": tar_of([file("b", "2", uid=5)])})
    assert _files(pybuild, "FROM scratch\nADD 0.tar /\nADD --chown=0 5.tar /\n")
    ended = pybuild.try_build("FROM scratch\nADD 5.tar /\n")
    assert "5.tar: b: owner 5:0 is not among the ids of who builds; --chown" in ended.stderr


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_is_more_than_an_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    entries = [directory("d"), file("d/f", "1" * 700), symlink("d/l", "/e"), hardlink("h", "d/f")]
    entries += [pax(path="x" * 150, GNU__sparse__map="0,1", GNU__sparse__size="9"), file("x", "1")]
    whole = tar_of([*entries, file("e/f/g", "2"), symlink("e/f/s", "../.."), file("e/f/s/q")])
    for number in range(150):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            start = chance.randrange(len(whole) // 512) * 512
            at = start + chance.randrange(512)
            content[at] = chance.choice((0, 0x2E, 0x2F, 0x30, 0x80, 0xFF, content[at] ^ 1))
            head = content[start : start + 512]
            found = sum(head) - sum(head[148:156]) + 8 * 0x20
            content[start + 148 : start + 156] = b"%06o\0 " % found
        (tmp_path / "t.tar").write_bytes(content)
        root = tmp_path / str(number)
        root.mkdir()
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        place, me = str(tmp_path / "t.tar"), (os.geteuid(), os.getegid())
        try:
            unpack(place, "t.tar", root_fd, "/dst", me)
        except BuildError:  # nothing else
            pass
        finally:
            os.close(root_fd)
        assert {path.name for path in root.iterdir()} <= {"dst", "e"}
    assert len(list(tmp_path.iterdir())) == 151


def test_pythons_own_archives_are_read(pybuild: Pybuild) -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w:gz", format=form) as archive:
            info = tarfile.TarInfo("d/" + "é" * 20)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        pybuild.add({"t.tgz": written.getvalue()})
        assert _files(pybuild, "FROM scratch\nADD t.tgz /\n") == {"d/" + "é" * 20: "abc"}
