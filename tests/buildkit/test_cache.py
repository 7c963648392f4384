"""Which steps are done again, and which results are taken as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.buildkit.support import SHELL, Pybuild

# Four steps: two of SHELL's, a COPY, a RUN.
TEXT = f"{SHELL}ARG a=1\nCOPY d /d\nRUN cat /d/x > /y\n"
HIT, MISS = "CACHED", "DONE"


def _twice(
    pybuild: Pybuild, change: Callable[[Pybuild], None], text: str = TEXT, second: str = TEXT
) -> list[str]:
    """What became of the steps of a second build, after a change."""
    pybuild.add({"d/x": "1", "d/y": "2", "other": ""})
    assert pybuild.steps(text) == [MISS] * 4
    change(pybuild)
    return pybuild.steps(second)


def _nothing(_: Pybuild) -> None:
    pass


def _touch(pybuild: Pybuild) -> None:
    for name in ("d/x", "d", "busybox", "other"):
        os.utime(pybuild.context / name, (5, 5))


def _rewrite(pybuild: Pybuild) -> None:
    """The same files anew: other inodes, another order in the directory."""
    shutil.rmtree(pybuild.context / "d")
    pybuild.add({"d/y": "2", "d/x": "1"})


def _unrelated(pybuild: Pybuild) -> None:
    pybuild.add({"other": "changed", "more/files": ""})


@pytest.mark.parametrize("change", [_nothing, _touch, _rewrite, _unrelated])
def test_a_build_of_the_same_files_does_nothing_again(
    anybody: Pybuild, change: Callable[[Pybuild], None]
) -> None:
    assert _twice(anybody, change) == [HIT] * 4


def test_the_archive_is_not_written_again(anybody: Pybuild) -> None:
    _twice(anybody, _nothing)
    before = os.stat(anybody.output)
    ended = anybody.try_build(TEXT)
    assert os.stat(anybody.output) == before
    assert "image.tar: up to date" in ended.stderr


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    ],
    ids=["cut", "removed", "changed"],
)
def test_an_archive_that_somebody_changed_is_written_again(
    pybuild: Pybuild, spoil: Callable[[object], None]
) -> None:
    _twice(pybuild, _nothing)
    before = pybuild.output.read_bytes()
    spoil(pybuild.output)
    assert pybuild.try_build(TEXT).status == 0
    assert pybuild.output.read_bytes() == before


def _content(pybuild: Pybuild) -> None:
    pybuild.add({"d/x": "changed"})


def _mode(pybuild: Pybuild) -> None:
    (pybuild.context / "d/x").chmod(0o600)


def _new_file(pybuild: Pybuild) -> None:
    pybuild.add({"d/z": ""})


def _removed_file(pybuild: Pybuild) -> None:
    (pybuild.context / "d/y").unlink()


@pytest.mark.parametrize("change", [_content, _mode, _new_file, _removed_file])
def test_a_changed_context_misses_from_its_copy_on(
    pybuild: Pybuild, change: Callable[[Pybuild], None]
) -> None:
    assert _twice(pybuild, change) == [HIT, HIT, MISS, MISS]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param(TEXT.replace("cat /d/x", "cat  /d/x"), [HIT, HIT, HIT, MISS], id="RUN"),
        pytest.param(TEXT.replace("/d\nRUN", "/d/\nRUN"), [HIT, HIT, MISS, HIT], id="same files"),
        pytest.param(
            TEXT.replace("COPY d", "COPY --chown=5 d"), [HIT, HIT, MISS, MISS], id="owner"
        ),
        pytest.param(TEXT.replace("a=1", "a=2"), [HIT, HIT, HIT, MISS], id="ARG misses at RUN"),
        pytest.param(TEXT.replace("ARG a", "ENV a"), [HIT, HIT, HIT, HIT], id="same environment"),
        pytest.param(TEXT.replace("RUN cat", "USER 0\nRUN cat"), [HIT, HIT, HIT, MISS], id="USER"),
        pytest.param(TEXT.replace("RUN cat", "LABEL a=b\nRUN cat"), [HIT] * 4, id="LABEL"),
        pytest.param(TEXT.replace("RUN cat", "# x\nrun cat"), [HIT] * 4, id="comments and case"),
        pytest.param(TEXT.replace("RUN cat", "RUN \\\ncat"), [HIT] * 4, id="continuation"),
        pytest.param(TEXT + "CMD x\n", [HIT] * 4, id="CMD at the end"),
    ],
)
def test_a_changed_instruction_misses_where_it_makes_a_difference(
    pybuild: Pybuild, second: str, expected: list[str]
) -> None:
    assert _twice(pybuild, _nothing, second=second) == expected


def test_a_changed_base_misses_from_the_start(pybuild: Pybuild) -> None:
    pybuild.add({"d/x": "1"})
    text = "FROM base\nRUN cat /d/x > /y\n"
    for expected in (MISS, HIT):
        assert pybuild.try_build(f"{SHELL}COPY d /d\n", "-t", "base").status == 0
        assert pybuild.steps(text) == [expected]
    pybuild.add({"d/x": "2"})
    assert pybuild.try_build(f"{SHELL}COPY d /d\n", "-t", "base").status == 0
    assert pybuild.steps(text) == [MISS]


def test_a_changed_stage_misses_what_copies_from_it(pybuild: Pybuild) -> None:
    text = "FROM scratch AS a\nCOPY d /\nFROM scratch\nCOPY --from=a / /\n"
    pybuild.add({"d/x": "1"})
    assert pybuild.steps(text) == [MISS, MISS]
    assert pybuild.steps(text) == [HIT, HIT]
    pybuild.add({"d/x": "2"})
    assert pybuild.steps(text) == [MISS, MISS]


def test_no_cache_does_everything_again_and_comes_to_the_same(pybuild: Pybuild) -> None:
    pybuild.add({"d/x": "1"})
    first = pybuild.try_build(TEXT).stdout
    assert pybuild.steps(TEXT, "--no-cache") == [MISS] * 4
    assert pybuild.try_build(TEXT, "--no-cache").stdout == first


def test_an_undeclared_proxy_does_not_miss(pybuild: Pybuild) -> None:
    pybuild.steps(f"{SHELL}RUN touch /a\n", "--build-arg", "http_proxy=one")
    assert pybuild.steps(f"{SHELL}RUN touch /a\n", "--build-arg", "http_proxy=two") == [HIT] * 3


def test_an_unused_build_argument_does_not_miss(pybuild: Pybuild) -> None:
    pybuild.steps(f"{SHELL}RUN touch /a\n")
    assert pybuild.steps(f"{SHELL}RUN touch /a\n", "--build-arg", "x=y") == [HIT] * 3


def test_a_heredoc_is_part_of_the_key(pybuild: Pybuild) -> None:
    text = "FROM scratch\nCOPY <<f /\n1\nf\n"
    assert [pybuild.steps(text), pybuild.steps(text)] == [[MISS], [HIT]]
    assert pybuild.steps(text.replace("1", "2")) == [MISS]


def test_a_failed_step_is_tried_again_and_those_before_it_are_not(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN exit 1\n"
    assert pybuild.try_build(text).status == 1
    ended = pybuild.try_build(text)
    assert ended.status == 1
    assert ended.stderr.count("CACHED") == 2


@pytest.mark.parametrize("folder", ["cache", "blobs/sha256", "layers"])
def test_what_is_lost_from_the_store_is_made_again(pybuild: Pybuild, folder: str) -> None:
    pybuild.add({"d/x": "1"})
    first = pybuild.try_build(TEXT).stdout
    shutil.rmtree(pybuild.store / folder)
    (pybuild.store / folder).mkdir()
    assert pybuild.try_build(TEXT).stdout == first


def test_a_layer_that_was_damaged_since_is_made_again_and_not_exported(pybuild: Pybuild) -> None:
    pybuild.add({"large": os.urandom(2 << 20)})
    text = "FROM scratch\nCOPY large /\n"
    image = pybuild.build(text)
    (layer,) = image.manifest["layers"]
    blob = pybuild.store / "blobs" / layer["digest"].replace(":", "/")
    with open(blob, "r+b") as file:
        file.seek(1 << 20)
        file.write(b"rotten")
    assert pybuild.steps(f"{text}LABEL a=b\n") == [MISS]
    assert pybuild.run("verify-store").status == 0


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"layer": 1}', b"\xff"])
def test_a_damaged_record_is_no_record(pybuild: Pybuild, junk: bytes) -> None:
    pybuild.add({"d/x": "1"})
    first = pybuild.try_build(TEXT).stdout
    for path in (pybuild.store / "cache").iterdir():
        path.write_bytes(junk)
    ended = pybuild.try_build(TEXT)
    assert (ended.status, ended.stdout) == (0, first)


def test_a_store_of_another_format_is_refused_and_left_alone(pybuild: Pybuild) -> None:
    (pybuild.store / "version").write_text("99\n")
    ended = pybuild.try_build("FROM scratch\n")
    assert ended.status == 5
    assert "format '99'" in ended.stderr
    assert os.listdir(pybuild.store) == ["version"]


def test_two_builds_at_once_share_a_store(anybody: Pybuild) -> None:
    anybody.add({"d/x": "1"})
    text = f"{TEXT}RUN sleep 1; echo 1 > /z\n"
    running = [anybody.start(text, "-o", f"{n}.tar") for n in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0], anybody.log
    contents = {(anybody.work / f"{n}.tar").read_bytes() for n in range(3)}
    assert len(contents) == 1
    assert os.listdir(anybody.store / "tmp") == []
