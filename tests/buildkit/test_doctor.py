"""pybuild doctor: what is possible here, by attempts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Pybuild, mounts, processes


def _found(pybuild: Pybuild, *arguments: str, status: int = 0, **env: str) -> dict[str, list[str]]:
    ended = pybuild.run("doctor", "--format=json", *arguments, env=env)
    assert (ended.status, ended.stderr) == (status, ""), ended.stderr
    rows = json.loads(ended.stdout)
    return {row["what"]: [row["state"], row["said"], row.get("hint", "")] for row in rows}


@pytest.mark.needs_program("dnf", "rpm", "apt-get", "mmdebstrap", "git", "ssh-agent")
def test_root_may_do_everything_but_run_foreign_programs(as_root: Pybuild) -> None:
    found = _found(as_root)
    states = {what: state for what, (state, *_) in found.items() if what != "platforms"}
    assert set(states.values()) == {"ok"}
    assert found["user"][1] == "root"
    assert found["RUN"][1] == "in namespaces of its own"


def test_what_it_says_of_steps_is_what_a_build_does(anybody: Pybuild) -> None:
    state, said, _ = _found(anybody)["RUN"]
    ended = anybody.try_build(f"{SHELL}RUN test -e /proc/self\n")
    assert (state == "ok") == (ended.status == 0)
    assert ("by chroot only" in said) == ("steps run by chroot only" in ended.stderr)


def test_nothing_is_left(anybody: Pybuild) -> None:
    _found(anybody)
    assert os.listdir(anybody.store / "tmp") == []
    assert mounts(anybody.directory) == []
    assert processes(anybody.directory) == []


@pytest.mark.needs_userns
def test_a_single_id_is_less_and_has_a_hint(as_lone_user: Pybuild) -> None:
    found = _found(as_lone_user)
    assert found["owners of files"][0] == "less"
    assert found["user"][0] == "less"
    assert "usermod --add-subuids" in found["user"][2]


def test_missing_programs_are_named_with_their_packages(pybuild: Pybuild, tmp_path: Path) -> None:
    found = _found(pybuild, PATH=str(tmp_path))
    expected = {
        "BOOTSTRAP": "rpm",
        "BOOTSTRAP --manager=apt": "apt-get install apt",
        "ADD of git repositories": "apt-get install git",
        "--ssh with a key": "apt-get install openssh-client",
    }
    for what, hint in expected.items():
        assert found[what][0] == "missing"
        assert hint in found[what][2]


@pytest.mark.needs_program("rpm")
def test_rpm_alone_is_enough_for_what_is_locked(pybuild: Pybuild, tmp_path: Path) -> None:
    (tmp_path / "rpm").symlink_to("/usr/bin/rpm")
    state, said, _ = _found(pybuild, PATH=str(tmp_path))["BOOTSTRAP"]
    assert (state, said[:9]) == ("less", "rpm alone")


def test_certificates_that_are_no_file_are_named(pybuild: Pybuild) -> None:
    state, said, _ = _found(pybuild, SSL_CERT_FILE="/no/ca.pem", https_proxy="http://p")["servers"]
    assert state == "missing"
    assert said == "by https_proxy; certificates of /no/ca.pem, which is no file"


def test_a_store_that_cannot_be_is_status_5(anybody: Pybuild) -> None:
    (anybody.context / "file").write_text("")
    found = _found(anybody, "--root", str(anybody.context / "file/store"), status=5)
    assert found["store"][0] == "missing"


def test_a_list_for_people_has_a_line_for_each(pybuild: Pybuild) -> None:
    ended = pybuild.run("doctor")
    assert (ended.status, ended.stderr) == (0, "")
    lines = [line for line in ended.stdout.splitlines() if not line.startswith(" ")]
    assert len(lines) == len(_found(pybuild))
    assert {line.split()[0] for line in lines} <= {"ok", "less", "missing"}


@pytest.mark.parametrize("words", [["here"], ["--format=xml"], ["--quiet"]])
def test_a_wrong_command_is_status_2(pybuild: Pybuild, words: list[str]) -> None:
    ended = pybuild.run("doctor", *words)
    assert (ended.status, ended.stdout) == (2, "")
