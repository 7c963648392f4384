"""Layers that try to reach out of the image, run as root and rootless.

Each attack knows the path of a decoy tree outside of every root. It is refused by name, or what
it does stays inside; the decoy is afterwards what it was, to the last attribute.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.support import (
    Caller,
    Result,
    base256,
    busybox_layer,
    character,
    directory,
    file,
    gnu_long,
    hardlink,
    header,
    image_files,
    make_tree,
    pack,
    pax,
    pax_records,
    run_pyrun,
    symlink,
    tar_of,
    tree_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Attack = Callable[[str], list[bytes]]

UP = "../" * 30

# name | the layer, given the decoy's absolute path
REFUSED: dict[str, tuple[Attack, str]] = {
    "a name with ..": (lambda d: [file(f"{UP}{d[1:]}/new")], "leaves the image root"),
    "a name with .. in the middle": (lambda d: [file("bin/../../x")], "leaves the image root"),
    "a name that is ..": (lambda d: [directory("..", mode=0o777)], "leaves the image root"),
    "a PAX path with ..": (
        lambda d: [pax(path=f"{UP}{d[1:]}/new"), file("x")],
        "leaves the image root",
    ),
    "a GNU long name with ..": (
        lambda d: [gnu_long("L", f"{UP}{d[1:]}/new"), file("x")],
        "leaves the image root",
    ),
    "a hard link with ..": (lambda d: [hardlink("x", f"{UP}{d[1:]}/file")], "leaves the image"),
    "a hard link to an absolute name": (
        lambda d: [hardlink("x", f"{d}/file"), file("x", b"overwritten")],
        "not in the layer",
    ),
    "a PAX linkpath outside": (
        lambda d: [pax(linkpath=f"{UP}{d[1:]}/file"), hardlink("x", "y")],
        "leaves the image root",
    ),
    "a hard link through a symlink": (
        lambda d: [symlink("out", d), hardlink("x", "out/file")],
        "not in the layer",
    ),
    "a hard link to itself": (lambda d: [file("x"), hardlink("x", "x")], "not in the layer"),
    "a hard link to nothing": (lambda d: [hardlink("x", "nothing")], "not in the layer"),
    "a hard link to a directory": (lambda d: [directory("d"), hardlink("x", "d")], "x: "),
    "a hard link to a file of a lower layer": (
        lambda d: [hardlink("x", "bin/busybox")],
        "not in the layer",
    ),
    "a root that is a symlink": (lambda d: [symlink("./", d)], "root entry is not a directory"),
    "a root that is a file": (lambda d: [file("/")], "root entry is not a directory"),
    "an empty name": (lambda d: [file("")], "root entry is not a directory"),
    "a file where a directory was": (lambda d: [file("d/x"), file("d")], "replaces a directory"),
    "a symlink where a directory was": (
        lambda d: [directory("d"), symlink("d", d), file("d/new")],
        "replaces a directory",
    ),
    "a file below a file": (lambda d: [file("x"), file("x/y")], "x/y: "),
    "a file below a dangling symlink": (
        lambda d: [symlink("out", f"{d}/missing"), file("out/new")],
        "out/new: ",
    ),
    "a file below symlinks in a circle": (
        lambda d: [symlink("a", "b"), symlink("b", "a"), file("a/x")],
        "a/x: ",
    ),
    "a whiteout of .": (lambda d: [file("d/.wh..")], "whiteout without a name"),
    "a whiteout of ..": (lambda d: [file("d/.wh...")], "whiteout without a name"),
    "a whiteout of nothing": (lambda d: [file("d/.wh.")], "whiteout without a name"),
    "a whiteout with ..": (lambda d: [file(f"{UP}{d[1:]}/.wh.file")], "leaves the image root"),
    "an opaque whiteout with ..": (
        lambda d: [file(f"{UP}{d[1:]}/.wh..wh..opq")],
        "leaves the image root",
    ),
    "overlayfs's own whiteout": (lambda d: [character("x", 0, 0)], "overlayfs's whiteout"),
    "a name of 300 characters": (
        lambda d: [pax(path="n" * 300), file("x")],
        "File name too long",
    ),
    "3,000 levels": (lambda d: [pax(path="d/" * 3000), directory("x")], "a path of 6000"),
    "a uid of 2^32": (lambda d: [header("x", uid=base256(1 << 32, 8))], "owner 4294967296:0"),
    "a file of 2^62 bytes": (lambda d: [pax(size=str(1 << 62)), file("x")], "out of range"),
    "a file of 2^61 bytes": (lambda d: [pax(size=str(1 << 61)), file("x")], "truncated"),
    "an extended header of 8 GiB": (
        lambda d: [header("x", "x", size=base256(1 << 33, 12))],
        "extended header of 8589934592 bytes",
    ),
    "a wrong checksum": (lambda d: [header("x", checksum=7)], "wrong checksum"),
    "a sparse file of an exbibyte": (
        lambda d: [
            pax_records({"GNU.sparse.map": "0,0", "GNU.sparse.realsize": str(1 << 60)}),
            file("x"),
        ],
        "sparse members are not supported",
    ),
    "an unknown kind of member": (lambda d: [header("x", "Z")], "member type 'Z'"),
    "invalid file capabilities": (
        lambda d: [pax_records({"SCHILY.xattr.security.capability": b"x"}), file("x")],
        "x: Invalid argument",
    ),
    "a device number out of range": (
        lambda d: [header("x", "3", device=(base256(1 << 32, 8), 0))],
        "out of range",
    ),
}

CONTAINED: dict[str, tuple[Attack, str]] = {
    "an absolute name": (lambda d: [file(f"{d}/file", b"mine")], "cat $DECOY/file"),
    "a write through an absolute symlink": (
        lambda d: [directory(d), symlink("out", d), file("out/file", b"mine")],
        "cat $DECOY/file",
    ),
    "a write through a relative symlink": (
        lambda d: [directory(d), symlink("a/out", f"{UP}{d[1:]}"), file("a/out/file", b"mine")],
        "cat $DECOY/file",
    ),
    "a write through a chain of symlinks": (
        lambda d: [
            directory(d),
            symlink("a", d),
            symlink("b", "a"),
            symlink("c", "b/../../../.." + d),
            file("c/file", b"mine"),
        ],
        "cat $DECOY/file",
    ),
    "a file in place of a symlink to a file": (
        lambda d: [symlink("x", f"{d}/file"), file("x", b"mine")],
        "cat /x",
    ),
    "a mode through a symlink": (
        lambda d: [symlink("out", d), directory("out", mode=0o777), file("out/file", b"mine")],
        "cat /out/file",
    ),
    "a hard link to a symlink to the outside": (
        lambda d: [symlink("a", f"{d}/file"), hardlink("b", "a"), file("b", b"mine")],
        "cat /b",
    ),
    "a whiteout through a symlink": (
        lambda d: [directory(d), symlink("out", d), file("out/.wh.file"), file("x", b"mine")],
        "cat /x",
    ),
    "an opaque whiteout through a symlink": (
        lambda d: [directory(d), symlink("out", d), file("out/.wh..wh..opq"), file("x", b"mine")],
        "cat /x",
    ),
    "a symlink named as a whiteout": (
        lambda d: [symlink(".wh.out", d), file("out/file", b"mine")],
        "cat /out/file",
    ),
    "the same entry twice": (
        lambda d: [file("x", b"first", mode=0o400), file("x", b"mine")],
        "cat /x",
    ),
    "a time before 1900 and one after 9999": (
        lambda d: [
            *(pax(mtime="-9999999999"), directory("d")),
            *(pax(mtime="9" * 15), file("d/x", b"mine")),
        ],
        "cat /d/x",
    ),
    "overlay's xattrs": (
        lambda d: [
            pax_records(
                {
                    f"SCHILY.xattr.{space}.overlay.{name}": d
                    for space in ("user", "trusted")
                    for name in ("redirect", "metacopy", "opaque", "origin")
                }
            ),
            file("x", b"mine"),
        ],
        "cat /x",
    ),
    "a newline and a broken character in a name": (
        lambda d: [file(b"x\n\xff", b"mine")],
        "cat /x*",
    ),
    "directories 1,500 deep": (
        lambda d: [pax(path="d/" * 1500 + "x"), file("x"), file("y", b"mine")],
        "cat /y",
    ),
}  # fmt: skip


@pytest.fixture
def decoy(public: Path) -> Path:
    """A tree outside that everybody may write to."""
    tree = make_tree(
        public / "decoy", {"file": "outside", "dir/file": "outside", "link": Path("file")}
    )
    for path in (tree, tree / "file", tree / "dir", tree / "dir/file"):
        path.chmod(0o777)
    return tree


def _run(attack: Attack, decoy: Path, store: Path, caller: Caller, script: str) -> Result:
    image = pack(
        decoy.parent / "image.tar", image_files([busybox_layer(), attack(str(decoy))], {})
    )
    argv = ("-e", "PATH=/bin", "-e", f"DECOY={decoy}", image, "sh", "-c", script)
    return run_pyrun(*argv, store=store, caller=caller)


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize(("attack", "message"), REFUSED.values(), ids=REFUSED)
def test_is_refused_by_name(
    attack: Attack, message: str, decoy: Path, store: Path, caller: Caller
) -> None:
    before = tree_state(decoy)
    result = _run(attack, decoy, store, caller, "true")
    assert result.status == 125
    assert result.stderr.startswith(f"pyrun: {decoy.parent}/image.tar: layer 2 (sha256:")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert tree_state(decoy) == before
    assert os.listdir(store / "tmp") == []


def _large(attack: Attack) -> Attack:
    """The same in a layer that several processes extract, where its order allows that."""
    return lambda decoy: [file("filler", bytes(1 << 20)), *attack(decoy)]


@pytest.mark.parametrize("caller", ["user"], indirect=True)
@pytest.mark.parametrize(("attack", "message"), REFUSED.values(), ids=REFUSED)
def test_is_refused_by_name_in_a_large_layer(
    attack: Attack, message: str, decoy: Path, store: Path, caller: Caller
) -> None:
    test_is_refused_by_name(_large(attack), message, decoy, store, caller)


@pytest.mark.parametrize("caller", ["user"], indirect=True)
@pytest.mark.parametrize(("attack", "script"), CONTAINED.values(), ids=CONTAINED)
def test_stays_inside_in_a_large_layer(
    attack: Attack, script: str, decoy: Path, store: Path, caller: Caller
) -> None:
    test_stays_inside(_large(attack), script, decoy, store, caller)


@pytest.mark.parametrize(("attack", "script"), CONTAINED.values(), ids=CONTAINED)
def test_stays_inside(
    attack: Attack, script: str, decoy: Path, store: Path, caller: Caller
) -> None:
    before = tree_state(decoy)
    assert _run(attack, decoy, store, caller, script) == Result(0, "mine", "")
    assert tree_state(decoy) == before
    assert os.listdir(store / "tmp") == []


def test_a_deep_tree_that_is_refused_at_its_end_is_cleared_away(
    decoy: Path, store: Path, caller: Caller
) -> None:
    def attack(_: str) -> list[bytes]:
        return [pax(path="d/" * 2000 + "x"), file("x"), file("..")]

    assert "leaves the image root" in _run(attack, decoy, store, caller, "true").stderr
    assert os.listdir(store / "tmp") == []


def test_a_device_node_is_no_obstacle_without_root(
    decoy: Path, store: Path, caller: Caller
) -> None:
    def attack(_: str) -> list[bytes]:
        return [character("x", 1, 3, mode=0o666), file("y", b"mine")]

    seen = "c" if caller.is_root else "nothing"
    script = "[ -c /x ] && printf c || { [ -e /x ] || printf nothing; }"
    assert _run(attack, decoy, store, caller, script).stdout == seen


def test_a_device_node_of_the_image_cannot_be_opened_by_the_container(
    decoy: Path, store: Path, caller: Caller
) -> None:
    # /dev/mem and /dev/kmsg of the host, made by the image outside of /dev.
    def attack(_: str) -> list[bytes]:
        return [character("mem", 1, 1, mode=0o666), character("kmsg", 1, 11, mode=0o666)]

    result = _run(attack, decoy, store, caller, "head -c1 /mem; head -c1 /kmsg")
    assert result.stdout == ""
    assert result.status != 0


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_file_capabilities_of_an_image_work_in_its_container(
    decoy: Path, store: Path, caller: Caller
) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # net_bind_service=ep
    busybox = Path("/bin/busybox").read_bytes()

    def attack(_: str) -> list[bytes]:
        records = pax_records({"SCHILY.xattr.security.capability": capability})
        return [records, file("bin/busybox-special", busybox, mode=0o755)]

    image = pack(decoy.parent / "image.tar", image_files([busybox_layer(), attack("")], {}))
    options = ("-u", "1000", "--security-opt", "no-new-privileges=false")
    argv = ("/bin/busybox-special", "grep", "CapEff", "/proc/self/status")
    result = run_pyrun(*options, image, *argv, store=store, caller=caller)
    assert result.stdout.split() == ["CapEff:", "0000000000000400"], result


def test_a_layer_may_be_empty(decoy: Path, store: Path, caller: Caller) -> None:
    image = pack(decoy.parent / "i.tar", image_files([busybox_layer(), tar_of([])], {}))
    assert run_pyrun(image, "/bin/true", store=store, caller=caller) == Result(0, "", "")
