"""Which files a COPY source names, and when two contexts are the same."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildkit.contents import digest
from buildkit.selection import select, translate
from tests.support import make_tree


@contextmanager
def _opened(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _select(root: Path, pattern: str) -> list[str]:
    with _opened(root) as fd:
        return list(select(fd, pattern))


def _digest(root: Path, path: str = ".") -> str:
    with _opened(root) as fd:
        return digest(fd, path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small context."""
    files = {"a.txt": "1", "b.txt": "2", "ab": "", "d/x": "", "d/y": "", "e/x": "", "[z]": ""}
    return make_tree(tmp_path, {**files, "link": Path("d"), ".hidden": "", "é": ""})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("../../a.txt", ["a.txt"]),
        ("d/../a.txt", ["a.txt"]),
        ("./d/", ["d"]),
        (".", ["."]),
        ("/", ["."]),
        ("..", ["."]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?b", ["ab"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("[^a].txt", ["b.txt"]),
        ("[a-b].txt", ["a.txt", "b.txt"]),
        ("*/x", ["d/x", "e/x", "link/x"]),
        ("d/*", ["d/x", "d/y"]),
        ("**/x", ["d/x", "e/x", "link/x"]),
        ("[[]z]", ["[z]"]),
        ("\\[z]", ["[z]"]),
        ("?hidden", [".hidden"]),
        ("?", ["d", "e", "é"]),
        ("nothing*", []),
        ("a.txt/*", []),
        ("nowhere/*", []),
    ],
)
def test_a_source_names_paths_inside_the_context(
    tree: Path, pattern: str, expected: list[str]
) -> None:
    assert _select(tree, pattern) == expected


@pytest.mark.parametrize("pattern", ["nothing", "d/nothing", "nothing/x"])
def test_a_literal_source_that_is_missing_is_an_error(tree: Path, pattern: str) -> None:
    with pytest.raises(FileNotFoundError):
        _select(tree, pattern)


def test_a_file_is_no_directory(tree: Path) -> None:
    with pytest.raises(NotADirectoryError):
        _select(tree, "a.txt/x")


def test_a_symlink_cannot_name_what_is_outside_the_context(tmp_path: Path) -> None:
    make_tree(tmp_path, {"secret": "", "context/out": Path("../secret"), "context/up": Path("..")})
    with pytest.raises(FileNotFoundError):
        _select(tmp_path / "context", "out")
    assert _select(tmp_path / "context", "up/*") == ["up/out", "up/up"]


def test_a_symlink_to_itself_is_an_error_and_no_hang(tmp_path: Path) -> None:
    make_tree(tmp_path, {"loop": Path("loop")})
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        _select(tmp_path, "loop")


@pytest.mark.parametrize(
    ("part", "matches", "others"),
    [
        ("*", ["", "a", ".b"], ["a/b"]),
        ("a?c", ["abc"], ["ac", "a/c", "abcd"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-c-]", ["b", "-"], ["d"]),
        ("[\\]]", ["]"], ["\\"]),
        ("[\\-]", ["-"], ["\\", "a"]),
        ("a\\*", ["a*"], ["ab", "a\\*"]),
        ("a.b", ["a.b"], ["axb"]),
        ("(a|b)+$", ["(a|b)+$"], ["a", "b"]),
        ("\n*", ["\nx"], ["x"]),
    ],
)
def test_a_pattern_matches_as_go_matches(part: str, matches: list[str], others: list[str]) -> None:
    expression = re.compile(translate(part), re.DOTALL)
    found = [name for name in (*matches, *others) if expression.fullmatch(name)]
    assert found == matches


# --- The digest of what a source names


def _touch(root: Path) -> None:
    os.utime(root / "d/x", (1, 1))


def _rename(root: Path) -> None:
    (root / "d/x").rename(root / "d/z")


def _content(root: Path) -> None:
    (root / "d/x").write_text("other")


def _mode(root: Path) -> None:
    (root / "d/x").chmod(0o755)


def _directory_mode(root: Path) -> None:
    (root / "d").chmod(0o700)


def _xattr(root: Path) -> None:
    os.setxattr(root / "d/x", "user.a", b"1")


def _empty_directory(root: Path) -> None:
    (root / "d/new").mkdir()


def _target(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("e")


def _kind(root: Path) -> None:
    (root / "e/x").unlink()
    (root / "e/x").mkdir()


def _hard_link(root: Path) -> None:
    (root / "d/y").unlink()
    os.link(root / "d/x", root / "d/y")


@pytest.mark.parametrize(
    "change",
    [_rename, _content, _mode, _directory_mode, _xattr, _empty_directory, _target, _kind],
)
def test_whatever_copy_would_do_differently_changes_the_digest(
    tree: Path, change: Callable[[Path], None]
) -> None:
    before = _digest(tree)
    change(tree)
    assert _digest(tree) != before


def test_files_that_become_hard_links_change_the_digest(tree: Path) -> None:
    before = _digest(tree)  # COPY keeps links, so the layer becomes another one
    _hard_link(tree)
    assert _digest(tree) != before


def test_times_do_not_change_the_digest(tree: Path) -> None:
    before = _digest(tree)
    _touch(tree)
    os.utime(tree / "link", (1, 1), follow_symlinks=False)
    assert _digest(tree) == before


def test_the_digest_does_not_depend_on_the_order_of_the_directory(tmp_path: Path) -> None:
    one = make_tree(tmp_path / "one", {str(n): "x" for n in range(50)})
    two = make_tree(tmp_path / "two", {str(n): "x" for n in reversed(range(50))})
    assert _digest(one) == _digest(two)


def test_names_do_not_run_into_content(tmp_path: Path) -> None:
    one = make_tree(tmp_path / "one", {"a/": None, "a/b": "", "ab": "x"})
    two = make_tree(tmp_path / "two", {"a/": None, "a/b": "x", "ab": ""})
    assert _digest(one) != _digest(two)


def test_a_source_that_is_a_symlink_has_the_digest_of_its_target(tree: Path) -> None:
    assert _digest(tree, "link") == _digest(tree, "d")


def test_fifo_and_socket_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(".", os.O_PATH)
        os.chdir(tmp_path)  # a socket's path has 107 bytes at most
        server.bind("socket")
        os.fchdir(here)
        os.close(here)
    assert _digest(tmp_path)


def test_names_that_are_not_utf8_have_a_digest(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_text("x")
    before = _digest(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_text("y")
    assert _digest(tmp_path) != before
