"""An index shows what extracting the layers gives: content, attributes, xattrs, links."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from runtime.errors import ImageError
from tests.runtime.erofs.support import (
    extracted,
    index_of,
    indexed,
    random_layer,
    write_layers,
)
from tests.support import (
    character,
    directory,
    fifo,
    file,
    hardlink,
    header,
    pax,
    symlink,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_root

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # net_bind_service=ep
LONG = "x" * 255


def _xattrs(**values: bytes) -> bytes:
    return pax(
        **{f"SCHILY.xattr.{key.replace('__', '.')}": value for key, value in values.items()}
    )


LAYERS: dict[str, list[list[bytes]]] = {
    "nothing": [[]],
    "files of all sizes": [
        [
            file(f"f{size}", bytes([size % 251]) * size)
            for size in (0, 1, 511, 512, 513, 5000, 70000)
        ]
    ],
    "attributes": [
        [
            directory("d", mode=0o1777, uid=3, gid=4, mtime=7),
            file("d/suid", b"x", mode=0o6755, uid=70000, gid=80000, mtime=1),
            symlink("d/l", "nowhere", uid=5, gid=6, mtime=9),
            fifo("p", mode=0o640),
            character("null", 1, 3, mode=0o666),
            character("far", 4095, 1048575, mode=0o600),
            pax(mtime="-1"),
            file("early", b""),
        ]
    ],
    "names": [
        [
            directory("a" * 100),
            file("a" * 100 + "/" + "b" * 60, b"1"),
            pax(path="d/" * 500 + LONG),
            file("short", b"deep"),
            *(file(f"many/{number}", str(number)) for number in range(300)),
            pax(path=b"bytes\xff\xfe".decode("utf-8", "surrogateescape")),
            file("short", b"bytes"),
            file("new\nline", b"n"),
            file("!before-dot", b"!"),
        ]
    ],
    "links": [
        [
            *(symlink(f"l{size}", "t" * size) for size in (1, 90)),
            pax(linkpath="long/" * 120),
            symlink("l600", "x"),
            pax(linkpath="y" * 448),
            symlink("l448", "x"),
            pax(linkpath="y" * 449),
            symlink("l449", "x"),
            pax(linkpath="z" * 4000),
            symlink("l4000", "x"),
        ]
    ],
    "hard links": [
        [
            file("one", b"1"),
            hardlink("two", "one"),
            directory("d"),
            hardlink("d/three", "./one"),
            symlink("s", "one"),
            hardlink("t", "s"),
        ],
        [file("two", b"2")],
        [file("a", b"a"), hardlink("b", "a")],
    ],
    "xattrs": [
        [
            _xattrs(security__capability=CAPABILITY, user__a=b"\0\xff"),
            file("capable", b"x"),
            _xattrs(user__of=b"the directory"),
            directory("d"),
            _xattrs(user__long=b"v" * 3000, security__selinux=b"dropped", user__empty=b""),
            file("d/long", b"y" * 600),
        ],
        [file("d/other", b"")],
        [directory("d")],
    ],
    "replacing": [
        [file("a", b"1"), directory("d", mode=0o700), file("d/x", b"x"), symlink("l", "d")],
        [file("a", b"22"), directory("d", mode=0o750, uid=9), file("d/y", b"y")],
        [directory("a"), file("a/in", b"in"), file("d", b"no directory any more")],
        [file("l/in", b"a directory hides the link")],
    ],
    "whiteouts": [
        [directory("d"), file("d/a", b"a"), file("d/b", b"b"), directory("e/f"), file("e/f/g")],
        [file("d/.wh.a"), file(".wh.e"), file("d/.wh.none")],
        [file("e/new", b"again")],
        [file(".wh.d"), file("d/c", b"in the same layer"), directory("d", mode=0o711)],
        [file("e/.wh..wh..opq"), file("e/h", b"h")],
        [file("e/.wh..wh.plnk"), file("x/.wh..wh..opq"), file("x/y", b""), file("x/.wh.z")],
        [file(".wh..wh..opq"), file("last"), directory("x")],
    ],
    "links in paths": [
        [directory("usr/lib"), symlink("lib", "usr/lib"), file("lib/a", b"a")],
        [directory("usr/lib"), symlink("way", "/usr"), file("way/lib/b", b"b")],
        [directory("usr/lib"), symlink("deep/up", "../usr/./lib"), file("deep/up/d", b"d")],
    ],
    "implied": [
        [directory("d", mode=0o700, uid=8, mtime=5), file("i/j/k", b"k")],
        [file("d/e", b"e"), file("i/l", b"l")],
        [directory(".", mode=0o711, uid=2, mtime=3)],
        [file("m", b"m")],
    ],
    "one after the other": [
        [file("a", b"1"), file("a", b"2"), directory("d"), directory("d", mode=0o700)],
        [directory("d"), symlink("s", "d"), file("s/x"), directory("s"), file("s/y", b"y")],
    ],
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_index_shows_what_extracting_gives(public: Path, name: str) -> None:
    paths = write_layers(public, LAYERS[name])
    assert indexed(paths, public) == extracted(paths, public)


@pytest.mark.parametrize("seed", range(40))
def test_random_layers_are_the_same_both_ways(public: Path, seed: int) -> None:
    source = random.Random(seed)
    paths = write_layers(public, [random_layer(source) for _ in range(source.randint(1, 6))])
    try:
        expected = extracted(paths, public)
    except ImageError:
        with pytest.raises(ImageError):
            index_of(paths, public / "index")
    else:
        assert indexed(paths, public) == expected


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("../x")], "leaves the image root"),
        ([file("a"), file("a/b")], "Not a directory"),
        ([symlink("a", "nowhere"), file("a/b")], "No such file or directory"),
        ([symlink("a", "a"), file("a/b")], "Too many levels"),
        ([directory("d"), file("d")], "replaces a directory of the same layer"),
        ([hardlink("a", "none")], "hard link to none, not in the layer"),
        ([directory("d"), hardlink("a", "d")], "Operation not permitted"),
        ([file(".wh.")], "whiteout without a name"),
        ([character("c", 0, 0)], "device 0/0"),
        ([file(".")], "the root entry is not a directory"),
        ([header("x", kind="8")], "member type '8' is not supported"),
    ],
)
def test_what_cannot_be_extracted_has_no_index(
    public: Path, members: list[bytes], message: str
) -> None:
    paths = write_layers(public, [members])
    with pytest.raises(ImageError, match=rf"^layer: .*{message}"):
        index_of(paths, public / "index")
    with pytest.raises(ImageError, match=r"^layer: "):
        extracted(paths, public)


def test_a_hundred_layers(public: Path) -> None:
    layers = [[file(f"{n % 7}/{n}", str(n)), file(f"{n % 7}/same", str(n))] for n in range(100)]
    paths = write_layers(public, layers)
    shown = indexed(paths, public)
    assert len(shown) == 1 + 7 + 100 + 7
    for name, (_, _, _, _, what, _, _) in shown.items():
        if name.endswith("/same"):
            assert what[0] == 2


def test_the_same_layers_give_the_same_index(public: Path) -> None:
    paths = write_layers(public, LAYERS["names"] + LAYERS["whiteouts"])
    index = index_of(paths, public / "one").read_bytes()
    assert index_of(paths, public / "two").read_bytes() == index


def test_contents_are_read_where_they_are(public: Path) -> None:
    paths = write_layers(public, [[file("f", b"before" * 1000)]])
    index = index_of(paths, public / "index")
    assert index.stat().st_size < 4096
    assert b"before" not in index.read_bytes()


def test_a_tree_beyond_the_numbers_of_blocks_is_refused(public: Path) -> None:
    from runtime.erofs.tree import Tree
    from runtime.erofs.writer import write_index

    with pytest.raises(ImageError, match="2 TiB"):
        write_index(Tree().root, [1 << 41])
    assert write_index(Tree().root, [(1 << 41) - (1 << 20)])


def test_fsck_finds_nothing_wrong(public: Path) -> None:
    if shutil.which("fsck.erofs") is None:
        pytest.skip("no fsck.erofs here")
    paths = write_layers(public, [LAYERS["names"][0] + LAYERS["attributes"][0]])
    index = index_of(paths, public / "index")
    argv = ["fsck.erofs", f"--device={paths[0]}", str(index)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "blksize 512 isn't supported" in ended.stderr:
        pytest.skip("fsck.erofs before 1.6 knows blocks of 4096 bytes alone")
    assert ended.returncode == 0, ended.stderr
