"""What a job of GitHub Actions gets: annotations, outputs of the step, a summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.buildkit.support import Image, Pybuild

TEXT = "FROM scratch\nCOPY f /\n"


@pytest.fixture
def job(pybuild: Pybuild) -> dict[str, str]:
    """The variables of a job whose repository is the context."""
    pybuild.add({"f": ""})
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    files = {name: str(pybuild.work / name) for name in names}
    return {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(pybuild.context), **files}


def _annotations(pybuild: Pybuild, text: str, job: dict[str, str]) -> list[str]:
    ended = pybuild.try_build(text, env=job)
    assert ended.status in (1, 2)
    return [line for line in ended.stderr.splitlines() if line.startswith("::")]


def test_an_error_is_shown_beside_its_line(pybuild: Pybuild, job: dict[str, str]) -> None:
    [said] = _annotations(pybuild, "FROM scratch\nCOPY none,100% /\n", job)
    assert said.startswith("::error file=Containerfile,line=2,col=6,endLine=2,endColumn=15,")
    assert ",title=pybuild::none,100%25: not found in the context" in said


def test_each_fault_of_a_file_is_shown(pybuild: Pybuild, job: dict[str, str]) -> None:
    said = _annotations(pybuild, "FROM scratch\nFROB x\nCOPY\n", job)
    assert [line.split(",")[1] for line in said] == ["line=2", "line=3"]


def test_a_hint_is_a_line_of_the_annotation(pybuild: Pybuild, job: dict[str, str]) -> None:
    [said] = _annotations(pybuild, "FROM scratch\nBOOTSTRAP x\n", job)
    assert "%0Ahint: " in said


def test_an_error_without_a_place_is_the_jobs(pybuild: Pybuild, job: dict[str, str]) -> None:
    ended = pybuild.try_build(TEXT, "--target", "none", "--jobs", "no", env=job)
    assert "\n::error title=pybuild::" in ended.stderr


def test_targets_are_in_one_output_and_one_summary(pybuild: Pybuild, job: dict[str, str]) -> None:
    pybuild.write(TEXT)
    target = {"context": str(pybuild.context), "tags": ["one"]}
    definition = {"target": {"default": target | {"labels": {"a": "b"}}}}
    (pybuild.work / "docker-bake.json").write_text(json.dumps(definition))
    ended = pybuild.run("bake", "--metadata-file=metadata", env=job)
    assert ended.status == 0, ended.stderr
    name, _, value = Path(job["GITHUB_OUTPUT"]).read_text().rstrip("\n").partition("=")
    assert name == "metadata"
    assert json.loads(value) == json.loads((pybuild.work / "metadata").read_text())
    digest = json.loads(value)["default"]["containerimage.digest"]
    assert f"| default | `{digest}` |" in Path(job["GITHUB_STEP_SUMMARY"]).read_text()


@pytest.mark.parametrize("value", ["", "false"])
def test_elsewhere_there_are_none(pybuild: Pybuild, job: dict[str, str], value: str) -> None:
    assert _annotations(pybuild, "FROB\n", job | {"GITHUB_ACTIONS": value}) == []


def test_the_step_has_outputs_built_or_found(pybuild: Pybuild, job: dict[str, str]) -> None:
    for _ in range(2):
        image = pybuild.build(TEXT, "-t", "one", "-o", "image.tar", env=job)
        output, summary = Path(job["GITHUB_OUTPUT"]), Path(job["GITHUB_STEP_SUMMARY"])
        digest, id = image.descriptor["digest"], image.manifest["config"]["digest"]
        assert output.read_text() == f"digest={digest}\nimageid={id}\n"
        assert f"| name | `one` |\n| digest | `{digest}` |\n" in summary.read_text()
        output.unlink()
        summary.unlink()


def test_what_is_there_already_stays(pybuild: Pybuild, job: dict[str, str]) -> None:
    Path(job["GITHUB_OUTPUT"]).write_text("other=1\n")
    pybuild.build(TEXT, env=job)
    assert Path(job["GITHUB_OUTPUT"]).read_text().startswith("other=1\ndigest=sha256:")


def test_a_file_that_cannot_be_written_is_status_5(pybuild: Pybuild, job: dict[str, str]) -> None:
    ended = pybuild.try_build(TEXT, env=job | {"GITHUB_OUTPUT": "/proc/none"})
    assert ended.status == 5
    assert "GITHUB_OUTPUT=/proc/none: No such file" in ended.stderr
    assert Image(pybuild.output).descriptor["digest"]
