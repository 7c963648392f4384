"""The walk by components opens what openat2(2) would, and never anything outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.sandbox import rootpath, syscalls
from runtime.sandbox.path_walk import walk
from tests.support import TreeValue, make_tree

_NAMES = ("a", "b", "link", "up", "abs", "loop", "dangling", "file", "tofile", "..", ".", "")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of link, some of which name places outside of it."""
    outside = tmp_path_factory.mktemp("outside")
    make_tree(outside, {"secret": "s"})
    tree: dict[str, TreeValue] = {
        "a/b/file": "1",
        "a/link": Path("../b"),
        "a/up": Path("../../../.."),
        "b/a/file": "2",
        "b/abs": Path("/a/b"),
        "abs": Path("/a"),
        "loop": Path("loop"),
        "dangling": Path("/none/here"),
        "file": "3",
        "tofile": Path("file"),
        "link": Path("a/link/abs"),
        "up": outside / "secret",
        "b/up": Path("../../../../../../../.."),
        "b/link": Path("../tofile/"),
    }
    return make_tree(tmp_path_factory.mktemp("root"), tree)


def _outcome(open_it: object) -> object:
    """What an opening gives: the file's identity, or the errno."""
    try:
        fd = open_it()  # type: ignore[operator]
    except OSError as error:
        return error.errno
    status = os.stat(fd)
    os.close(fd)
    return (status.st_dev, status.st_ino)


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=7),
    absolute=st.booleans(),
    trailing=st.booleans(),
    follow=st.booleans(),
    directory=st.booleans(),
)
def test_the_walk_and_the_kernel_agree(
    root: Path,
    parts: list[str],
    absolute: bool,
    trailing: bool,
    follow: bool,
    directory: bool,
) -> None:
    path = "/" * absolute + "/".join(parts) + "/" * trailing
    if not path:
        return
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    flags = os.O_PATH | (os.O_DIRECTORY if directory else 0)
    try:
        # The kernel's call, asked again while renames elsewhere on the machine race with it.
        expected = _outcome(lambda: rootpath.open_in_root(root_fd, path, flags, follow=follow))
        assert _outcome(lambda: walk(root_fd, path, flags, follow=follow)) == expected
    finally:
        os.close(root_fd)


@pytest.mark.parametrize("link", ["self/exe", "self/cwd", "self/root", "self/fd/0", "self/ns/mnt"])
def test_magic_links_of_proc_are_refused(link: str) -> None:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            walk(proc, link, os.O_PATH, follow=True)
        fd = walk(proc, "self/status", os.O_RDONLY, follow=True)
        assert os.read(fd, 5) == b"Name:"
        os.close(fd)
    finally:
        os.close(proc)


def test_no_descriptor_is_left(root: Path) -> None:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    before = set(os.listdir("/proc/self/fd"))
    for path in ("a/b/file", "loop", "a/../b/../none", "up", "b/link"):
        _outcome(lambda path=path: walk(root_fd, path, os.O_PATH, follow=True))
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(root_fd)


@pytest.mark.parametrize("refusal", [38, 1])
def test_a_machine_without_openat2_walks(
    refusal: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(rootpath, "openat2", refused)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        assert rootpath.read_in_root(root_fd, "/b/abs/file", 10) == b"1"
        fd = rootpath.make_directories(root_fd, "/abs/b/new/deeper")
        os.close(fd)
        assert (root / "a/b/new/deeper").is_dir()
        with pytest.raises(OSError, match="symbolic links"):
            rootpath.open_in_root(root_fd, "abs/b", follow=False)
    finally:
        os.close(root_fd)


def test_who_renames_in_a_loop_elsewhere_is_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def raced(root_fd: int, path: str, flags: int, *, resolve: int, mode: int) -> int:
        tries.append(path)
        if len(tries) <= 200:
            raise BlockingIOError(11, os.strerror(11))
        return syscalls.openat2(root_fd, path, flags, resolve=resolve, mode=mode)

    monkeypatch.setattr(rootpath, "openat2", raced)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(rootpath.open_in_root(root_fd, "b/up/file"))
    finally:
        os.close(root_fd)
    assert len(tries) > 200  # the kernel's own races may add to them
