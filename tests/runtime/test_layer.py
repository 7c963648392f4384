"""Applying a layer: the overlay form of what the image-spec's layer.md says.

What hostile layers try is in test_hostile_layers.py.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from runtime.errors import ImageError
from runtime.image.blob import BlobRange, LayerReader
from runtime.image.layer import apply_layer
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from tests.support import (
    EPOCH,
    character,
    digest_of,
    directory,
    fifo,
    file,
    gnu_long,
    hardlink,
    header,
    make_tree,
    pax,
    pax_records,
    symlink,
    tar_of,
)

# Owners, devices and trusted xattrs; what others see is tested through pyrun.
pytestmark = pytest.mark.needs_root


def _apply(root: Path, *members: bytes, lowers: tuple[Path, ...] = ()) -> Path:
    content = tar_of(members)
    path = root.with_name(root.name + ".blob")
    path.write_bytes(content)
    digest = digest_of(content)
    descriptor = Descriptor(media_type=LAYER, digest=Digest(digest), size=len(content))
    blob = BlobRange(path=str(path), offset=0, size=len(content))
    root.mkdir()
    with LayerReader(blob, descriptor, DiffID(digest), "layer") as layer:
        apply_layer(layer, str(root), tuple(map(str, lowers)), "layer")
        layer.finish()
    return root


@pytest.fixture
def root(public: Path) -> Path:
    return public / "root"


def _is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_a_file_has_its_content_mode_owner_and_time(root: Path) -> None:
    path = _apply(root, file("x", b"abc" * 1000, mode=0o4711, uid=12, gid=34)) / "x"
    status = path.stat()
    assert path.read_bytes() == b"abc" * 1000
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o104711, 12, 34)
    assert status.st_mtime_ns == EPOCH * 10**9


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_file_of_any_size_is_followed_by_the_next_member(root: Path, size: int) -> None:
    _apply(root, file("x", b"x" * size), file("y", b"next"))
    assert ((root / "x").stat().st_size, (root / "y").read_bytes()) == (size, b"next")


def test_the_callers_umask_is_no_part_of_a_mode(root: Path) -> None:
    before = os.umask(0o077)
    try:
        _apply(root, directory("d", mode=0o777), file("d/x", mode=0o666))
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o777
    assert stat.S_IMODE((root / "d/x").stat().st_mode) == 0o666


def test_a_directory_keeps_its_time_though_files_are_made_in_it_afterwards(root: Path) -> None:
    _apply(root, directory("d", mtime=5), directory("d/e", mtime=6), file("d/e/x"))
    assert ((root / "d").stat().st_mtime, (root / "d/e").stat().st_mtime) == (5, 6)


def test_a_directory_that_may_not_be_written_still_gets_its_files(root: Path) -> None:
    _apply(root, directory("d", mode=0o555), file("d/x", b"1"))
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o555
    assert (root / "d/x").read_bytes() == b"1"


def test_the_root_entry_gives_the_root_its_attributes(root: Path) -> None:
    _apply(root, directory("./", mode=0o711, uid=5, mtime=7), file("./x"))
    status = root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o711, 5, 7)


def test_a_symlink_has_its_owner_and_time_and_any_target(root: Path) -> None:
    link = _apply(root, symlink("x", "/nowhere/at all", uid=7, mtime=9)) / "x"
    assert (os.readlink(link), link.lstat().st_uid, link.lstat().st_mtime) == (
        "/nowhere/at all",
        7,
        9,
    )


def test_a_hard_link_is_the_same_file(root: Path) -> None:
    _apply(root, file("d/x", b"1"), hardlink("y", "d/x"), hardlink("d/z", "./d/x"))
    assert (root / "y").stat().st_ino == (root / "d/x").stat().st_ino
    assert (root / "d/z").stat().st_nlink == 3


def test_a_hard_link_may_be_to_a_symlink(root: Path) -> None:
    _apply(root, symlink("x", "nowhere"), hardlink("y", "x"))
    assert os.readlink(root / "y") == "nowhere"


def test_devices_and_fifos_are_made(root: Path) -> None:
    _apply(
        root, character("null", 1, 3, mode=0o666), fifo("pipe"), header("sda", "4", device=(8, 0))
    )
    null, pipe, sda = ((root / name).stat() for name in ("null", "pipe", "sda"))
    assert (stat.S_IFMT(null.st_mode), null.st_rdev) == (stat.S_IFCHR, os.makedev(1, 3))
    assert (stat.S_IFMT(sda.st_mode), sda.st_rdev) == (stat.S_IFBLK, os.makedev(8, 0))
    assert stat.S_ISFIFO(pipe.st_mode)
    assert stat.S_IMODE(null.st_mode) == 0o666


def test_long_and_odd_names_are_kept(root: Path) -> None:
    long = "d" * 150 + "/" + "f" * 150
    _apply(root, gnu_long("L", long), file("x"), pax(path="pax/é"), file("x"), file(b"\xff\n"))
    assert (root / long).exists()
    assert (root / "pax/é").exists()
    assert os.path.exists(os.fsencode(root) + b"/\xff\n")


def test_user_xattrs_are_kept(root: Path) -> None:
    _apply(root, pax_records({"SCHILY.xattr.user.key": b"\0value"}), file("x"))
    assert os.getxattr(root / "x", "user.key") == b"\0value"


def test_file_capabilities_survive_the_change_of_owner(root: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # net_bind_service=ep
    member = file("x", b"1", uid=5, mode=0o755)
    _apply(root, pax_records({"SCHILY.xattr.security.capability": capability}), member)
    assert os.getxattr(root / "x", "security.capability") == capability


@pytest.mark.parametrize(
    "name",
    [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "security.selinux",
        "security.ima",
        "system.posix_acl_access",
    ],
)
def test_xattrs_that_mean_something_to_the_host_are_dropped(root: Path, name: str) -> None:
    _apply(root, pax_records({f"SCHILY.xattr.{name}": b"y"}), directory("d"))
    assert name not in os.listxattr(root / "d")


def test_a_whiteout_becomes_overlays_own(root: Path, tmp_path: Path) -> None:
    lower = make_tree(tmp_path / "lower", {"d/x": "1"})
    _apply(root, file("d/.wh.x"), lowers=(lower,))
    assert os.listdir(root / "d") == ["x"]
    assert _is_whiteout(root / "d/x")


@pytest.mark.parametrize("name", ["x", "none", "d/none", "file/none", "gone/x"])
def test_a_whiteout_of_what_is_not_there_leaves_nothing(
    root: Path, tmp_path: Path, name: str
) -> None:
    # Overlayfs shows whiteouts in directories that it does not merge.
    lower = make_tree(tmp_path / "lower", {"d/x": "1", "file": "", "gone/x": ""})
    folder, _, last = name.rpartition("/")
    members = [file(".wh.gone"), file(f"{folder}/.wh.{last}"), file("new/.wh.x")]
    _apply(root, *members, lowers=(lower,))
    assert os.listdir(root) == ["gone"]


def test_an_opaque_root_hides_all_that_is_below(root: Path, tmp_path: Path) -> None:
    lower = make_tree(tmp_path / "lower", {"d/x": "1", "file": "", "both/x": ""})
    _apply(root, file(".wh..wh..opq"), file("both/y", b"mine"), lowers=(lower,))
    assert _is_whiteout(root / "d")
    assert _is_whiteout(root / "file")
    assert _is_opaque(root / "both")
    assert os.listdir(root / "both") == ["y"]


@pytest.mark.parametrize("first", ["the whiteout", "the entry"])
def test_a_whiteout_keeps_an_entry_of_its_own_layer(root: Path, first: str) -> None:
    members = [file(".wh.x"), file("x", b"mine")]
    _apply(root, *(members if first == "the whiteout" else members[::-1]))
    assert (root / "x").read_bytes() == b"mine"


def test_a_whiteout_of_a_directory_of_its_own_layer_hides_only_the_one_below(root: Path) -> None:
    _apply(root, file(".wh.d"), directory("d"), file("d/x", b"mine"))
    assert _is_opaque(root / "d")
    assert (root / "d/x").read_bytes() == b"mine"


def test_an_opaque_whiteout_makes_the_directory_opaque_and_keeps_its_entries(root: Path) -> None:
    _apply(root, directory("d"), file("d/x", b"mine"), file("d/.wh..wh..opq"))
    assert _is_opaque(root / "d")
    assert os.listdir(root / "d") == ["x"]


def test_records_of_aufs_are_no_files(root: Path) -> None:
    _apply(root, file(".wh..wh.aufs"), directory(".wh..wh.plnk"), file("x"))
    assert os.listdir(root) == ["x"]


def test_a_directory_that_is_only_implied_looks_as_it_does_below(
    root: Path, tmp_path: Path
) -> None:
    lower = make_tree(tmp_path / "lower", {"home/alice/": None})
    os.chown(lower / "home/alice", 1000, 100)
    (lower / "home/alice").chmod(0o700)
    os.utime(lower / "home/alice", (9, 9))
    status = (_apply(root, file("home/alice/x"), lowers=(lower,)) / "home/alice").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o700, 1000, 100)
    assert status.st_mtime == 9


def test_an_implied_directory_takes_after_the_highest_layer_that_has_it(
    root: Path, tmp_path: Path
) -> None:
    for name, mode in (("none", 0), ("high", 0o750), ("low", 0o700)):
        layer = make_tree(tmp_path / name, {"d/": None} if mode else {})
        if mode:
            (layer / "d").chmod(mode)
    lowers = (tmp_path / "none", tmp_path / "high", tmp_path / "low")
    _apply(root, file("d/x"), lowers=lowers)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750


def test_an_implied_directory_never_takes_after_one_behind_a_symlink(
    root: Path, tmp_path: Path
) -> None:
    outside = make_tree(tmp_path / "outside", {"sub/": None})
    (outside / "sub").chmod(0o777)
    lower = make_tree(tmp_path / "lower", {"d": outside})
    _apply(root, file("d/sub/x"), lowers=(lower,))
    assert stat.S_IMODE((root / "d/sub").stat().st_mode) == 0o755


def test_of_two_entries_of_one_name_the_last_wins(root: Path) -> None:
    _apply(root, file("x", b"1"), symlink("y", "x"), file("x", b"2"), file("y", b"3"))
    assert ((root / "x").read_bytes(), (root / "y").read_bytes()) == (b"2", b"3")
    assert not (root / "y").is_symlink()


def test_entries_below_a_symlink_of_the_layer_land_where_it_points(root: Path) -> None:
    _apply(
        root,
        directory("run"),
        symlink("var/run", "/run"),
        directory("var/run/lock", mode=0o1777, mtime=5),
        file("var/run/lock/x"),
    )
    status = (root / "run/lock").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o1777, 5)
    assert (root / "run/lock/x").exists()


def test_a_directory_that_replaces_a_symlink_gets_the_entries_that_follow(root: Path) -> None:
    _apply(root, directory("b"), symlink("a", "b"), file("a/x"), directory("a"), file("a/y"))
    assert os.listdir(root / "b") == ["x"]
    assert os.listdir(root / "a") == ["y"]


def test_a_path_of_a_thousand_directories_is_made(root: Path) -> None:
    path = "d/" * 1500 + "x"
    _apply(root, gnu_long("L", path), file("short", b"deep"))
    place = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    assert os.listdir(place) == ["x"]
    os.close(place)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([symlink("./", "/etc")], "the root entry is not a directory"),
        ([file("")], "the root entry is not a directory"),
        ([file("d/x"), file("d")], "d: replaces a directory of the same layer"),
        ([hardlink("x", "missing")], "x: hard link to missing, not in the layer"),
        ([file("x"), hardlink("x", "x")], "x: hard link to x, not in the layer"),
        ([directory("d"), hardlink("x", "d")], "x: Operation not permitted"),
        ([file("x"), file("x/y")], "x/y: "),
        ([gnu_long("L", "n" * 256), file("s")], "File name too long"),
        ([character("x", 0, 0)], "x: device 0/0 is overlayfs's whiteout"),
        ([pax_records({"SCHILY.xattr.security.capability": b"no"}), file("x")], "x: Invalid"),
        ([file("x/.wh.")], "x/.wh.: whiteout without a name"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_by_name(
    root: Path, members: list[bytes], message: str
) -> None:
    with pytest.raises(ImageError) as caught:
        _apply(root, *members)
    assert caught.value.message.startswith("layer: ")
    assert message in caught.value.message
