"""pybuild verify-reproducible."""

from __future__ import annotations

import os

import pytest

from tests.buildkit.support import SHELL, Pybuild

RANDOM = "head -c 8 /dev/urandom"


def test_a_build_that_is_the_same_twice_is_said_to_be(anybody: Pybuild) -> None:
    anybody.add({"d/f": "1"})
    text = f"{SHELL}COPY d /d\nRUN date > /dev/null; cp -r /d /e\n"
    ended = anybody.try_build(text, "--label=a=1", "--squash")
    (anybody.work / "image.tar").unlink()
    verified = anybody.run("verify-reproducible", "--label=a=1", "--squash", anybody.context)
    assert verified.status == 0, verified.stderr
    assert verified.stdout == ended.stdout
    assert "CACHED" not in verified.stderr
    assert os.listdir(anybody.work) == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"echo same > /a; (printf 12345; {RANDOM}) > /b", ": b: byte "),
        (f"touch /x$({RANDOM} | md5sum | cut -c1-8)", " build only"),
        (
            "mkdir /d && ln -s $(head -c 8 /dev/urandom | md5sum | cut -c1-8) /d/l",
            ": d/l: link is ",
        ),
        (f"(cat /bin/busybox; {RANDOM}) > /big", ": big: byte "),
    ],
)
def test_the_first_difference_is_named(anybody: Pybuild, command: str, expected: str) -> None:
    anybody.write(f"{SHELL}RUN touch /w\nRUN {command}\n")
    ended = anybody.run("verify-reproducible", anybody.context)
    assert ended.status == 1, ended.stderr
    assert "not reproducible: layer 4 (RUN /bin/sh -c " in ended.stderr
    assert expected in ended.stderr


def test_a_step_that_fails_is_an_error_as_in_a_build(pybuild: Pybuild) -> None:
    pybuild.write(f"{SHELL}RUN false\n")
    ended = pybuild.run("verify-reproducible", pybuild.context)
    assert ended.status == 1
    assert "Containerfile:4:1: exited with status 1" in ended.stderr
