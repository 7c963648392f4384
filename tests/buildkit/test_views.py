"""`--check` and `--call`: what can be known of a Containerfile without building it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_FINDING = "FROM scratch\nMAINTAINER me\nCOPY a /\n"


def _call(path: Path, *arguments: str, text: str = _FINDING) -> subprocess.CompletedProcess[str]:
    (path / "Containerfile").write_text(text)
    # A store that nobody could make: no view needs one.
    environment = os.environ | {"PYBUILD_ROOT": "/proc/nowhere"}
    return subprocess.run(
        [sys.executable, "-m", "buildkit", *arguments],
        cwd=path,
        env=environment | {"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_findings_end_with_status_3(tmp_path: Path) -> None:
    done = _call(tmp_path, "--check")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("Containerfile:2:1: ")
    assert "rule: MaintainerDeprecated" in done.stdout


def test_a_file_without_findings_ends_with_status_0(tmp_path: Path) -> None:
    done = _call(tmp_path, "--check", text="FROM scratch\nCOPY a /\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_findings_are_json_for_machines(tmp_path: Path, form: str) -> None:
    assert "MaintainerDeprecated" in json.dumps(
        json.loads(_call(tmp_path, "--check", "--format", form).stdout)
    )


def test_a_file_that_does_not_parse_is_json_for_who_reads_findings(tmp_path: Path) -> None:
    done = _call(tmp_path, "--check", "--format=json", text="FROM scratch\nFOO\n")
    assert done.returncode == 2
    assert "FOO" in json.loads(done.stdout)["buildError"]["message"]


def test_findings_are_annotations_for_github(tmp_path: Path) -> None:
    done = _call(tmp_path, "--check", "--format=github")
    assert done.stdout.startswith("::warning file=Containerfile,line=2,col=1,")


def test_a_skipped_rule_finds_nothing(tmp_path: Path) -> None:
    text = f"# check=skip=MaintainerDeprecated\n{_FINDING}"
    assert _call(tmp_path, "--check", text=text).returncode == 0


def test_an_ignore_file_is_known_to_the_linter(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a\n")
    assert "CopyIgnoredFile" in _call(tmp_path, "--check").stdout


def test_an_outline_lists_the_arguments(tmp_path: Path) -> None:
    text = "# VERSION of it\nARG VERSION=1\nFROM scratch AS base\nARG VERSION\n"
    done = _call(tmp_path, "--call=outline", "--format=json", text=text)
    assert [(a["name"], a["value"]) for a in json.loads(done.stdout)["args"]] == [("VERSION", "1")]


def test_targets_are_listed_with_their_bases(tmp_path: Path) -> None:
    text = "FROM scratch AS one\nFROM one AS two\n"
    done = _call(tmp_path, "--call=targets", text=text)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["one", "two"]


def test_a_word_is_expanded_without_a_file(tmp_path: Path) -> None:
    done = _call(tmp_path, "--call", "expand", "${a:-x}$b", "b=3")
    assert (done.returncode, done.stdout) == (0, "x3\n")


def test_an_error_is_json_for_machines(tmp_path: Path) -> None:
    done = _call(tmp_path, "--error-format=json", "--call=ast", text="FROM scratch\nFOO\nBAR\n")
    assert done.returncode == 2
    places = [(e["code"], e["line"], e["column"]) for e in json.loads(done.stderr)]
    assert places == [("unknown-instruction", 2, 1), ("unknown-instruction", 3, 1)]


def test_a_format_that_a_view_does_not_have_is_refused(tmp_path: Path) -> None:
    done = _call(tmp_path, "--call=outline", "--format=sarif")
    assert done.returncode == 2
    assert "--format 'sarif'" in done.stderr
