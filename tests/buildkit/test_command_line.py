"""`pybuild`'s options, what it prints, and the exit statuses of its help."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from buildkit.command_line import build_arguments, parse_command_line
from buildkit.errors import UsageError
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import run_pyrun

SIMPLE = "FROM scratch\nCOPY a /\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "F", "-o", "O", "-t", "n", "C"],
        ["--file=F", "--output=O", "--tag=n", "C"],
        ["-fF", "-oO", "-tn", "C"],
        ["C", "-f", "F", "-o", "O", "-t", "n"],
        ["build", "-f", "F", "-o", "O", "-t", "n", "C"],
    ],
)
def test_options_may_stand_as_docker_lets_them(arguments: list[str]) -> None:
    line = parse_command_line(arguments)
    assert (line.file, line.outputs, line.tags, line.context) == ("F", ("O",), ("n",), "C")


def test_a_build_argument_without_a_value_is_the_callers_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HERE", "1")
    monkeypatch.delenv("ABSENT", raising=False)
    found = build_arguments(("HERE", "ABSENT", "a=b=c", "empty=", "a=last"))
    assert found == {"HERE": "1", "a": "last", "empty": ""}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["-f"],
        ["a", "b"],
        ["--call", "lint"],
        ["--no-cache=maybe"],
        ["-t", ""],
        ["-t", "Upper"],
        ["-t", "a:"],
        ["-t", "a b"],
        ["-t", "/"],
    ],
)
def test_what_is_no_command_line_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_command_line(arguments)


@pytest.mark.parametrize("name", ["a", "a:1.0", "x/y:z", "localhost:5000/a", "r.io/a/b-c_d:V1"])
def test_names_with_registry_path_and_tag_are_taken(name: str) -> None:
    assert parse_command_line(["-t", name]).tags == (name,)


def test_help_names_every_option_and_exit_status(pybuild: Pybuild) -> None:
    ended = pybuild.run("--help")
    assert ended.status == 0
    for word in ("--file", "--tag", "--build-arg", "--no-cache", "Exit status", "128+N"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "--nonsense"),
        (["/nowhere"], "context /nowhere: not a directory"),
        (["-f", "/nowhere"], "/nowhere: no such file"),
        (["-f", "/"], "/: "),
        (["--build-arg", "=x", "."], "--build-arg '=x'"),
    ],
)
def test_a_wrong_command_line_is_status_2_and_one_message(
    pybuild: Pybuild, arguments: list[str], message: str
) -> None:
    (pybuild.work / "Containerfile").write_text(SIMPLE)
    ended = pybuild.run(*arguments)
    assert ended.status == 2
    assert ended.stderr.startswith("pybuild: ")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_containerfile_is_status_2_with_all_its_errors(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\nRUM x\nCOPY a\n")
    assert ended.status == 2
    assert "Containerfile:2:1: unknown instruction 'RUM'" in ended.stderr
    assert "Containerfile:3:" in ended.stderr
    assert set(pybuild.store_files()) <= {"version", "known/sandbox"}


def test_what_the_plan_finds_is_status_2_and_nothing_was_built(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build("FROM scratch\nCOPY a /\nRUN --device=vendor/class=x y\n")
    assert ended.status == 2
    assert "Containerfile:3:" in ended.stderr
    assert "not supported" in ended.stderr
    assert "COPY" not in ended.stderr


@pytest.mark.parametrize("epoch", ["soon", "-1", "1.5", "99999999999999999999"])
def test_a_senseless_source_date_epoch_is_status_2(pybuild: Pybuild, epoch: str) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build(SIMPLE, env={"SOURCE_DATE_EPOCH": epoch})
    assert ended.status == 2
    assert ended.stderr.startswith("pybuild: SOURCE_DATE_EPOCH")


# --- Where the Containerfile is


def test_the_containerfile_may_come_from_standard_input(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.run("-f", "-", pybuild.context, stdin=SIMPLE.encode())
    assert ended.status == 0, ended.stderr
    assert list(Image(pybuild.output).files) == ["a"]


def test_an_error_in_standard_input_says_so(pybuild: Pybuild) -> None:
    ended = pybuild.run("-f", "-", pybuild.context, stdin=b"RUM x")
    assert "<stdin>:1:1:" in ended.stderr


def test_a_dockerfile_is_taken_where_there_is_no_containerfile(pybuild: Pybuild) -> None:
    pybuild.add({"a": "", "b": "", "Dockerfile": "FROM scratch\nCOPY b /\n"})
    assert pybuild.run(pybuild.context).status == 0
    assert list(Image(pybuild.output).files) == ["b"]
    assert list(pybuild.build(SIMPLE).files) == ["a"]


def test_file_is_relative_to_the_working_directory_and_the_context_is_the_default(
    pybuild: Pybuild,
) -> None:
    (pybuild.work / "a").touch()
    (pybuild.work / "F").write_text(SIMPLE)
    assert pybuild.run("-f", "F").status == 0
    assert list(Image(pybuild.output).files) == ["a"]


@pytest.mark.parametrize(("call", "start"), [("ast", "{"), ("sexpr", "(")])
def test_call_prints_what_was_parsed_and_builds_nothing(
    pybuild: Pybuild, call: str, start: str
) -> None:
    ended = pybuild.try_build(SIMPLE, "--call", call)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith(start)
    assert os.listdir(pybuild.store) == os.listdir(pybuild.work) == []


def test_call_ast_is_json(pybuild: Pybuild) -> None:
    document = json.loads(pybuild.try_build(SIMPLE, "--call=ast").stdout)
    assert len(document["stages"]) == 1


# --- What comes out


def test_standard_output_is_the_digest_of_the_manifest(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build(SIMPLE)
    assert ended.stdout == Image(pybuild.output).descriptor["digest"] + "\n"


def test_quiet_prints_the_digest_and_nothing_else(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build(SIMPLE, "-q")
    assert ended.stderr == ""
    assert ended.stdout.startswith("sha256:")


def test_quiet_still_shows_the_log_of_a_step_that_fails(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN echo why && exit 3\n", "-q")
    assert ended.status == 1
    assert " > why\n" in ended.stderr
    assert "exited with status 3" in ended.stderr
    assert "#1" not in ended.stderr


def test_iidfile_holds_the_digest_of_the_configuration(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    image = pybuild.build(SIMPLE, "--iidfile", "id")
    assert (pybuild.work / "id").read_text() == image.manifest["config"]["digest"]


def test_a_digest_file_holds_the_digest_of_the_manifest(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    for _ in range(2):  # built, and found
        image = pybuild.build(SIMPLE, "--digest-file", "digest")
        file = pybuild.work / "digest"
        assert file.read_text() == image.descriptor["digest"]
        file.unlink()


def test_an_iidfile_that_cannot_be_written_is_status_5(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build(SIMPLE, "--iidfile", "/proc/nowhere/id")
    assert ended.status == 5
    assert "Traceback" not in ended.stderr


def test_a_name_alone_writes_no_archive_and_can_be_run_and_built_on(anybody: Pybuild) -> None:
    ended = anybody.try_build(f"{SHELL}RUN echo 1 > /a\n", "-t", "x/base:1", "-t", "other")
    assert ended.status == 0, ended.stderr
    assert not anybody.output.exists()
    image = anybody.build("FROM x/base:1\nRUN echo 2 >> /a\n")
    assert image.read("a") == b"1\n2\n"
    ran = run_pyrun("other", "cat", "/a", store=anybody.store, caller=anybody.caller)
    assert (ran.status, ran.stdout) == (0, "1\n")


def test_a_name_is_written_into_the_archive_too(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    image = pybuild.build(SIMPLE, "-t", "me/app:v1", "-t", "second", "-o", "image.tar")
    assert image.docker[0]["RepoTags"] == ["me/app:v1", "second:latest"]
    assert image.descriptor["annotations"] == {
        "io.containerd.image.name": "docker.io/me/app:v1",
        "org.opencontainers.image.ref.name": "v1",
    }


def test_the_same_name_can_be_given_to_another_image(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    for _ in range(2):
        assert pybuild.try_build(SIMPLE, "-t", "n").status == 0
    pybuild.add({"a": "2"})
    assert pybuild.try_build(SIMPLE, "-t", "n").status == 0
    assert pybuild.build("FROM n\n").read("a") == b"2"


def test_a_relative_store_is_below_the_working_directory(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    assert pybuild.try_build(SIMPLE, "--root", "mine").status == 0
    assert (pybuild.work / "mine/version").exists()
    assert os.listdir(pybuild.store) == []


def test_the_store_is_closed_to_others(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    pybuild.try_build(SIMPLE, "--root", pybuild.work / "new")
    assert os.stat(pybuild.work / "new").st_mode & 0o777 == 0o700


def test_an_output_that_is_a_symlink_is_not_followed_out_of_its_directory(
    pybuild: Pybuild, tmp_path: Path
) -> None:
    pybuild.add({"a": ""})
    (tmp_path / "precious").write_text("mine")
    pybuild.output.symlink_to(tmp_path / "precious")
    pybuild.build(SIMPLE)
    assert (tmp_path / "precious").read_text() == "mine"
