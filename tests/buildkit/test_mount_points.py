"""Mount points that an image lacks; layers are plain directories here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.errors import BuildError
from buildkit.merged import Merged
from buildkit.mount_points import make_mount_points
from tests.support import make_tree

pytestmark = pytest.mark.needs_root  # a whiteout is a device


@pytest.fixture
def layers(tmp_path: Path) -> tuple[str, ...]:
    """Two layers, the higher one first."""
    low, high = tmp_path / "low", tmp_path / "high"
    make_tree(low, {"a/gone/f": "1", "a/kept/f": "2", "o/low": "3", "file": "4", "d/f": "5"})
    make_tree(
        high,
        {"o/high": "1", "up": Path("../../a/kept"), "abs": Path("/o"), "run": Path("/nowhere/x")},
    )
    make_tree(high, {"loop": Path("loop"), "d": "a file now", "a/new": "6"})
    os.mknod(high / "a" / "gone", 0o020000, os.makedev(0, 0))
    os.setxattr(high / "o", "trusted.overlay.opaque", b"y")
    return str(high), str(low)


@pytest.mark.parametrize(
    ("path", "place", "found"),
    [
        ("/", "/", ["high", "low"]),
        ("a", "/a", ["high/a", "low/a"]),
        ("a/kept", "/a/kept", ["low/a/kept"]),
        ("a/gone", "/a/gone", []),
        ("a/gone/f", "/a/gone/f", []),
        ("o", "/o", ["high/o"]),
        ("o/low", "/o/low", []),
        ("up", "/a/kept", ["low/a/kept"]),
        ("up/f", "/a/kept/f", ["low/a/kept/f"]),
        ("abs/../a/./kept/", "/a/kept", ["low/a/kept"]),
        ("run/deep", "/nowhere/x/deep", []),
        ("d", "/d", ["high/d"]),
        ("none/../a/kept", "/a/kept", ["low/a/kept"]),
        ("../../a/new", "/a/new", ["high/a/new"]),
    ],
)
def test_a_path_leads_where_overlayfs_would_show_it(
    layers: tuple[str, ...], path: str, place: str, found: list[str]
) -> None:
    seen = Merged(layers).find(path)
    top = os.path.dirname(layers[0])
    assert (seen.path, [os.path.relpath(layer, top) for layer in seen.layers]) == (place, found)


@pytest.mark.parametrize(
    ("path", "message"),
    [("loop", "Too many levels of symbolic links"), ("file/x", "/file is no directory")],
)
def test_a_path_that_leads_nowhere_is_an_error(
    layers: tuple[str, ...], path: str, message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        Merged(layers).find(path)


def test_what_an_image_has_is_not_made(layers: tuple[str, ...], tmp_path: Path) -> None:
    points = tmp_path / "points"
    assert not make_mount_points(layers, [("/a/kept", True), ("/file", False)], str(points))
    assert os.listdir(points) == []


def test_directories_above_a_mount_point_look_as_in_the_image(
    layers: tuple[str, ...], tmp_path: Path
) -> None:
    above = Path(layers[0], "a")
    above.chmod(0o711)
    os.chown(above, 3, 4)
    os.utime(above, ns=(5, 6))
    points = tmp_path / "points"
    wanted = [("/a/gone/x", True), ("/run/y", False), ("/etc/hosts", False)]
    assert make_mount_points(layers, wanted, str(points))
    assert (points / "a/gone/x").is_dir()
    assert (points / "nowhere/x/y").is_file()
    assert (points / "etc/hosts").is_file()
    made = os.stat(points / "a")
    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o711, 3, 4)
    assert made.st_mtime_ns == 6
    assert (os.stat(points / "etc").st_mode & 0o7777) == 0o755


@pytest.mark.parametrize(("path", "directory"), [("/file", True), ("/a", False)])
def test_a_mount_point_of_the_other_kind_is_an_error(
    layers: tuple[str, ...], tmp_path: Path, path: str, directory: bool
) -> None:
    with pytest.raises(BuildError, match="cannot be mounted there"):
        make_mount_points(layers, [(path, directory)], str(tmp_path / "points"))
