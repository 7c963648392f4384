"""COPY --exclude and --parents: which files come, and where their paths lead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.buildkit.support import Pybuild, modes, text_files

TREE = {
    "a.txt": "1",
    "b.md": "2",
    "d/a.txt": "3",
    "d/b.md": "4",
    "d/s/a.txt": "5",
    "d/s/c.md": "6",
    "e/a.txt": "7",
}


def _files(pybuild: Pybuild, copy: str, *arguments: str) -> dict[str, str]:
    return text_files(pybuild.build(f"FROM scratch\nCOPY {copy}\n", *arguments))


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        pytest.param("--exclude=*.md d /e/", {"e/a.txt": "3", "e/s/a.txt": "5", "e/s/c.md": "6"},
                     id="a name of the source itself"),
        pytest.param("--exclude=**/*.md d /e/", {"e/a.txt": "3", "e/s/a.txt": "5"},
                     id="at any depth"),
        pytest.param("--exclude=s d /e/", {"e/a.txt": "3", "e/b.md": "4"}, id="a directory"),
        pytest.param("--exclude=d d /e/",
                     {"e/a.txt": "3", "e/b.md": "4", "e/s/a.txt": "5", "e/s/c.md": "6"},
                     id="patterns do not begin at the context"),
        pytest.param("--exclude=s --exclude=!s/c.md d /e/",
                     {"e/a.txt": "3", "e/b.md": "4", "e/s/c.md": "6"}, id="taken back"),
        pytest.param("--exclude=* d /e/", {}, id="everything"),
        pytest.param("--exclude=*.md *.* /e/", {"e/a.txt": "1"}, id="files that a glob hits"),
        pytest.param("--exclude=a.txt a.txt b.md /e/", {"e/b.md": "2"}, id="a file that is named"),
        pytest.param("--exclude=*.txt --exclude=s d e /e/", {"e/b.md": "4"},
                     id="of every source"),
        pytest.param("--parents --exclude=d/*.md d /e/",
                     {"e/d/a.txt": "3", "e/d/s/a.txt": "5", "e/d/s/c.md": "6"},
                     id="with --parents from the root"),
        pytest.param("--parents --exclude=s d/./s d/./b.md /e/", {"e/b.md": "4"},
                     id="with --parents from the pivot"),
    ],
)  # fmt: skip
def test_excluded_files_are_not_copied(
    copy: str, expected: dict[str, str], pybuild: Pybuild
) -> None:
    pybuild.add(TREE)
    assert _files(pybuild, copy) == expected


@pytest.mark.parametrize("flag", ["--exclude=*", "--exclude=**"])
def test_a_directory_without_its_content_is_made(flag: str, pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    image = pybuild.build(f"FROM scratch\nCOPY {flag} d /e/\n")
    assert modes(image) == {"e": "0:0 755"}


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        pytest.param("a.txt d/a.txt /e/", {"e/a.txt": "1", "e/d/a.txt": "3"}, id="files"),
        pytest.param("a.txt /e", {"e/a.txt": "1"}, id="without a final slash"),
        pytest.param("d /e/", {"e/d/a.txt": "3", "e/d/b.md": "4", "e/d/s/a.txt": "5",
                     "e/d/s/c.md": "6"}, id="a directory"),
        pytest.param("./d/s/ /e/", {"e/d/s/a.txt": "5", "e/d/s/c.md": "6"}, id="slashes"),
        pytest.param("d/./s/a.txt /e/", {"e/s/a.txt": "5"}, id="a pivot"),
        pytest.param("./d/./s /e/", {"e/s/a.txt": "5", "e/s/c.md": "6"}, id="below the pivot"),
        pytest.param("d/./. /e/", {"e/a.txt": "3", "e/b.md": "4", "e/s/a.txt": "5",
                     "e/s/c.md": "6"}, id="the pivot itself"),
        pytest.param("**/*.txt /e/", {"e/a.txt": "1", "e/d/a.txt": "3", "e/d/s/a.txt": "5",
                     "e/e/a.txt": "7"}, id="at any depth"),
        pytest.param("d/**/c.md /e/", {"e/d/s/c.md": "6"}, id="with a wildcard in the middle"),
        pytest.param("d/./**/*.md /e/", {"e/b.md": "4", "e/s/c.md": "6"}, id="after the pivot"),
        pytest.param("*/a.txt /e/", {"e/d/a.txt": "3", "e/e/a.txt": "7"}, id="one level"),
        pytest.param("d/s/** /e/", {"e/d/s/a.txt": "5", "e/d/s/c.md": "6"}, id="all below"),
        pytest.param("none/** a.txt /e/", {"e/a.txt": "1"}, id="a glob that hits nothing"),
        pytest.param("../d/b.md /e/", {"e/d/b.md": "4"}, id="no way out"),
        pytest.param("--from=s /d/s/a.txt /f", {"f/d/s/a.txt": "5"}, id="another stage"),
    ],
)  # fmt: skip
def test_parents_are_kept_below_the_destination(
    copy: str, expected: dict[str, str], pybuild: Pybuild
) -> None:
    pybuild.add(TREE)
    text = f"FROM scratch AS s\nCOPY d /d/\nFROM scratch\nCOPY --parents {copy}\n"
    assert text_files(pybuild.build(text)) == expected


def test_parents_that_are_made_are_like_those_of_the_source(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    (pybuild.context / "d").chmod(0o750)
    (pybuild.context / "d/s").chmod(0o700)
    image = pybuild.build("FROM scratch\nCOPY --parents d/s/a.txt /e/\n")
    shown = modes(image)
    assert {name: shown[name] for name in ("e", "e/d", "e/d/s")} == {
        "e": "0:0 755",
        "e/d": "0:0 750",
        "e/d/s": "0:0 700",
    }


def test_parents_that_are_there_get_the_mode_alone(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    (pybuild.context / "d").chmod(0o750)
    text = "COPY --chown=7:8 e /e/d/\nCOPY --parents d/a.txt /e/\n"
    assert modes(pybuild.build(f"FROM scratch\n{text}"))["e/d"] == "7:8 750"


def test_parents_from_a_stage_keep_owner_and_time(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    text = "FROM scratch AS s\nCOPY --chown=7:8 d/s /x/y/\nFROM scratch\n"
    image = pybuild.build(f"{text}COPY --parents --from=s x/y/a.txt /e/\n")
    assert {n: m for n, m in modes(image).items() if n.startswith("e/")} == {
        "e/x": "7:8 755",
        "e/x/y": "7:8 755",
        "e/x/y/a.txt": "7:8 644",
    }
    source = pybuild.build(f"{text}COPY --from=s / /\n").files
    assert image.files["e/x/y"].mtime == source["x/y"].mtime


def test_parents_take_chown_and_chmod(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    copy = "COPY --parents --chown=7:8 --chmod=701 d/a.txt /e/"
    shown = modes(pybuild.build(f"FROM scratch\n{copy}\n"))
    assert shown == {"e": "7:8 701", "e/d": "7:8 701", "e/d/a.txt": "7:8 701"}


def test_links_are_kept_and_not_followed(pybuild: Pybuild) -> None:
    pybuild.add({**TREE, "l": Path("d"), "d/f": Path("a.txt")})
    assert _files(pybuild, "--parents l d/f /e/") == {"e/l": "-> d", "e/d/f": "-> a.txt"}
    refused = pybuild.try_build("FROM scratch\nCOPY --parents l/a.txt /e/\n")
    assert "l/a.txt: not found" in refused.stderr


def test_a_link_as_the_pivots_directory_is_followed_inside_the_context(pybuild: Pybuild) -> None:
    pybuild.add({**TREE, "l": Path("/d")})
    assert _files(pybuild, "--parents l/./s/a.txt /e/") == {"e/s/a.txt": "5"}


def test_hard_links_stay_links(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    os.link(pybuild.context / "d/a.txt", pybuild.context / "d/s/linked")
    image = pybuild.build("FROM scratch\nCOPY --parents d /e/\n")
    assert image.files["e/d/s/linked"].linkname == "e/d/a.txt"


def test_a_directory_is_not_put_over_a_link(pybuild: Pybuild) -> None:
    pybuild.add({**TREE, "below/e/d": Path("/r"), "below/r/x": "o"})
    refused = pybuild.try_build("FROM scratch\nCOPY below /\nCOPY --parents d/a.txt /e/\n")
    assert "cannot copy the directory d over a symlink" in refused.stderr


@pytest.mark.parametrize(
    ("copy", "column", "said"),
    [
        ("--exclude=[ a.txt /", 16, "--exclude '[': '[' is not closed"),
        ("--exclude=! a.txt /", 16, "'!' takes nothing back"),
        ("--parents d/none /", 16, "d/none: not found in the context"),
    ],
)
def test_what_is_wrong_is_shown_at_its_place(
    copy: str, column: int, said: str, pybuild: Pybuild
) -> None:
    pybuild.add(TREE)
    result = pybuild.try_build(f"FROM scratch\nCOPY {copy}\n")
    assert f"Containerfile:2:{column}" in result.stderr
    assert said in result.stderr


def test_what_is_excluded_changes_no_key(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    text = "FROM scratch\nCOPY --exclude=**/*.md d /e/\n"
    pybuild.build(text)
    pybuild.add({"d/b.md": "new", "d/s/new.md": "new"})
    assert pybuild.steps(text) == ["CACHED"]
    pybuild.add({"d/a.txt": "new"})
    assert pybuild.steps(text) == ["DONE"]


def test_modes_of_kept_parents_are_part_of_the_key(pybuild: Pybuild) -> None:
    pybuild.add(TREE)
    text = "FROM scratch\nCOPY --parents d/s/a.txt /e/\n"
    pybuild.build(text)
    assert pybuild.steps(text) == ["CACHED"]
    place = pybuild.context / "d"
    place.chmod(stat.S_IMODE(place.stat().st_mode) ^ 0o010)
    assert pybuild.steps(text) == ["DONE"]
