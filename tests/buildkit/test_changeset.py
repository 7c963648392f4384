"""From what overlayfs leaves in an upper directory to the entries of a layer."""

from __future__ import annotations

import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildkit.changeset import normalise, pack
from runtime.image.archive import open_archive
from runtime.image.blob import LayerReader
from runtime.image.layer import apply_layer
from tests.support import digest_of, make_image, make_tree, members_of, tree_state

_NOTHING = Path()


def _packed(root: Path, lower: Path | None = None) -> bytes:
    """The layer of an upper directory; its root is no entry unless it differs from `lower`."""
    lower = root if lower is None else lower
    with open(os.memfd_create("layer"), "rb") as file:
        packed = pack(str(root), None if lower == _NOTHING else str(lower), file.fileno())
        file.seek(0)
        content = file.read()
    assert (digest_of(content), len(content)) == (packed.diff_id, packed.size)
    return content


def _entries(root: Path, lower: Path | None = None) -> dict[str, tarfile.TarInfo]:
    return members_of(_packed(root, lower))


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """An upper directory as a step finds it; its root looks as an empty image's does."""
    root = tmp_path / "upper"
    root.mkdir()
    root.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(root, 0, 0)
    return root


def test_entries_are_sorted_by_bytes_and_directories_come_first(upper: Path) -> None:
    make_tree(upper, {"b": "", "a/z": "", "a/": None, "a.b": "", "é": "", "Z": "", "a-b": ""})
    assert list(_entries(upper)) == ["Z", "a", "a/z", "a-b", "a.b", "b", "é"]


def test_the_same_tree_gives_the_same_bytes_in_whatever_order_it_was_made(
    tmp_path: Path,
) -> None:
    names = [f"d{n % 7}/f{n}" for n in range(100)]
    one = make_tree(tmp_path / "one", dict.fromkeys(names, "x"))
    two = make_tree(tmp_path / "two", dict.fromkeys(reversed(names), "x"))
    for root in (one, two):
        normalise(str(root), 5)
    assert _packed(one) == _packed(two)


def test_nothing_is_newer_than_the_epoch_and_older_times_stay(upper: Path) -> None:
    make_tree(upper, {"new": "", "old": "", "d/x": "", "l": Path("x")})
    os.utime(upper / "old", (3.75, 3.75))
    normalise(str(upper), 1000)
    assert {name: info.mtime for name, info in _entries(upper).items()} == {
        "d": 1000,
        "d/x": 1000,
        "l": 1000,
        "new": 1000,
        "old": 3,
    }
    assert os.stat(upper / "old").st_mtime_ns == 3_000_000_000


def test_names_of_any_kind_are_packed(upper: Path) -> None:
    long = "/".join(["x" * 200] * 6)
    make_tree(upper, {long: "1", "grün": "2", "with blank\nand line": "3"})
    os.close(os.open(os.fsencode(upper) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    names = {os.fsencode(name) for name in _entries(upper)}
    expected = {os.fsencode(long), "grün".encode(), b"with blank\nand line", b"\xff\xfe"}
    assert expected <= names


def test_hard_links_point_to_the_first_name(upper: Path) -> None:
    make_tree(upper, {"b/one": "x", "a/": None})
    os.link(upper / "b/one", upper / "a/two")
    os.link(upper / "b/one", upper / "c")
    found = _entries(upper)
    assert found["a/two"].isreg()
    assert (found["b/one"].linkname, found["c"].linkname) == ("a/two", "a/two")


def test_a_socket_is_left_out(upper: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(upper / "socket"))
        make_tree(upper, {"a": ""})
        assert list(_entries(upper)) == ["a"]


def test_attributes_of_users_are_kept_and_those_of_the_overlay_are_not(upper: Path) -> None:
    make_tree(upper, {"a": ""})
    os.setxattr(upper / "a", "user.mine", b"1")
    os.setxattr(upper / "a", "user.overlay.origin", b"2")
    assert _entries(upper)["a"].pax_headers == {"SCHILY.xattr.user.mine": "1"}


@pytest.mark.needs_root
def test_labels_and_trusted_attributes_stay_on_the_host(upper: Path) -> None:
    make_tree(upper, {"a": ""})
    os.setxattr(upper / "a", "trusted.overlay.metacopy", b"")
    os.setxattr(upper / "a", "security.ima", b"1")
    assert _entries(upper)["a"].pax_headers == {}


@pytest.mark.needs_root
@pytest.mark.needs_program("setcap")
def test_file_capabilities_are_kept(upper: Path) -> None:
    make_tree(upper, {"a": ""})
    subprocess.run(["setcap", "cap_net_raw=ep", upper / "a"], check=True)
    value = os.getxattr(upper / "a", "security.capability")
    found = _entries(upper)["a"].pax_headers["SCHILY.xattr.security.capability"]
    assert found.encode("utf-8", "surrogateescape") == value


@pytest.mark.needs_root
def test_devices_and_fifos_are_packed(upper: Path) -> None:
    os.mknod(upper / "c", 0o020600, os.makedev(5, 1))
    os.mknod(upper / "b", 0o060600, os.makedev(259, 300))
    os.mkfifo(upper / "f")
    found = _entries(upper)
    assert (found["c"].type, found["c"].devmajor, found["c"].devminor) == (tarfile.CHRTYPE, 5, 1)
    assert (found["b"].type, found["b"].devmajor, found["b"].devminor) == (
        tarfile.BLKTYPE,
        259,
        300,
    )
    assert found["f"].isfifo()


@pytest.mark.needs_root
def test_a_whiteout_of_the_overlay_becomes_one_of_the_image_spec(upper: Path) -> None:
    make_tree(upper, {"d/": None})
    os.mknod(upper / "d/gone", 0o020000, os.makedev(0, 0))
    os.mknod(upper / "top", 0o020000, os.makedev(0, 0))
    found = _entries(upper)
    assert list(found) == ["d", "d/.wh.gone", ".wh.top"]
    whiteout = found["d/.wh.gone"]
    assert (whiteout.isreg(), whiteout.size, whiteout.mode, whiteout.mtime) == (True, 0, 0, 0)


@pytest.mark.needs_root
def test_an_opaque_directory_gets_a_marker_before_what_is_in_it(upper: Path) -> None:
    make_tree(upper, {"d/x": "", "e/": None})
    os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
    assert list(_entries(upper)) == ["d", "d/.wh..wh..opq", "d/x", "e"]


@pytest.mark.needs_root
def test_the_root_is_an_entry_only_where_it_became_another_one(
    upper: Path, tmp_path: Path
) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    lower.chmod(0o755)
    assert list(_entries(upper, lower)) == list(_entries(upper, _NOTHING)) == []
    upper.chmod(0o711)
    assert list(_entries(upper, lower)) == ["."]
    lower.chmod(0o711)
    assert list(_entries(upper, lower)) == []
    assert list(_entries(upper, _NOTHING)) == ["."]


@pytest.mark.needs_root
def test_what_was_packed_is_what_the_runtime_applies(upper: Path, tmp_path: Path) -> None:
    make_tree(upper, {"d/a": (b"x" * 5000, 0o4755), "l": Path("/nowhere"), "d/e/": None})
    os.link(upper / "d/a", upper / "h")
    os.mkfifo(upper / "f", 0o640)
    os.mknod(upper / "gone", 0o020000, os.makedev(0, 0))
    os.setxattr(upper / "d/e", "trusted.overlay.opaque", b"y")
    os.setxattr(upper / "d/a", "user.k", b"v")
    os.chown(upper / "d", 5, 6)
    os.chown(upper / "l", 7, 8, follow_symlinks=False)
    normalise(str(upper), 1_000_000)
    os.utime(upper, (0, 0))
    image = open_archive(str(make_image(tmp_path / "i.tar", [_packed(upper)])))
    applied = tmp_path / "applied"
    applied.mkdir(mode=0o755)
    with LayerReader(
        image.blobs[0], image.manifest.layers[0], image.config.diff_ids[0], "w"
    ) as layer:
        lower = make_tree(tmp_path / "lower", {"gone": ""})
        apply_layer(layer, str(applied), (str(lower),), "w")
    before, after = tree_state(upper), tree_state(applied)
    for state in (before, after):
        del state["."]
        del state["gone"]  # the time of a whiteout means nothing
    assert after == before
    assert os.stat(applied / "gone").st_rdev == 0
