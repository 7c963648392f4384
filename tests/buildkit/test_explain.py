"""--explain and --no-cache-filter."""

from __future__ import annotations

import json

import pytest

from buildkit.explain import first_difference
from tests.buildkit.support import SHELL, Pybuild

TEXT = """\
FROM scratch AS a
COPY d /d
ARG v=1
WORKDIR /w$v
FROM scratch AS b
COPY e /e
FROM a
COPY --from=b e /
"""


def _said(pybuild: Pybuild, text: str, *arguments: str) -> dict[str, str]:
    """What is said of each step, by what it is called: why it was done, else CACHED."""
    ended = pybuild.try_build(text, "--explain", "--jobs=1", *arguments)
    assert ended.status == 0, ended.stderr
    titles: dict[str, str] = {}
    said: dict[str, str] = {}
    for line in ended.stderr.splitlines():
        number, _, rest = line.partition(" ")
        if rest.startswith("["):
            titles[number] = rest.partition("] ")[2]
        elif rest.startswith("MISS "):
            said[titles[number]] = rest.removeprefix("MISS ")
        elif rest == "CACHED":
            said[titles[number]] = rest
    return said


@pytest.fixture
def built(anybody: Pybuild) -> Pybuild:
    """A build that was done once."""
    anybody.add({"d/f": "1", "d/g": "1", "e": "1"})
    anybody.build(TEXT)
    return anybody


def test_a_first_build_says_that_nothing_was_done_before(anybody: Pybuild) -> None:
    anybody.add({"d/f": "1", "e": "1"})
    assert set(_said(anybody, TEXT).values()) == {"it was never done before"}
    assert set(_said(anybody, TEXT).values()) == {"CACHED"}


def test_the_file_that_changed_is_named(built: Pybuild) -> None:
    built.add({"e": "2"})
    said = _said(built, TEXT)
    assert said.pop("COPY --from=b e /").startswith("what it copies from: sha256:")
    assert said == {
        "COPY d /d": "CACHED",
        "WORKDIR /w$v": "CACHED",
        "COPY e /e": "source: e: its content is another one",
    }


@pytest.mark.parametrize(
    ("change", "step", "why"),
    [
        (("/w$v", "/x$v"), "WORKDIR /x$v", "path: /w1, now /x1"),
        (("COPY d /d", "COPY d /dd"), "COPY d /dd", "destination: /d, now /dd"),
        (("COPY d /d", "COPY d e /d/"), "COPY d e /d/", "destination: /d, now /d/"),
        (("COPY d", "COPY --chmod=1 d"), "COPY --chmod=1 d /d", "chmod: None, now "),
    ],
)
def test_the_part_that_changed_is_named(
    built: Pybuild, change: tuple[str, str], step: str, why: str
) -> None:
    said = _said(built, TEXT.replace(*change))
    assert said[step].startswith(why)
    assert said["COPY e /e"] == "CACHED"


def test_a_build_argument_is_named_and_what_it_does_not_touch_is_cached(built: Pybuild) -> None:
    said = _said(built, TEXT, "--build-arg=v=2")
    assert said["WORKDIR /w$v"] == "path: /w1, now /w2"
    assert said["COPY d /d"] == "CACHED"
    assert said["COPY --from=b e /"].startswith("what lies below: sha256:")


def test_a_variable_of_a_run_is_named(anybody: Pybuild) -> None:
    text = f"{SHELL}ENV a=1 b=2\nRUN true\n"
    anybody.build(text)
    said = _said(anybody, text.replace("b=2", "b=3"))
    assert said["RUN true"] == "variable: b=2, now b=3"
    said = _said(anybody, text.replace("b=2", "b=3 c=4"))
    assert said["RUN true"] == "variable: c=4 is new"


def test_a_result_that_is_gone_is_said_to_be(built: Pybuild) -> None:
    for path in (built.store / "blobs" / "sha256").iterdir():
        if path.stat().st_size > 2000 or path.read_bytes()[:1] != b"{":
            path.unlink()
    assert _said(built, TEXT)["COPY e /e"] == "its result is no longer in the store"
    for path in (built.store / "cache").iterdir():
        if len(path.name) == 64:
            path.unlink()
    built.add({"e": "2"})
    why = "what the last build made of it is no longer in the store"
    assert _said(built, TEXT)["COPY e /e"] == why


def test_a_broken_note_of_the_last_build_is_as_none(built: Pybuild) -> None:
    [note] = (built.store / "cache").glob("steps-*")
    note.write_text(json.dumps([1]))
    built.add({"e": "2"})
    assert _said(built, TEXT)["COPY e /e"] == "it was never done before"


@pytest.mark.parametrize("stages", ["a", "A", "0", "0,a"])
def test_the_stages_of_a_filter_are_done_anew(built: Pybuild, stages: str) -> None:
    said = _said(built, TEXT, f"--no-cache-filter={stages}")
    anew = "the cache is not to be used"
    assert (said["COPY d /d"], said["WORKDIR /w$v"]) == (anew, anew)
    assert said["COPY e /e"] == "CACHED"


def test_a_filter_for_no_stage_is_an_error(pybuild: Pybuild) -> None:
    pybuild.add({"d/f": "1", "e": "1"})
    ended = pybuild.try_build(TEXT, "--no-cache-filter=c")
    assert ended.status == 2
    assert "--no-cache-filter 'c': no such stage" in ended.stderr
    assert "stages: 0, 1, 2, a, b" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({"a": 1}, {"a": 1}, "the format of the cache is another one"),
        ({"parent": "x", "a": 1}, {"parent": "y", "a": 2}, "a: 1, now 2"),
        ({"sources": [[["f", "0" * 64]]]}, {"sources": [[]]}, "source: f is gone"),
        (
            {"sources": [[["g", "0" * 64]]]},
            {"sources": [[["f", "1" * 64], ["g", "0" * 64]]]},
            "source: f is new",
        ),
        ({"args": ["a", "b"]}, {"args": ["a"]}, "command: b is gone"),
        ({"args": ["x" * 99]}, {"args": ["y"]}, f"command: {'x' * 59}…, now y"),
        ({}, {"network": "none"}, "network: null, now none"),
    ],
)
def test_the_first_difference_of_two_keys(
    old: dict[str, object], new: dict[str, object], why: str
) -> None:
    assert first_difference(old, new) == why
