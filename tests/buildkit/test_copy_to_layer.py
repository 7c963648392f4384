"""A layer that COPY writes without a mount is the one that copying onto a mount gives."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.buildkit.support import SHELL, Pybuild

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import TreeValue

# What the copies come upon: directories with modes, times and groups of their own, links, files.
BASE = f"""{SHELL}RUN <<end
mkdir -p /etc /deep/er/still /own /group /swapped/old /only
echo root:x:0:0:::> /etc/passwd; echo root:x:0:> /etc/group
chmod 1777 /own; chmod 2775 /group; chgrp 7 /group
touch -d 2001-02-03 /deep /deep/er /own; echo 1 > /deep/er/f; ln -s f /deep/er/l
ln -s /deep/er /way; ln -s nowhere /dangling; ln -s loop /loop; touch /file
end
RUN rm -r /swapped && mkdir /swapped && rm /deep/er/l && rmdir /only
"""
TREE: dict[str, TreeValue] = {
    "a": "content a",
    "empty": "",
    "d/x": "1",
    "d/in/y": "2",
    "d/in/é": "3",
    "d/void/": None,
    "d/er/f": "new",
    "lib/b": "4",
    **{f"many/{number}": str(number) for number in range(30)},
}
COPIES = (
    *("a /", "a /new/er/", "a /deep/er/f", "a /own/", "a /group/new/er/", "a /way/", "d /way"),
    *("a empty /deep/er/", "d /deep", "d /swapped", "d /swapped/old", "d/void /deep/er"),
    *("d /only", "--chmod=600 d /x/y", "--chmod=go-rwx d /deep", "--chmod=4755 a /deep/er/still/"),
    *("d/void /none", "many /many/", "m*/1* /deep/", "--parents d/in d/x /deep/"),
    *("--parents d/in /deep/../group", "--exclude=**/y d /deep", "<<t /way/t\n$HOME\nt\n"),
    *(
        "--exclude=Containerfile . /own",
        "links /deep",
        "links links /own/",
        "a /dangling/",
        "d /dangling/in",
    ),
)


def _fill(pybuild: Pybuild) -> None:
    """Make the context."""
    pybuild.add(TREE)
    links = pybuild.context / "links"
    links.mkdir()
    (links / "one").write_text("shared")
    os.link(links / "one", links / "two")
    os.symlink("one", links / "soft")
    os.symlink("/nowhere", links / "lost")
    os.mkfifo(links / "fifo")


def _ways(*copies: str) -> list[str]:
    """The same without and with a mount: numbers are understood without one, names are not."""
    return [
        BASE + "".join(f"COPY --chown={owner} {copy}\n" for copy in copies)
        for owner in ("0:0", "root:root")
    ]


@pytest.mark.parametrize("copy", COPIES)
def test_both_ways_write_the_same_layer(pybuild: Pybuild, copy: str) -> None:
    _fill(pybuild)
    direct, mounted = (pybuild.build(text) for text in _ways(copy))
    assert direct.layers == mounted.layers


def test_both_ways_and_a_copied_tree_give_everybody_the_same(anybody: Pybuild) -> None:
    _fill(anybody)
    ways = _ways(*COPIES)
    direct, mounted = (anybody.build(text) for text in ways)
    chroot = anybody.build(ways[0], "--no-cache", "--isolation", "chroot")
    assert len(direct.layers) > len(COPIES)
    assert direct.layers == mounted.layers == chroot.layers


def test_what_is_linked_is_the_same_with_and_without_mounts(anybody: Pybuild) -> None:
    _fill(anybody)
    text = f"{BASE}COPY --link d /deep\nCOPY --link --chown=3:4 a /deep/er/f\n"
    chroot = anybody.build(text, "--no-cache", "--isolation", "chroot")
    assert anybody.build(text).layers == chroot.layers


@pytest.mark.parametrize(
    "copy", ["/ /copy", "/d /deep", "/d/. /own/", "--parents /d/in/y /e/", "/d/in/y /deep/er/f"]
)
def test_both_ways_copy_the_same_from_a_stage(pybuild: Pybuild, copy: str) -> None:
    _fill(pybuild)
    base = BASE.replace("FROM scratch", "FROM scratch AS base")
    source = "FROM scratch AS source\nCOPY --chown=5:6 --exclude=Containerfile . /\n"
    ways = [
        f"{source}{base}COPY --from=source --chown={owner} {copy}\n"
        for owner in ("0:0", "root:root")
    ]
    plain = f"{source}{base}COPY --from=source {copy}\n"
    assert pybuild.build(ways[0]).layers == pybuild.build(ways[1]).layers
    chroot = pybuild.build(plain, "--no-cache", "--isolation", "chroot")
    assert pybuild.build(plain).layers == chroot.layers


@pytest.mark.parametrize(
    ("copy", "message"),
    [
        ("a /file/", "destination /file/: Not a directory"),
        ("a /file/x/", "destination /file/x/: Not a directory"),
        ("a /loop/x", "Too many levels of symbolic links"),
        ("d /file", "destination /file: Not a directory"),
        ("a /deep/er/still", ""),
        ("er /", "cannot copy the file deep over a directory"),
        ("over /", "cannot copy the directory file over a file"),
        ("over/way /", ""),
    ],
)
def test_both_ways_refuse_the_same(pybuild: Pybuild, copy: str, message: str) -> None:
    pybuild.add(TREE)
    pybuild.add({"er/deep": "a file", "over/file/x": "", "over/way/x": ""})
    said = []
    for owner in ("0:0", "root:root"):
        ended = pybuild.try_build(f"{BASE}COPY --chown={owner} {copy}\n")
        assert ended.status == (1 if message else 0), ended.stderr
        errors = [line for line in ended.stderr.splitlines() if "error: " in line]
        said.append([line.partition("error: ")[2].rpartition("er/l")[2] for line in errors])
        assert message in ended.stderr
    assert said[0] == said[1]


@pytest.mark.needs_root
def test_devices_and_attributes_are_written_as_they_are(as_root: Pybuild) -> None:
    folder = as_root.context / "d"
    folder.mkdir(parents=True)
    os.mknod(folder / "null", 0o020640, os.makedev(1, 3))
    os.mknod(folder / "disk", 0o060640, os.makedev(7, 200))
    (folder / "capable").write_bytes(b"x")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(folder / "capable", "security.capability", capability)
    os.setxattr(folder / "capable", "user.note", b"\0\xff")
    os.setxattr(folder, "user.of", b"the directory")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    ways = [f"{BASE}COPY --chown={owner} d /deep/d/\n" for owner in ("0:0", "root:root")]
    direct, mounted = (as_root.build(text) for text in ways)
    assert direct.layers == mounted.layers
    files = direct.layer()
    assert files["deep/d/capable"].pax_headers["SCHILY.xattr.user.note"] == "\0\udcff"
    assert files["deep/d/null"].ischr()
    assert files["deep/d/socket"].isreg()


def test_a_layer_without_a_directory_is_applied_when_a_step_needs_it(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "d/b": "2"})
    pybuild.build(f"{SHELL}COPY a /x/\nCOPY d /x/\n")
    before = len(os.listdir(pybuild.store / "layers"))
    image = pybuild.build(f"{SHELL}COPY a /x/\nCOPY d /x/\nRUN cat /x/a /x/b > /c\n")
    assert image.read("c") == b"12"
    assert len(os.listdir(pybuild.store / "layers")) > before


def test_deeper_directories_than_python_calls_are_copied(anybody: Pybuild) -> None:
    names = "/".join(["d"] * 600)
    anybody.add({f"deep/{names}/f": "1"})
    ways = [f"{BASE}COPY --chown={owner} deep /\n" for owner in ("0:0", "root:root")]
    direct, mounted = (anybody.build(text) for text in ways)
    assert direct.read(f"{names}/f") == b"1"
    assert direct.layers == mounted.layers


@pytest.mark.needs_root
def test_a_new_directory_in_a_set_group_id_one_belongs_to_root(as_root: Pybuild) -> None:
    as_root.add({"a": ""})
    for owner in ("0:0", "root:root"):
        image = as_root.build(f"{BASE}COPY --chown={owner} a /group/new/\nWORKDIR /group/w\n")
        for name in ("group/new", "group/w"):
            member = image.files[name]
            assert (member.gid, member.mode) == (0, 0o755), name


def test_one_context_is_read_where_it_really_is(anybody: Pybuild, tmp_path: Path) -> None:
    anybody.add({"real/a": "1"})
    os.symlink("real", anybody.context / "link")
    assert anybody.build("FROM scratch\nCOPY link/a /\n").read("a") == b"1"
    assert anybody.build("FROM scratch\nCOPY link /e\n").read("e/a") == b"1"
