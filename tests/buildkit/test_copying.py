"""COPY and ADD of files, through `pybuild`: what lies in the layer afterwards."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, modes, text_files
from tests.support import PASSWD, TreeValue, command, run

# A stage with something at the destinations.
BELOW = """\
FROM scratch AS below
COPY below /
FROM below
"""


def _files(pybuild: Pybuild, text: str, *arguments: str) -> dict[str, str]:
    return text_files(pybuild.build(text, *arguments))


# --- Where it goes


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        pytest.param("a /", {"a": "1"}, id="into the root"),
        pytest.param("a /b", {"b": "1"}, id="under a new name"),
        pytest.param("a /b/", {"b/a": "1"}, id="into a directory that is named so"),
        pytest.param("a /x/y/z", {"x/y/z": "1"}, id="parents are made"),
        pytest.param("a d/x /e", {"e/a": "1", "e/x": "2"}, id="several need a directory"),
        pytest.param("d /e", {"e/x": "2", "e/s/y": "3"}, id="what is in a directory"),
        pytest.param("d/ /e/", {"e/x": "2", "e/s/y": "3"}, id="slashes change nothing"),
        pytest.param("d /", {"x": "2", "s/y": "3"}, id="a directory into the root"),
        pytest.param("d* /e/", {"e/x": "2", "e/s/y": "3", "e/d2": "4"}, id="a glob hits both"),
        pytest.param("/a ../../d/x /e/", {"e/a": "1", "e/x": "2"}, id="no way out"),
        pytest.param("none* /e/", {}, id="a glob that hits nothing"),
        pytest.param("none* a /e/", {"e/a": "1"}, id="a glob that hits nothing, and a file"),
        pytest.param("a d/../d2 a /e/", {"e/a": "1", "e/d2": "4"}, id="twice the same"),
        pytest.param('["a", "/with blank/"]', {"with blank/a": "1"}, id="blanks"),
    ],
)
def test_where_files_go(pybuild: Pybuild, copy: str, expected: dict[str, str]) -> None:
    pybuild.add({"a": "1", "d/x": "2", "d/s/y": "3", "d2": "4"})
    assert _files(pybuild, f"FROM scratch\nCOPY {copy}\n") == expected


@pytest.mark.parametrize(
    ("below", "copy", "expected"),
    [
        pytest.param({"e/old": "o"}, "a /e", {"e/old": "o", "e/a": "1"}, id="a file into it"),
        pytest.param({"e/old": "o"}, "d /e", {"e/old": "o", "e/x": "2"}, id="a directory merges"),
        pytest.param({"e/x": "o"}, "d /e", {"e/x": "2"}, id="its files win"),
        pytest.param({"f": "old"}, "a /f", {"f": "1"}, id="a file replaces a file"),
        pytest.param(
            {"l": Path("/r"), "r/k": "o"}, "a /l/", {"l": "-> /r", "r/k": "o", "r/a": "1"},
            id="through a link to a directory",
        ),
        pytest.param(
            {"l": Path("/r"), "r/k": "o"}, "a /l", {"l": "-> /r", "r/k": "o", "r/a": "1"},
            id="the same without a slash",
        ),
        pytest.param(
            {"l": Path("r"), "r/k": "o"}, "d /l", {"l": "-> r", "r/k": "o", "r/x": "2"},
            id="a directory through a link",
        ),
        pytest.param(
            {"l": Path("../../../r"), "r/k": "o"}, "a /l/n/", {"l": "-> ../../../r", "r/k": "o",
            "r/n/a": "1"}, id="a link that points out ends at the root",
        ),
        pytest.param(
            {"l": Path("r"), "r": "o"}, "a /l", {"l": "-> r", "r": "1"}, id="onto a link's file"
        ),
        pytest.param(
            {"l": Path("new"), "k": "o"}, "a /l", {"l": "-> new", "k": "o", "new": "1"},
            id="a dangling link's target is made",
        ),
        pytest.param(
            {"l": Path("../new/er"), "k": "o"}, "a /l/", {"l": "-> ../new/er", "k": "o",
            "new/er/a": "1"}, id="also as a directory",
        ),
        pytest.param(
            {"e/x": Path("k"), "e/k": "o"}, "d /e", {"e/x": "2", "e/k": "o"},
            id="a file below the destination replaces a link",
        ),
        pytest.param(
            {"e/a": Path("k"), "e/k": "o"}, "a /e", {"e/a": "1", "e/k": "o"},
            id="a file into a directory where a link has its name",
        ),
        pytest.param(
            {"e/a": Path("k"), "e/k": "o"}, "a /e/", {"e/a": "1", "e/k": "o"},
            id="the same with a slash",
        ),
    ],
)  # fmt: skip
def test_what_is_there_already(
    pybuild: Pybuild, below: dict[str, TreeValue], copy: str, expected: dict[str, str]
) -> None:
    pybuild.add({"a": "1", "d/x": "2", **{f"below/{name}": v for name, v in below.items()}})
    assert _files(pybuild, f"{BELOW}COPY {copy}\n") == expected


@pytest.mark.parametrize(
    ("below", "copy", "message"),
    [
        ({"e/x/k": ""}, "d /e", "cannot copy the file x over a directory"),
        ({"e/s": ""}, "d /e", "cannot copy the directory s over a file"),
        ({"e/s": Path("k"), "e/k/x": ""}, "d /e", "cannot copy the directory s over a symlink"),
        ({"e": ""}, "d /e", "destination /e: Not a directory"),
        ({"e": ""}, "a /e/", "destination /e/: Not a directory"),
        ({"e": ""}, "a /e/x", "destination /e: Not a directory"),
        ({"l": Path("l"), "k": ""}, "a /l/", "Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_copied_is_an_error_at_the_instruction(
    pybuild: Pybuild, below: dict[str, TreeValue], copy: str, message: str
) -> None:
    pybuild.add({"a": "1", "d/x": "2", "d/s/y": "3"})
    pybuild.add({f"below/{name}": value for name, value in below.items()})
    ended = pybuild.try_build(f"{BELOW}COPY {copy}\n")
    assert ended.status == 1
    assert message in ended.stderr
    assert "Containerfile:4:" in ended.stderr
    assert not pybuild.output.exists()


# --- Sources that are links


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        pytest.param("l /", {"l": "1"}, id="a link to a file is followed"),
        pytest.param("ld /e", {"e/x": "2"}, id="a link to a directory is followed"),
        pytest.param("l* /e/", {"e/l": "1", "e/x": "2"}, id="hits of a glob too"),
        pytest.param("ld/x /", {"x": "2"}, id="and a link on the way"),
        pytest.param("abs /", {"abs": "1"}, id="an absolute one starts at the context"),
        pytest.param("deep /e", {"e/in": "-> ../a", "e/none": "-> /nowhere"}, id="inside: kept"),
    ],
)
def test_symlinks_among_the_sources(pybuild: Pybuild, copy: str, expected: dict[str, str]) -> None:
    pybuild.add({"a": "1", "d/x": "2", "l": Path("a"), "ld": Path("d"), "abs": Path("/a")})
    pybuild.add({"deep/in": Path("../a"), "deep/none": Path("/nowhere")})
    assert _files(pybuild, f"FROM scratch\nCOPY {copy}\n") == expected


def test_a_link_out_of_the_context_finds_nothing_of_the_host(pybuild: Pybuild) -> None:
    pybuild.add({"passwd": Path("/etc/passwd"), "up": Path("../../../../etc/passwd")})
    for name in ("passwd", "up"):
        ended = pybuild.try_build(f"FROM scratch\nCOPY {name} /\n")
        assert ended.status == 1
        assert f"{name}: not found in the context" in ended.stderr


def test_symlinks_of_a_stage_resolve_inside_it(pybuild: Pybuild) -> None:
    pybuild.add({"below/l": Path("/etc/passwd"), "below/etc/passwd": "mine"})
    text = "FROM scratch AS a\nCOPY below /\nFROM scratch\nCOPY --from=a /l /\n"
    assert _files(pybuild, text) == {"l": "mine"}


# --- Owners, modes, times, links


def test_files_of_the_context_belong_to_root_and_keep_their_modes(anybody: Pybuild) -> None:
    anybody.add({"d/x": (b"2", 0o644), "d/s/y": (b"", 0o755)})
    if os.geteuid() == 0:
        os.chown(anybody.context / "d/x", 1234, 1234)
        os.chown(anybody.context / "d/s", anybody.caller.uid, 1234)
    (anybody.context / "d/s/y").chmod(0o4755)
    (anybody.context / "d/s").chmod(0o1777)
    found = modes(anybody.build("FROM scratch\nCOPY d /e/\n"))
    assert found == {"e": "0:0 755", "e/x": "0:0 644", "e/s": "0:0 1777", "e/s/y": "0:0 4755"}


def test_a_new_destination_does_not_take_the_mode_of_the_source_directory(
    pybuild: Pybuild,
) -> None:
    pybuild.add({"d/x": "1"})
    (pybuild.context / "d").chmod(0o700)
    assert modes(pybuild.build("FROM scratch\nCOPY d /p/e\n"))["p/e"] == "0:0 755"


def test_an_existing_destination_keeps_its_mode_and_nested_directories_take_the_sources(
    pybuild: Pybuild,
) -> None:
    pybuild.add({"below/e/s/k": "", "d/s/y": ""})
    (pybuild.context / "below/e").chmod(0o711)
    (pybuild.context / "below/e/s").chmod(0o711)
    (pybuild.context / "d/s").chmod(0o750)
    found = modes(pybuild.build(f"{BELOW}COPY d /e\n"))
    assert (found["e"], found["e/s"]) == ("0:0 711", "0:0 750")


def test_chmod_reaches_files_directories_and_what_is_made(pybuild: Pybuild) -> None:
    pybuild.add({"d/x": "", "d/s/y": "", "d/l": Path("x")})
    found = modes(pybuild.build("FROM scratch\nCOPY --chmod=2750 d /p/e\n"))
    assert found.pop("p/e/l") == "0:0 777"
    assert set(found.values()) == {"0:0 2750"}
    assert set(found) == {"p", "p/e", "p/e/x", "p/e/s", "p/e/s/y"}


def test_chmod_can_set_the_user_id_bit(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    text = "FROM scratch\nCOPY --chown=5:6 --chmod=4755 a /\n"
    assert modes(pybuild.build(text))["a"] == "5:6 4755"


@pytest.mark.parametrize(
    ("chown", "expected"),
    [
        ("alice", "1000:1000"),
        ("alice:staff", "1000:50"),
        ("root:50", "0:50"),
        ("bin", "2:2"),
        ("7", "7:7"),
        ("7:8", "7:8"),
        ("7:staff", "7:50"),
        ("$who", "1000:1000"),
    ],
)
def test_chown_names_are_those_of_the_image(pybuild: Pybuild, chown: str, expected: str) -> None:
    pybuild.add({"etc/passwd": PASSWD, "etc/group": "staff:x:50:\n", "d/s/x": ""})
    copy = f"ARG who=alice\nCOPY --chown={chown} d /p/e"
    found = modes(pybuild.build(f"FROM scratch\nCOPY etc /etc/\n{copy}\n"))
    made = {name: found[name].split()[0] for name in ("p", "p/e", "p/e/s", "p/e/s/x")}
    assert set(made.values()) == {expected}


@pytest.mark.parametrize(
    ("chown", "message"),
    [
        ("nobody-here", "user 'nobody-here': not in the image's /etc/passwd"),
        ("root:no-group", "group 'no-group': not in the image's /etc/group"),
        ("$gone", "user 'ghost': not in the image's /etc/passwd"),
    ],
)
def test_an_unknown_owner_fails(pybuild: Pybuild, chown: str, message: str) -> None:
    pybuild.add({"etc/passwd": PASSWD, "a": ""})
    ended = pybuild.try_build(
        f"FROM scratch\nCOPY etc /etc/\nARG gone=ghost\nCOPY --chown={chown} a /\n"
    )
    assert ended.status == 1
    assert message in ended.stderr
    assert "Containerfile:4:" in ended.stderr


@pytest.mark.parametrize("chown", ["4294967295", "$big"])
def test_what_is_no_owner_is_an_error_at_its_place(pybuild: Pybuild, chown: str) -> None:
    pybuild.add({"etc/passwd": PASSWD, "a": ""})
    arguments = "ARG big=4294967295"
    ended = pybuild.try_build(
        f"FROM scratch\nCOPY etc /etc/\n{arguments}\nCOPY --chown={chown} a /\n"
    )
    assert ended.status in (1, 2)
    assert "Containerfile:4:" in ended.stderr


def test_files_of_a_stage_keep_owner_mode_and_time(anybody: Pybuild) -> None:
    anybody.add({"a": ""})
    text = "FROM scratch AS a\nCOPY --chown=5:6 --chmod=2711 a /d/\nFROM scratch\n"
    image = anybody.build(f"{text}COPY --from=a /d/a /b\nCOPY --from=a / /e\n")
    assert modes(image) == {
        "b": "5:6 2711",
        "e": "0:0 755",
        "e/d": "5:6 2711",
        "e/d/a": "5:6 2711",
    }


def test_chown_also_changes_what_comes_from_a_stage(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    text = "FROM scratch AS a\nCOPY --chown=5:6 a /\nFROM scratch\nCOPY --from=a --chown=7 a /\n"
    assert modes(pybuild.build(text)) == {"a": "7:7 644"}


def test_hard_links_stay_links_within_a_source_and_are_copies_across(pybuild: Pybuild) -> None:
    pybuild.add({"d/a": "x", "e/": None})
    os.link(pybuild.context / "d/a", pybuild.context / "d/b")
    os.link(pybuild.context / "d/a", pybuild.context / "e/c")
    files = pybuild.build("FROM scratch\nCOPY d e /f/\n").files
    assert (files["f/b"].islnk(), files["f/b"].linkname) == (True, "f/a")
    assert files["f/c"].isreg()


def test_many_hard_links_do_not_use_up_descriptors(pybuild: Pybuild) -> None:
    pybuild.add({f"d/{number}": "" for number in range(200)})
    for number in range(200):
        os.link(pybuild.context / f"d/{number}", pybuild.context / f"d/{number}.link")
    pybuild.write("FROM scratch\nCOPY d /e\n")
    limited = ["sh", "-c", 'ulimit -n 100 && exec "$@"', "sh"]
    env = pybuild.environment()
    argv = [*limited, *command("pybuild"), str(pybuild.context)]
    ended = run(argv, caller=pybuild.caller, env=env, cwd=pybuild.work)
    assert ended.status == 0, ended.stderr
    assert sum(info.islnk() for info in Image(pybuild.output).files.values()) == 200


def test_user_attributes_are_copied(pybuild: Pybuild) -> None:
    pybuild.add({"d/a": ""})
    try:
        os.setxattr(pybuild.context / "d/a", "user.k", b"v\0w")
    except OSError as error:
        pytest.skip(f"no user xattrs here: {error}")
    entry = pybuild.build("FROM scratch\nCOPY d /\n").files["a"]
    assert entry.pax_headers["SCHILY.xattr.user.k"] == "v\0w"


def test_user_has_no_effect_on_copy(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    assert modes(pybuild.build("FROM scratch\nUSER 5\nCOPY a /d/\n"))["d/a"] == "0:0 644"


# --- Heredocs


def test_a_heredoc_becomes_a_file(pybuild: Pybuild) -> None:
    text = "FROM scratch\nENV v=1\nCOPY --chown=5 <<f <<'g' /d/\n$v\nf\n$v\ng\n"
    image = pybuild.build(text)
    assert text_files(image) == {"d/f": "1\n", "d/g": "$v\n"}
    assert modes(image) == {"d": "5:5 755", "d/f": "5:5 644", "d/g": "5:5 644"}


def test_a_heredoc_can_be_given_another_name_and_mode(pybuild: Pybuild) -> None:
    image = pybuild.build("FROM scratch\nCOPY --chmod=755 <<E /bin/script\n#!/bin/sh\nE\n")
    assert modes(image)["bin/script"] == "0:0 755"


# --- What is not there, and what is not a file


@pytest.mark.parametrize(
    ("source", "hint"),
    [("motdd", "did you mean motd?"), ("d/fiel", "did you mean d/file?"), ("zzz", None)],
)
def test_a_missing_source_is_an_error_at_its_word_with_what_was_meant(
    pybuild: Pybuild, source: str, hint: str | None
) -> None:
    pybuild.add({"motd": "", "d/file": ""})
    ended = pybuild.try_build(f"FROM scratch\nCOPY motd {source} /e/\n")
    assert ended.status == 1
    assert f"Containerfile:2:11: {source}: not found in the context" in ended.stderr
    assert (hint is None and "did you mean" not in ended.stderr) or f"hint: {hint}" in ended.stderr


def test_a_source_that_a_stage_lacks_is_an_error(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build("FROM scratch AS a\nCOPY a /\nFROM scratch\nCOPY --from=a /b /\n")
    assert ended.status == 1
    assert "/b: not found" in ended.stderr
    assert "Containerfile:4:" in ended.stderr


def test_fifo_socket_and_device_become_what_they_are(as_root: Pybuild) -> None:
    as_root.add({"d/a": ""})
    os.mkfifo(as_root.context / "d/fifo", 0o600)
    os.mknod(as_root.context / "d/null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(as_root.context / "d/socket"))
    files = as_root.build("FROM scratch\nCOPY d /e\n").files
    assert files["e/fifo"].isfifo()
    assert (files["e/null"].devmajor, files["e/null"].devminor) == (1, 3)
    assert (files["e/socket"].isreg(), files["e/socket"].size) == (True, 0)


def test_a_fifo_in_the_context_does_not_hang_a_user_either(as_user: Pybuild) -> None:
    as_user.add({"d/": None})
    os.mkfifo(as_user.context / "d/fifo", 0o644)
    assert as_user.build("FROM scratch\nCOPY d/ /e\n").files["e/fifo"].isfifo()


def test_symlink_loops_in_a_directory_are_copied_as_they_are(pybuild: Pybuild) -> None:
    pybuild.add({"d/one": Path("two"), "d/two": Path("one"), "d/up": Path(".")})
    assert _files(pybuild, "FROM scratch\nCOPY d /\n") == {
        "one": "-> two",
        "two": "-> one",
        "up": "-> .",
    }


def test_a_source_that_is_a_symlink_loop_is_an_error(pybuild: Pybuild) -> None:
    pybuild.add({"loop": Path("loop")})
    ended = pybuild.try_build("FROM scratch\nCOPY loop /\n")
    assert ended.status == 1
    assert "Too many levels of symbolic links" in ended.stderr
    assert "Containerfile:2:" in ended.stderr


@pytest.mark.needs_root
def test_a_file_that_the_user_may_not_read_is_an_error_that_names_it(as_user: Pybuild) -> None:
    as_user.add({"d/secret": (b"", 0o000)})
    os.chown(as_user.context / "d/secret", 0, 0)
    ended = as_user.try_build("FROM scratch\nCOPY d /\n")
    assert ended.status == 1
    assert "d/secret: Permission denied" in ended.stderr
    assert "Containerfile:2:" in ended.stderr


def test_names_that_are_not_utf8_are_copied(pybuild: Pybuild) -> None:
    pybuild.add({"d/": None})
    os.close(os.open(os.fsencode(pybuild.context) + b"/d/\xff\xe9", os.O_CREAT | os.O_WRONLY))
    files = pybuild.build("FROM scratch\nCOPY d /\n").files
    assert [os.fsencode(name) for name in files] == [b"\xff\xe9"]


def test_copy_after_run_sees_what_run_did(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    image = pybuild.build(f"{SHELL}RUN mkdir -m 700 /d && ln -s d /l\nCOPY a /l/\n")
    assert list(image.layer()) == ["d", "d/a"]
    assert modes(image)["d"] == "0:0 700"


def test_a_symbolic_mode_changes_what_the_source_has(pybuild: Pybuild) -> None:
    pybuild.add({"d/tool": ""})
    (pybuild.context / "d/tool").chmod(0o600)
    found = modes(pybuild.build("FROM scratch\nCOPY --chmod=u+x,go+rX d /p\n"))
    assert found["p/tool"] == "0:0 755"
