"""`copy_tree`: all that a layer can say of a file arrives in the copy."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from runtime.sandbox.tree_copy import copy_tree
from tests.support import make_tree, tree_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def source(public: Path) -> Path:
    """An empty directory to copy from."""
    path = public / "source"
    path.mkdir()
    return path


@pytest.fixture
def target(public: Path) -> Iterator[Path]:
    """An empty directory to copy to."""
    path = public / "target"
    path.mkdir()
    yield path
    path.chmod(0o755)


def copy(source: Path, target: Path) -> None:
    """Copy by paths."""
    read = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    write = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        copy_tree(read, write)
    finally:
        os.close(read)
        os.close(write)


def test_modes_times_contents_and_links_are_kept(source: Path, target: Path) -> None:
    make_tree(
        source,
        {
            "plain": "text",
            "empty": "",
            "private": (b"x", 0o600),
            "setuid": (b"x", 0o4755),
            "sticky/": None,
            "closed/inside": "y",
            "a/link": Path("../plain"),
            "a/broken": Path("/nowhere"),
            "a/folder link": Path("../closed"),
        },
    )
    (source / "sticky").chmod(0o1777)
    (source / "closed").chmod(0o500)
    (source / "b").mkdir()
    os.link(source / "plain", source / "b/hard")
    os.link(source / "plain", source / "hard")
    os.link(source / "a/link", source / "b/hard link of a link", follow_symlinks=False)
    for number, (folder, folders, files) in enumerate(os.walk(source, topdown=False)):
        for name in (*folders, *files):
            times = (10**18 + number, 10**18 + 123456789 + number)
            os.utime(os.path.join(folder, name), ns=times, follow_symlinks=False)
    os.utime(source, ns=(10**18, 10**18 + 5))
    source.chmod(0o750)
    expected = tree_state(source)
    copy(source, target)
    assert tree_state(target) == expected
    assert (target / "b/hard").samefile(target / "plain")
    (source / "closed").chmod(0o755)


@pytest.mark.needs_root
def test_owners_and_devices_are_kept(source: Path, target: Path) -> None:
    make_tree(source, {"setuid": (b"x", 0o755), "folder/": None})
    os.symlink("x", source / "link")
    os.mkfifo(source / "fifo", 0o640)
    os.mknod(source / "null", stat.S_IFCHR | 0o606, os.makedev(1, 3))
    os.mknod(source / "block", stat.S_IFBLK | 0o600, os.makedev(7, 300))
    for number, name in enumerate(sorted(os.listdir(source))):
        os.chown(source / name, 1000 + number, 2000 + number, follow_symlinks=False)
    (source / "setuid").chmod(0o6711)
    os.chown(source, 55, 66)
    expected = tree_state(source)
    copy(source, target)
    assert tree_state(target) == expected


def test_extended_attributes_are_kept(source: Path, target: Path) -> None:
    make_tree(source, {"file": "x", "folder/": None})
    os.setxattr(source / "file", "user.one", b"\0bytes\xff")
    os.setxattr(source / "folder", "user.two", b"")
    os.setxattr(source / "file", "user.overlay.opaque", b"y")  # is for the overlay only
    copy(source, target)
    assert os.listxattr(target / "file") == ["user.one"]
    assert os.getxattr(target / "file", "user.one") == b"\0bytes\xff"
    assert os.listxattr(target / "folder") == ["user.two"]


@pytest.mark.needs_root
def test_file_capabilities_survive_the_change_of_owner(source: Path, target: Path) -> None:
    make_tree(source, {"ping": (b"x", 0o755)})
    os.chown(source / "ping", 1000, 1000)
    value = bytes.fromhex("0100000200200000000000000000000000000000")  # CAP_NET_RAW
    os.setxattr(source / "ping", "security.capability", value)
    copy(source, target)
    assert os.getxattr(target / "ping", "security.capability") == value


def test_a_socket_is_left_out(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (source / "file").write_text("x")
        copy(source, target)
    assert os.listdir(target) == ["file"]


def test_a_tree_deeper_than_any_path_is_copied(source: Path, target: Path) -> None:
    depth = 2500  # PATH_MAX is 4096, and each level is two bytes
    folder = os.open(source, os.O_RDONLY)
    for level in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        if level == depth - 1:
            os.close(os.open("first", os.O_CREAT | os.O_WRONLY, 0o604, dir_fd=below))
            os.link("first", "second", src_dir_fd=below, dst_dir_fd=below)
        os.close(folder)
        folder = below
    os.close(folder)
    copy(source, target)
    folder = os.open(target, os.O_RDONLY)
    for _ in range(depth):
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    found = os.stat("first", dir_fd=folder)
    assert (found.st_nlink, found.st_mode & 0o777) == (2, 0o604)
    assert os.stat("second", dir_fd=folder).st_ino == found.st_ino
    os.close(folder)


def test_a_wide_tree_uses_few_descriptors(source: Path, target: Path) -> None:
    import resource

    for number in range(300):
        (source / str(number)).mkdir()
        (source / str(number) / "file").touch()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        copy(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(list(target.glob("*/file"))) == 300
