"""pybuild images, inspect, history, tag, rmi."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from buildkit.human import age_text, size_text
from buildkit.image_tables import filled_in
from tests.buildkit.support import SHELL, Image, Pybuild
from tests.support import Result, run_pyrun

PLATFORMS = "--platform=linux/amd64,linux/arm64"
TEXT = 'FROM scratch\nCOPY f /\nLABEL who="me" a=b\nWORKDIR /w\nCMD ["x"]\n'
SEVERAL = f"{TEXT}LABEL several=yes\n"


@pytest.fixture
def named(anybody: Pybuild) -> Pybuild:
    """Two names of one image, and one of an image for two platforms."""
    anybody.add({"f": "1"})
    anybody.build(TEXT, "-t", "one", "-t", "registry.example:5000/team/two:v3", "-o", "image.tar")
    anybody.build(SEVERAL, PLATFORMS, "-t", "many", "-o", "many.tar")
    return anybody


def _said(pybuild: Pybuild, *arguments: str | Path) -> str:
    ended = pybuild.run(*arguments)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout


def _name(pybuild: Pybuild, text: str, name: str) -> None:
    ended = pybuild.try_build(text, "-t", name)
    assert ended.status == 0, ended.stderr


def _fails(pybuild: Pybuild, status: int, words: str, *arguments: str) -> Result:
    ended = pybuild.run(*arguments)
    assert ended.status == status, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def _listed(pybuild: Pybuild) -> dict[str, dict[str, Any]]:
    rows = json.loads(_said(pybuild, "images", "--format=json"))
    return {row["name"]: row for row in rows}


# --- images


def test_images_are_listed_as_docker_lists_them(named: Pybuild) -> None:
    lines = [line.split("   ") for line in _said(named, "images").splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    id = Image(named.output).manifest["config"]["digest"].removeprefix("sha256:")[:12]
    assert rows[0] == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "PLATFORM"]
    assert [row[:2] for row in rows[1:]] == [
        ["many", "latest"],
        ["one", "latest"],
        ["registry.example:5000/team/two", "v3"],
    ]
    assert rows[2][2] == rows[3][2] == id
    assert rows[1][5] == "linux/amd64, linux/arm64"


def test_a_list_for_machines_has_every_name(named: Pybuild) -> None:
    rows = _listed(named)
    image = Image(named.output)
    id = image.manifest["config"]["digest"]
    assert list(rows) == ["many:latest", "one:latest", "registry.example:5000/team/two:v3"]
    two = rows["registry.example:5000/team/two:v3"]
    assert (two["repository"], two["tag"]) == ("registry.example:5000/team/two", "v3")
    assert (two["id"], two["digest"]) == (id, image.descriptor["digest"])
    assert two["size"] == sum(layer["size"] for layer in image.manifest["layers"])


def test_ids_alone_are_for_scripts_and_each_is_said_once(named: Pybuild) -> None:
    ids = _said(named, "images", "-q", "--no-trunc").split()
    assert len(ids) == len(set(ids)) == 2
    assert _said(named, "images", "-q", "one").split() == [ids[1].removeprefix("sha256:")[:12]]


def test_digests_are_shown_if_asked_for(named: Pybuild) -> None:
    assert Image(named.output).descriptor["digest"] in _said(named, "images", "--digests")


def test_a_name_or_repository_is_picked(named: Pybuild) -> None:
    for word in ("registry.example:5000/team/two", "registry.example:5000/team/two:v3"):
        assert len(_said(named, "images", word).splitlines()) == 2
    assert len(_said(named, "images", "three").splitlines()) == 1


def test_an_empty_store_has_no_images(anybody: Pybuild) -> None:
    assert len(_said(anybody, "images").splitlines()) == 1
    assert json.loads(_said(anybody, "images", "--format=json")) == []


def test_who_stops_reading_is_no_error(named: Pybuild) -> None:
    with subprocess.Popen(
        [*named.command, "images"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=named.environment(),
        cwd=named.work,
        **named.caller.switch,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


# --- inspect


def test_inspect_tells_what_config_and_manifest_say(named: Pybuild) -> None:
    [found] = json.loads(_said(named, "inspect", "one"))
    image = Image(named.output)
    assert found["Id"] == image.manifest["config"]["digest"]
    assert found["Digest"] == image.descriptor["digest"]
    assert found["RepoTags"] == ["one:latest", "registry.example:5000/team/two:v3"]
    assert found["Config"]["Cmd"] == ["x"]
    assert found["Config"]["WorkingDir"] == "/w"
    assert found["RootFS"]["Layers"] == image.config["rootfs"]["diff_ids"]
    assert [la["Digest"] for la in found["Layers"]] == [
        la["digest"] for la in image.manifest["layers"]
    ]


def test_ids_archives_and_layouts_are_images_too(named: Pybuild) -> None:
    id = Image(named.output).manifest["config"]["digest"]
    layout = named.work / "layout"
    layout.mkdir(mode=0o777)
    with tarfile.open(named.output) as archive:
        archive.extractall(layout)
    for word in (id, id[7:17], "image.tar", "./image.tar", f"oci-layout://{layout}"):
        assert _said(named, "inspect", "-f", "{{.Id}}", word) == f"{id}\n"


def test_fields_are_picked_by_dockers_templates(named: Pybuild) -> None:
    template = "{{.Os}}/{{ .Architecture }} {{.Config.Labels.who}} {{json .Config.Cmd}}"
    machine = "amd64" if os.uname().machine == "x86_64" else "arm64"
    assert _said(named, "inspect", f"--format={template}", "one") == f'linux/{machine} me ["x"]\n'
    _fails(named, 2, "no field .Nothing", "inspect", "-f", "{{.Nothing}}", "one")
    _fails(named, 2, "only {{.Field}}", "inspect", "-f", "{{range .Layers}}x{{end}}", "one")


def test_of_several_platforms_one_is_shown(named: Pybuild) -> None:
    form = ("inspect", "-f", "{{.Architecture}}", "many")
    assert _said(named, *form, "--platform=linux/arm64") == "arm64\n"
    _fails(named, 1, "linux/riscv64", *form, "--platform=linux/riscv64")


def test_what_is_missing_is_named_and_the_rest_is_shown(named: Pybuild) -> None:
    ended = _fails(named, 1, "none: no image of that name or id", "inspect", "none", "one")
    assert [found["RepoTags"][0] for found in json.loads(ended.stdout)] == ["one:latest"]


def test_a_template_without_fields_is_itself() -> None:
    assert filled_in("{{.}} {{.a.b}}{{json .s}}", {"a": {"b": 1}, "s": "ä"}) == (
        '{"a": {"b": 1}, "s": "\\u00e4"} 1"\\u00e4"'
    )


# --- history


def test_history_has_the_newest_first_and_sizes_of_layers(named: Pybuild) -> None:
    rows = json.loads(_said(named, "history", "--format=json", "one"))
    image = Image(named.output)
    assert [row["created_by"].split()[0] for row in rows] == ["CMD", "WORKDIR", "LABEL", "COPY"]
    layers = [row["layer"] for row in rows if row["layer"]]
    assert layers == [layer["digest"] for layer in image.manifest["layers"]][::-1]
    assert rows[0]["size"] == 0 < rows[3]["size"]


def test_long_instructions_are_shortened_unless_all_is_wanted(anybody: Pybuild) -> None:
    _name(anybody, f"FROM scratch\nLABEL long={'x' * 80}\n", "long")
    assert "x" * 80 not in _said(anybody, "history", "long")
    assert "x" * 80 in _said(anybody, "history", "--no-trunc", "long")


# --- tag


def test_a_tag_is_another_name_that_builds_and_runs_take(pybuild: Pybuild) -> None:
    _name(pybuild, f'{SHELL}ENTRYPOINT ["/bin/sh", "-c"]\n', "one")
    _said(pybuild, "tag", "one", "other:1", "registry.example/third")
    assert set(_listed(pybuild)) == {"one:latest", "other:1", "registry.example/third:latest"}
    ran = run_pyrun("other:1", "echo hi", store=pybuild.store, caller=pybuild.caller)
    assert (ran.status, ran.stdout) == (0, "hi\n"), ran.stderr
    assert pybuild.build("FROM other:1\nLABEL a=b\n").config["config"]["Labels"] == {"a": "b"}


def test_a_tag_moves_to_another_image(named: Pybuild) -> None:
    _said(named, "tag", "many", "one")
    rows = _listed(named)
    assert rows["one:latest"]["id"] == rows["many:latest"]["id"]


def test_what_is_no_name_or_no_image_is_refused(named: Pybuild) -> None:
    _fails(named, 2, "tag 'UPPER': not an image name", "tag", "one", "good", "UPPER")
    assert "good:latest" not in _listed(named)
    _fails(named, 1, "none: no image of that name or id", "tag", "none", "x")


# --- rmi


def test_an_image_that_lost_its_last_name_is_gone_and_builds_keep_their_cache(
    named: Pybuild,
) -> None:
    digest = Image(named.output).descriptor["digest"]
    manifest = named.store / "blobs/sha256" / digest.removeprefix("sha256:")
    assert _said(named, "rmi", "one") == "Untagged: one:latest\n"
    assert manifest.exists()
    said = _said(named, "rmi", "registry.example:5000/team/two:v3")
    assert said.startswith("Untagged: registry.example:5000/team/two:v3\nDeleted: sha256:")
    assert not manifest.exists()
    assert set(_listed(named)) == {"many:latest"}
    assert set(named.steps(TEXT)) == {"CACHED"}
    assert named.run("verify-store").status == 0


def test_a_loaded_image_goes_with_its_layers(named: Pybuild) -> None:
    named.add({"base.tar": named.output.read_bytes()})
    text = "FROM ./base.tar\nLABEL from=archive\n"
    assert named.try_build(text, "--root", "fresh", "-t", "derived").status == 0
    fresh = named.work / "fresh"
    before = sum(1 for path in (fresh / "blobs/sha256").iterdir())
    assert before > 2
    _said(named, "rmi", "--root", fresh, "derived")
    assert list((fresh / "blobs/sha256").iterdir()) == []


def test_an_id_with_several_names_needs_force(named: Pybuild) -> None:
    id = Image(named.output).manifest["config"]["digest"]
    _fails(named, 1, "has several names: one:latest, registry.example", "rmi", id)
    assert len(_listed(named)) == 3
    assert _said(named, "rmi", "-f", id).count("Untagged: ") == 2


def test_all_names_go_and_what_is_missing_is_no_error_with_force(named: Pybuild) -> None:
    assert _said(named, "rmi", "-a").count("Untagged: ") == 3
    assert _listed(named) == {}
    _fails(named, 1, "one: no image of that name or id", "rmi", "one")
    assert named.run("rmi", "-f", "one").status == 0


def test_an_image_in_use_loses_its_name_and_keeps_its_bytes(named: Pybuild) -> None:
    before = named.store_files()
    _said(named, "rmi", "one")
    with open(named.store / "version", "rb") as held:
        subprocess.run(["flock", "-s", str(held.fileno())], pass_fds=[held.fileno()], check=True)
        ended = named.run("rmi", "registry.example:5000/team/two:v3")
    assert (ended.status, ended.stdout.count("Deleted")) == (0, 0)
    assert "in use; pybuild prune removes it later" in ended.stderr
    left = {name for name in named.store_files() if name.startswith("blobs/")}
    assert left == {name for name in before if name.startswith("blobs/")}


# --- Damage, and what is no command


@pytest.mark.parametrize("what", ["manifest", "config", "record", "missing"])
def test_a_damaged_image_is_named_and_can_be_removed(named: Pybuild, what: str) -> None:
    image = Image(named.output)
    blobs = named.store / "blobs/sha256"
    digest = {"config": image.manifest["config"]["digest"]}.get(what, image.descriptor["digest"])
    path = blobs / digest.removeprefix("sha256:")
    if what == "record":
        path = named.store / "images" / "one:latest"
    if what == "missing":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(b"{}")
    ended = named.run("images")
    assert ended.status == 1
    assert "many" in ended.stdout
    assert "one" in ended.stderr
    assert "hint: pybuild verify-store" in ended.stderr
    _fails(named, 1, "one", "inspect", "one")
    assert "Untagged: one:latest" in named.run("rmi", "one").stdout
    assert not (named.store / "images" / "one:latest").exists()


def test_a_beginning_of_several_ids_is_refused(named: Pybuild) -> None:
    # Sixteen more images: two of them begin alike.
    for number in range(16):
        _name(named, f"FROM scratch\nLABEL n={number}\n", f"n{number}")
    ids = [row["id"].removeprefix("sha256:") for row in _listed(named).values()]
    first = [id[0] for id in set(ids)]
    double = next(digit for digit in first if first.count(digit) > 1)
    _fails(named, 1, "the beginning of several ids", "inspect", double)
    _fails(named, 1, "the beginning of several ids", "rmi", "-f", double)


@pytest.mark.parametrize(
    "words",
    [
        ["tag", "one"],
        ["rmi"],
        ["rmi", "-a", "one"],
        ["inspect"],
        ["history"],
        ["images", "a", "b"],
        ["images", "--platform=linux/amd64"],
        ["images", "--format=table"],
        ["tag", "--quiet", "one", "two"],
    ],
)
def test_a_wrong_command_is_status_2(named: Pybuild, words: list[str]) -> None:
    ended = named.run(*words)
    assert (ended.status, ended.stdout) == (2, ""), ended.stderr
    assert len(_listed(named)) == 3


# --- What people read


def test_sizes_and_ages_are_what_people_read() -> None:
    sizes = [size_text(count) for count in (0, 1023, 1536, 5 << 30)]
    assert sizes == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    now = time.time()

    def age(seconds: float) -> str:
        return age_text(datetime.fromtimestamp(now - seconds, UTC).isoformat(), now)

    assert age(1.5) == "1 second ago"
    assert age(125) == "2 minutes ago"
    assert age(3 * 86400 + 60) == "3 days ago"
    assert age(-50) == "0 seconds ago"
    assert age_text("1980-01-01T00:00:00Z", 1764374400) == "45 years ago"
    assert (age_text("", now), age_text("yesterday", now)) == ("-", "yesterday")
