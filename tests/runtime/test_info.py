"""`pyrun info`: what is possible here, and how an image will be started."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Caller, Result, busybox_layer, make_image

Pyrun = Callable[..., Result]


@pytest.fixture
def archive(public: Path) -> Path:
    """An archive that nobody has started."""
    path = make_image(public / "image.tar", [busybox_layer()], {"Cmd": ["true"]})
    time.sleep(0.1)  # what was written just now is not remembered
    return path


def _facts(pyrun: Pyrun, *words: str | Path) -> dict[str, Any]:
    ended = pyrun("info", "--format=json", *words)
    assert (ended.status, ended.stderr) == (0, "")
    facts: dict[str, Any] = json.loads(ended.stdout)
    return facts


def test_the_machine_is_said_to_be_able_to_do_what_a_start_does(
    pyrun: Pyrun, archive: Path, store: Path, caller: Caller
) -> None:
    facts = _facts(pyrun)
    assert facts["store"] == os.path.realpath(store)
    assert facts["caller"].startswith("root" if caller.is_root else f"user {caller.uid}, ")
    assert pyrun(archive).status == 0
    unpacked = len(os.listdir(store / "layers"))
    expected = "unpacked into the store" if unpacked else "mounted in place"
    assert facts["rootFilesystem"] == expected
    if not caller.is_root:
        assert facts["reason"] == "only root outside of user namespaces may mount it"


def test_what_is_said_of_an_image_is_what_its_start_does(
    pyrun: Pyrun, archive: Path, store: Path
) -> None:
    before = _facts(pyrun, archive)
    assert before["digests"] == "verified at the next start"
    assert (before["layers"], before["image"]) == (1, str(archive))
    assert os.listdir(store / "layers") == [], "nothing is done"
    assert pyrun(archive).status == 0
    unpacked = len(os.listdir(store / "layers"))
    after = _facts(pyrun, archive)
    assert before["rootFilesystem"] == after["rootFilesystem"]
    assert before["rootFilesystem"].startswith("unpacked" if unpacked else "mounted")
    assert after["digests"] == "verified, or written here"
    if not unpacked:
        assert before["index"] == "made at the next start"
        path, _, size = after["index"].removesuffix(" bytes").rpartition(", ")
        assert os.stat(path).st_size == int(size)


@pytest.mark.needs_root
class TestAsRoot:
    """Where an image could be mounted in place."""

    @pytest.fixture
    def caller(self) -> Caller:
        """Root."""
        return Caller("root", 0, 0, "/root")

    def test_what_the_caller_asks_for_is_the_reason(self, pyrun: Pyrun, archive: Path) -> None:
        facts = _facts(pyrun, "--rootfs=unpack", archive)
        assert (facts["rootFilesystem"], facts["reason"]) == (
            "unpacked into the store",
            "--rootfs=unpack",
        )

    def test_memory_is_named_where_it_is_asked_for(self, pyrun: Pyrun, archive: Path) -> None:
        facts = _facts(pyrun, "--rootfs=tmpfs", archive)
        assert facts["rootFilesystem"] == "unpacked to memory"

    def test_what_is_remembered_of_this_machines_image_is_not_said_of_another_platforms(
        self, pyrun: Pyrun, archive: Path
    ) -> None:
        assert pyrun(archive).status == 0
        here = _facts(pyrun, archive)
        asked = _facts(pyrun, f"--platform={here['platform']}", archive)
        assert here["index"] != "made at the next start" == asked["index"]

    def test_layers_that_are_unpacked_are_the_reason(self, pyrun: Pyrun, archive: Path) -> None:
        assert pyrun("--rootfs=unpack", archive).status == 0
        facts = _facts(pyrun, archive)
        assert facts["reason"] == "its layers are in the store, unpacked"


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_a_start_that_would_fail_is_said_to(pyrun: Pyrun, archive: Path) -> None:
    facts = _facts(pyrun, "--rootfs=inplace", archive)
    assert facts["rootFilesystem"] == "none: it cannot be mounted in place"
    assert facts["reason"] in pyrun("--rootfs=inplace", archive).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "nothing: no such file, and no image of that name"),
        (("a", "b"), "one image, or none"),
        (("--format=yaml",), "--format yaml: text or json"),
        (("--rootfs=x",), "--rootfs x: auto, inplace, unpack or tmpfs"),
        (("--privileged",), "unknown option --privileged"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_error(
    pyrun: Pyrun, words: tuple[str, ...], message: str
) -> None:
    ended = pyrun("info", *words)
    assert (ended.status, ended.stdout) == (125, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_text_has_one_line_for_each_fact(pyrun: Pyrun, archive: Path) -> None:
    lines = pyrun("info", archive).stdout.splitlines()
    assert len(lines) == len(_facts(pyrun, archive))
    assert lines[0].split() == ["image", str(archive)]
