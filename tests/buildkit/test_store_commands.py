"""pybuild du, prune, reset, verify-store, cache."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import Result, command, run

TEXT = f"{SHELL}COPY f /\nRUN cat /f > /g\nRUN cat /g > /h\n"
COUNT = "RUN --mount=type=cache,id=%s,target=/c echo x >> /c/n; wc -l < /c/n > /n\n"
DAY_S = 86400


@pytest.fixture
def built(anybody: Pybuild) -> Pybuild:
    """A named image, and one that is in an archive only."""
    anybody.add({"f": "1"})
    anybody.build(TEXT, "-t", "kept", "-o", "image.tar")
    anybody.add({"f": "2"})
    anybody.build(TEXT)
    return anybody


def _use(pybuild: Pybuild) -> dict[str, dict[str, int]]:
    ended = pybuild.run("du", "--format=json")
    assert ended.status == 0, ended.stderr
    rows = json.loads(ended.stdout)["use"]
    return {row.pop("type"): row for row in rows}


def _pyrun(pybuild: Pybuild, image: str | Path, *argv: str) -> Result:
    program = [*command("pyrun"), f"--root={pybuild.store}", image, *argv]
    return run(program, caller=pybuild.caller, env=pybuild.environment())


def _whole(pybuild: Pybuild) -> None:
    ended = pybuild.run("verify-store")
    assert ended.status == 0, ended.stderr


# --- du, prune


def test_du_says_what_is_there_and_what_could_go(built: Pybuild) -> None:
    use = _use(built)
    assert use["images"]["size"] > 0
    assert use["images"]["reclaimable"] == 0
    assert use["build cache"]["reclaimable"] == use["build cache"]["size"] > 0
    table = built.run("du").stdout.splitlines()
    assert table[0].split() == ["TYPE", "COUNT", "SIZE", "RECLAIMABLE"]


def test_prune_all_keeps_what_has_a_name(built: Pybuild) -> None:
    assert built.run("prune", "--all").status == 0
    use = _use(built)
    assert sum(row["reclaimable"] for row in use.values()) == 0
    _whole(built)
    image = built.build("FROM kept\nRUN cat /h > /i\n")
    assert image.read("i") == b"1"
    assert built.build(TEXT).read("h") == b"2"
    _whole(built)


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_an_image_that_was_started_is_started_again_after_a_prune(built: Pybuild) -> None:
    for _ in range(2):
        for image, content in ((built.output, "2"), ("kept", "1")):
            ended = _pyrun(built, image, "cat", "/h")
            assert (ended.status, ended.stdout) == (0, content), ended.stderr
        assert built.run("prune", "--all").status == 0


def _age(store: Path, days: float) -> None:
    """Let everything in a store be older."""
    then = time.time() - days * DAY_S
    for folder in ("cache", "blobs/sha256", "layers", "mounts", "downloads"):
        for path in (store / folder).iterdir():
            os.utime(path, (then, then))
            if (path / "about").exists():
                os.utime(path / "about", (then, then))


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_what_starts_have_found_goes_with_a_prune_unless_a_name_needs_it(
    built: Pybuild,
) -> None:
    time.sleep(0.1)  # what was changed just now is not remembered
    for image in ("kept", built.output):
        assert _pyrun(built, image, "true").status == 0
    known = built.store / "known"
    before = set(os.listdir(known))
    assert _use(built)["records of starts"]["count"] == len(before)
    assert built.run("prune", "--all").status == 0
    left = set(os.listdir(known))
    archive = built.output.stat()
    name = (built.store / "images/kept:latest").stat()
    assert f"{archive.st_dev:x}-{archive.st_ino:x}" in before - left
    assert f"{name.st_dev:x}-{name.st_ino:x}" in left


def test_prune_by_age_removes_what_was_not_used(built: Pybuild) -> None:
    _age(built.store, 3)
    built.add({"f": "3"})
    built.build(TEXT)  # uses the first two steps of the others again
    assert built.run("prune", "--until=48h").status == 0
    assert built.steps(TEXT, "--explain") == ["CACHED"] * 5
    built.add({"f": "2"})
    assert built.steps(TEXT) == ["CACHED"] * 2 + ["DONE"] * 3
    assert Image(built.output).read("h") == b"2"
    assert built.run("prune", "--filter", "until=0s").status == 0


def test_prune_by_size_removes_the_oldest_first(built: Pybuild) -> None:
    total = sum(row["size"] for row in _use(built).values())
    _age(built.store, 3)
    built.add({"f": "3"})
    built.build(TEXT)
    added = sum(row["size"] for row in _use(built).values()) - total
    assert built.run("prune", f"--keep={total}").status == 0
    assert sum(row["size"] for row in _use(built).values()) <= total
    assert added > 0
    assert built.steps(TEXT, "--explain") == ["CACHED"] * 5
    _whole(built)


@pytest.mark.parametrize("share", range(0, 100, 12))
def test_after_any_prune_builds_are_right(pybuild: Pybuild, share: int) -> None:
    pybuild.add({"f": "1"})
    pybuild.build(TEXT)
    total = sum(row["size"] for row in _use(pybuild).values())
    assert pybuild.run("prune", f"--keep={total * share // 100}").status == 0
    _whole(pybuild)
    assert pybuild.build(f"{TEXT}RUN cat /h > /i\n").read("i") == b"1"


def test_a_limit_holds_after_each_build(anybody: Pybuild) -> None:
    limit = {"PYBUILD_STORE_LIMIT": "12m"}
    for number in range(6):
        anybody.add({"f": os.urandom(1_500_000).hex()})
        ended = anybody.try_build("FROM scratch\nCOPY f /\n", env=limit)
        assert ended.status == 0, ended.stderr
        size = sum(row["size"] for row in _use(anybody).values())
        assert size < 12 << 20, number
    _whole(anybody)


def test_a_store_in_use_is_not_pruned(anybody: Pybuild) -> None:
    anybody.add({"f": "1"})
    process = anybody.start(f"{SHELL}RUN sleep 3 && echo 1 > /n\n")
    for _ in range(600):
        if "sleep 3" in anybody.log:
            break
        time.sleep(0.05)
    for words in (["prune", "--all"], ["reset", "--force"], ["cache", "prune"]):
        ended = anybody.run(*words)
        assert ended.status == 5
        assert "in use by process" in ended.stderr
    assert process.wait(60) == 0, anybody.log
    assert anybody.run("prune", "--all").status == 0


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_running_container_keeps_its_store(built: Pybuild) -> None:
    with subprocess.Popen(
        [*command("pyrun"), "-i", f"--root={built.store}", "kept", "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=built.environment(),
        **built.caller.switch,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        ended = built.run("prune", "--all")
        process.communicate(b"\n")
    assert (ended.status, "in use by process" in ended.stderr) == (5, True)
    assert built.run("prune", "--all").status == 0


# --- reset, verify-store


def test_reset_removes_everything_and_the_next_build_works(built: Pybuild) -> None:
    ended = built.run("reset")
    assert (ended.status, "--force" in ended.stderr) == (2, True)
    assert built.run("reset", "--force").status == 0
    assert list(built.store.iterdir()) == []
    assert built.build(TEXT).read("h") == b"2"


@pytest.mark.parametrize("what", ["blob", "record", "image", "layer"])
def test_damage_is_found_and_repaired(built: Pybuild, what: str) -> None:
    store = built.store
    _whole(built)
    if what == "blob":
        biggest = max((store / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
        content = biggest.read_bytes()
        biggest.write_bytes(content[:600] + b"x" + content[601:])
        place, message = biggest, "its bytes have the digest sha256:"
    elif what == "record":
        place = next(path for path in (store / "cache").iterdir() if len(path.name) == 64)
        place.write_text("{}")
        message = "not a record of a step"
    elif what == "image":
        [place] = (store / "images").iterdir()
        manifest = json.loads(place.read_text())["digest"].removeprefix("sha256:")
        (store / "blobs/sha256" / manifest).unlink()
        message = "missing from the store"
    else:
        place = store / "layers" / ("0" * 64)
        place.mkdir()
        message = "it has no files"
    ended = built.run("verify-store")
    assert ended.status == 1
    assert f"{place}: " in ended.stderr
    assert message in ended.stderr
    assert built.run("verify-store", "--repair").status == 0
    ended = built.run("verify-store", "--repair")  # an image may have lost a layer with it
    assert ended.status == 0
    _whole(built)
    assert built.build(TEXT).read("h") == b"2"


# --- cache


def _ids(pybuild: Pybuild) -> dict[str, Any]:
    ended = pybuild.run("cache", "ls", "--format=json")
    assert ended.status == 0, ended.stderr
    return {row["id"]: row for row in json.loads(ended.stdout)}


def test_cache_mounts_are_listed_and_pruned_by_id(anybody: Pybuild) -> None:
    for id_ in ("one", "two/three"):
        anybody.build(SHELL + COUNT % id_)
    assert set(_ids(anybody)) == {"one", "two/three"}
    assert _ids(anybody)["one"]["size"] > 0
    assert "two/three" in anybody.run("cache", "ls").stdout
    ended = anybody.run("cache", "prune", "none")
    assert ended.status == 1
    assert "there is: one, two/three" in ended.stderr
    assert anybody.run("cache", "prune", "one").status == 0
    assert set(_ids(anybody)) == {"two/three"}
    assert anybody.build(SHELL + COUNT % "one", "--no-cache").read("n") == b"1\n"
    _age(anybody.store, 3)
    anybody.build(SHELL + COUNT % "one", "--no-cache")
    assert anybody.run("cache", "prune", "--until=1d").status == 0
    assert set(_ids(anybody)) == {"one"}


def test_a_cache_is_carried_to_another_store(anybody: Pybuild) -> None:
    anybody.build(SHELL + COUNT % "one")
    assert anybody.run("cache", "export", "one", "one.tar").status == 0
    with tarfile.open(anybody.work / "one.tar") as tar:
        assert {member.name for member in tar if member.isfile()} == {"n"}
    first = (anybody.work / "one.tar").read_bytes()
    assert anybody.run("reset", "--force").status == 0
    assert anybody.run("cache", "import", "one", "one.tar").status == 0
    assert anybody.run("cache", "export", "one", "again.tar").status == 0
    assert (anybody.work / "again.tar").read_bytes() == first
    assert anybody.build(SHELL + COUNT % "one").read("n") == b"2\n"
    (anybody.work / "bad.tar").write_bytes(b"x" * 2048)
    ended = anybody.run("cache", "import", "one", "bad.tar")
    assert ended.status == 1
    assert "the tar: malformed" in ended.stderr
    assert set(_ids(anybody)) == {"one"}


# --- Wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune"], "what is to be removed?"),
        (["prune", "--until=soon"], "an age expected"),
        (["prune", "--filter=label=x"], "until=AGE expected"),
        (["prune", "--keep=much"], "--keep 'much'"),
        (["prune", "--all", "x"], "wrong operands: x"),
        (["du", "--all"], "has no option --all"),
        (["prune", "--force", "--all"], "has no option --force"),
        (["cache", "prune", "--all"], "has no option --all"),
        (["du", "--format=xml"], "text or json"),
        (["cache"], "ls, prune, export or import"),
        (["cache", "drop"], "ls, prune, export or import"),
        (["cache", "export"], "wrong operands: none"),
    ],
)
def test_a_wrong_command_is_refused(pybuild: Pybuild, words: list[str], message: str) -> None:
    ended = pybuild.run(*words)
    assert ended.status == 2
    assert message in ended.stderr


def test_a_wrong_limit_is_refused_before_anything_is_built(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(SHELL, env={"PYBUILD_STORE_LIMIT": "much"})
    assert ended.status == 2
    assert "PYBUILD_STORE_LIMIT 'much'" in ended.stderr
    assert "#1" not in ended.stderr


def test_help_says_what_there_is(pybuild: Pybuild) -> None:
    ended = pybuild.run("prune", "--help")
    assert ended.status == 0
    assert "pybuild cache export ID [FILE]" in ended.stdout
