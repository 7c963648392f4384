"""An ignore file hides a part of the context from COPY, and from the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.contents import digest
from buildkit.ignoring import Visible, find_ignore_file, read_ignore_file
from buildkit.inputs import HiddenError, context_input


def _context(path: Path, ignore: str, *files: str) -> str:
    (path / ".dockerignore").write_text(ignore)
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return str(path)


def _digest(context: str, visible: Visible) -> str:
    fd = os.open(context, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return digest(fd, ".", None, visible)
    finally:
        os.close(fd)


def test_a_hidden_file_is_no_part_of_the_digest(tmp_path: Path) -> None:
    context = _context(tmp_path, "*.log\n", "kept", "a.log")
    visible = read_ignore_file(f"{context}/.dockerignore")
    before = _digest(context, visible)
    (tmp_path / "a.log").write_text("changed")
    assert _digest(context, visible) == before
    (tmp_path / "kept").write_text("changed")
    assert _digest(context, visible) != before


def test_a_hidden_directory_is_seen_for_what_is_taken_back_in_it(tmp_path: Path) -> None:
    context = _context(tmp_path, "a\n!a/b/kept\n", "a/b/kept", "a/b/lost", "a/lost")
    visible = read_ignore_file(f"{context}/.dockerignore")
    assert visible.names(context, ".", ["a", ".dockerignore"]) == ["a", ".dockerignore"]
    assert visible.names(f"{context}/a/b", "a/b", ["kept", "lost"]) == ["kept"]
    assert visible.names(f"{context}/a", "a", ["b", "lost"]) == ["b"]


def test_a_source_that_is_hidden_names_the_rule(tmp_path: Path) -> None:
    context = _context(tmp_path, "# logs\n*.log\n", "a.log")
    with pytest.raises(HiddenError, match=r"\.dockerignore:2: \*\.log"):
        context_input(context, ("a.log",), f"{context}/.dockerignore", None)


def test_a_pattern_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    context = _context(tmp_path, "b*\n", "a1", "b1", "a2")
    _, paths = context_input(context, ("*[12]",), f"{context}/.dockerignore", None)
    assert paths == ("a1", "a2")


def test_an_ignore_file_that_appears_is_an_input_that_changed(tmp_path: Path) -> None:
    found, inputs = find_ignore_file(str(tmp_path / "Containerfile"), str(tmp_path))
    assert found == ""
    assert ("absent", str(tmp_path / ".dockerignore")) in inputs
    context = _context(tmp_path, "x\n")
    found, inputs = find_ignore_file(str(tmp_path / "Containerfile"), context)
    assert found == f"{context}/.dockerignore"
    assert inputs[-1][:2] == ("file", found)
