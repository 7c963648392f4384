"""pybuild bake: several targets as one build."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, processes, text_files
from tests.runtime.registry.registries import PROGRAM, running_registry
from tests.support import Result, members_of, read_members, run

TWO = f"""\
{SHELL.replace("scratch", "scratch AS base")}RUN echo "ran $((40 + 2))" && echo shared >/shared
FROM base AS one
RUN echo one >/one
FROM base AS two
RUN echo two >/two
"""


def bake(
    pybuild: Pybuild, targets: dict[str, Any], *arguments: str, containerfile: str = "", **env: str
) -> Result:
    """Bake targets, whose context is the test's unless they say; all of them without a name."""
    if containerfile:
        pybuild.write(containerfile)
    targets = {name: {"context": "../context"} | body for name, body in targets.items()}
    group = {} if "default" in targets else {"default": {"targets": list(targets)}}
    (pybuild.work / "docker-bake.json").write_text(json.dumps({"group": group, "target": targets}))
    return pybuild.run("bake", *arguments, env=env)


def baked(pybuild: Pybuild, *arguments: Any, **choices: Any) -> Result:
    """The same; it must work."""
    ended = bake(pybuild, *arguments, **choices)
    assert ended.status == 0, ended.stderr
    return ended


def oci(name: str) -> list[str]:
    """An output with this name."""
    return [f"type=oci,dest={name}.tar"]


def files_of(pybuild: Pybuild, name: str) -> dict[str, str]:
    """The text files of an archive."""
    return text_files(Archive(pybuild.work / f"{name}.tar"))


class Archive(Image):
    """An archive that is an OCI layout alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members = read_members(path)
        [self.descriptor] = json.loads(self.members["index.json"])["manifests"]
        self.manifest = json.loads(self.blob(self.descriptor))
        if "layers" in self.manifest:
            self.config = json.loads(self.blob(self.manifest["config"]))
            self.layers = [self.blob(layer) for layer in self.manifest["layers"]]


def test_a_step_that_targets_share_is_done_once(anybody: Pybuild) -> None:
    targets = {name: {"target": name, "output": oci(name)} for name in ("one", "two")}
    ended = baked(anybody, targets, "--jobs=4", containerfile=TWO)
    assert ended.stderr.count("ran 42") == 1
    assert files_of(anybody, "one") == {"shared": "shared\n", "one": "one\n"}
    assert files_of(anybody, "two") == {"shared": "shared\n", "two": "two\n"}
    assert processes(anybody.directory) == []


def test_it_is_done_once_without_the_cache_too(pybuild: Pybuild) -> None:
    targets = {name: {"target": name, "tags": [name]} for name in ("one", "two")}
    baked(pybuild, targets, containerfile=TWO)
    assert baked(pybuild, targets).stderr.count("ran 42") == 0
    assert baked(pybuild, targets, "--no-cache").stderr.count("ran 42") == 1


def test_an_image_is_the_one_that_pybuild_makes_alone(pybuild: Pybuild) -> None:
    targets = {
        "one": {"target": "one", "tags": ["one"], "labels": {"a": "b"}, "annotations": ["c=d"]},
        "two": {"target": "two", "tags": ["two:x"]},
    }
    ended = baked(pybuild, targets, containerfile=TWO)
    options = ("--target=one", "-t", "alone", "--label=a=b", "--annotation=c=d")
    alone = pybuild.run(*options, pybuild.context)
    lines = ended.stdout.splitlines()
    assert lines[0] == f"one {alone.stdout.strip()}"
    assert lines[1].startswith("two sha256:")
    named = pybuild.run("images").stdout
    assert [word in named for word in ("one", "two", "alone")] == [True] * 3


def test_independent_targets_are_built_at_the_same_time(pybuild: Pybuild) -> None:
    # Each waits for the other.
    wait = "while ! test -e /c/{other}; do sleep 0.05; done"
    run = "RUN --mount=type=cache,target=/c touch /c/{name} && " + wait + "\n"
    targets = {
        name: {
            "dockerfile-inline": SHELL + run.format(name=name, other=other),
            "tags": [name],
        }
        for name, other in (("a", "b"), ("b", "a"))
    }
    pybuild.write(SHELL)  # for busybox
    baked(pybuild, targets, "--jobs=2")


def test_a_target_may_start_from_another_one(anybody: Pybuild) -> None:
    targets = {
        "app": {
            "contexts": {"base": "target:lib"},
            "dockerfile-inline": "FROM base\nRUN echo $WHAT >/app\nCOPY --from=base /lib /again\n",
            "output": oci("app"),
        },
        "lib": {
            "dockerfile-inline": f"{SHELL}ENV WHAT=inherited\nRUN echo lib >/lib\n"
            "ONBUILD RUN echo triggered >/triggered\n",
            "labels": {"of": "lib"},
        },
    }
    anybody.write(SHELL)
    ended = baked(anybody, targets, "app")
    assert files_of(anybody, "app") == {
        "lib": "lib\n",
        "app": "inherited\n",
        "again": "lib\n",
        "triggered": "triggered\n",
    }
    image = Archive(anybody.work / "app.tar")
    assert image.process["Labels"] == {"of": "lib"}
    words = [text.split()[0] for text in image.created_by]
    assert words == ["COPY", "RUN", "ENV", "RUN", "RUN", "RUN", "COPY"]
    assert "only cached" not in ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["app"]


def test_a_context_that_is_a_target_is_that_for_the_platform(pybuild: Pybuild) -> None:
    both = ["linux/amd64", "linux/arm64"]
    file = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n"
    pybuild.add({"amd64": "amd64\n", "arm64": "arm64\n"})
    targets: dict[str, dict[str, Any]] = {
        "lib": {"dockerfile-inline": file, "platforms": both, "tags": ["lib"]},
        "app": {
            "contexts": {"lib": "target:lib"},
            "dockerfile-inline": "FROM lib\nCOPY --from=lib /arch /again\n",
            "platforms": both,
            "output": ["type=local,dest=out"],
        },
        "arm": {
            "contexts": {"lib": "target:lib"},
            "dockerfile-inline": "FROM lib\n",
            "platforms": both[1:],
            "output": ["type=local,dest=arm"],
        },
    }
    baked(pybuild, targets)
    for name in ("amd64", "arm64"):
        assert (pybuild.work / f"out/linux_{name}/again").read_text() == f"{name}\n"
    assert (pybuild.work / "arm/arch").read_text() == "arm64\n"
    targets["lib"] |= {"platforms": [both[0], "linux/386"]}
    said = bake(pybuild, targets, "arm")
    assert said.status == 1
    assert "target lib is not built for linux/arm64" in said.stderr
    assert said.stderr.rstrip().count("in target arm") == 1


def test_a_base_image_of_several_targets_is_loaded_once(anybody: Pybuild) -> None:
    anybody.build(f"{SHELL}RUN echo base >/base\n")
    shutil.move(anybody.output, anybody.context / "base.tar")
    targets = {
        name: {
            "dockerfile-inline": f"FROM ./base.tar\nRUN echo {name} >/own\n",
            "output": oci(name),
        }
        for name in ("one", "two")
    }
    ended = baked(anybody, targets, "--root", str(anybody.work / "new"), "--jobs=2")
    loaded = [line for line in ended.stderr.splitlines() if "load layers of ./base.tar" in line]
    assert len(loaded) == 1
    for name in ("one", "two"):
        assert files_of(anybody, name) == {"base": "base\n", "own": f"{name}\n"}


def test_a_failure_stops_all_and_says_where_it_is(anybody: Pybuild) -> None:
    targets = {
        "good": {"target": "one", "output": oci("good")},
        "bad": {"dockerfile": "bad", "output": oci("bad")},
    }
    anybody.add({"bad": f"{SHELL}RUN echo this is said && exit 7\n"})
    ended = bake(anybody, targets, containerfile=TWO)
    assert ended.status == 1
    assert "> this is said" in ended.stderr
    assert "../context/bad:4:1: " in ended.stderr
    assert "\nin target bad\n" in ended.stderr
    assert ended.stdout == ""
    assert [path.name for path in anybody.work.glob("*.tar")] == []
    assert processes(anybody.directory) == []


def test_a_shared_step_that_fails_is_one_failure(pybuild: Pybuild) -> None:
    targets = {"one": {"target": "one", "tags": ["x"]}, "two": {"target": "two", "tags": ["y"]}}
    ended = bake(pybuild, targets, containerfile=TWO.replace("echo shared", "exit 3"))
    assert ended.status == 1
    assert ended.stderr.count("in target ") == 1


def test_an_inline_file_that_is_wrong_says_so(pybuild: Pybuild) -> None:
    targets = {"a": {"dockerfile-inline": "FROM scratch\nRUM x\n", "tags": ["x"]}}
    ended = bake(pybuild, targets)
    assert ended.status == 2
    assert ended.stderr.startswith("<inline>:2:1: unknown instruction")
    assert "in target a" in ended.stderr


def test_the_metadata_file_has_an_object_for_each_target(pybuild: Pybuild) -> None:
    targets = {"one": {"target": "one", "tags": ["a", "b"]}, "two": {"target": "two"}}
    ended = baked(pybuild, targets, "--metadata-file=m.json", containerfile=TWO)
    found = json.loads((pybuild.work / "m.json").read_text())
    assert list(found) == ["one", "two"]
    assert found["one"]["image.name"] == "a,b"
    digests = [f"{name} {table['containerimage.digest']}" for name, table in found.items()]
    assert ended.stdout.splitlines() == digests
    assert "warning: target two has neither output nor tags: it is only cached" in ended.stderr


def test_what_a_target_says_arrives_in_its_build(pybuild: Pybuild, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    file = f"""\
{SHELL}ARG A B=default
RUN --mount=type=secret,id=s,required --mount=type=secret,id=e,env=E \
    echo "$A $B $(cat /run/secrets/s) $E $(ulimit -n)" >/said && grep other /etc/hosts >/hosts
COPY --from=more /file /more
"""
    (tmp_path / "file").write_text("more\n")
    body = {
        "dockerfile": "sub/Its.file",
        "args": {"A": "a", "B": None},
        "secret": [f"id=s,src={tmp_path}/secret", {"id": "e", "env": "FOR_E"}],
        "extra-hosts": {"other": "10.1.2.3"},
        "ulimits": ["nofile=99:99"],
        "shm-size": "2MiB",
        "contexts": {"more": str(tmp_path)},
        "output": oci("image"),
    }
    pybuild.add({"sub/Its.file": file})
    baked(pybuild, {"default": body}, containerfile=SHELL, FOR_E="from the environment")
    assert files_of(pybuild, "image") == {
        "said": "a default hidden from the environment 99\n",
        "hosts": "10.1.2.3\tother\n",
        "more": "more\n",
    }


def test_compose_services_are_built(pybuild: Pybuild) -> None:
    pybuild.write(TWO)
    (pybuild.work / "compose.yaml").write_text("""\
services:
  one: {image: x/one, build: {context: ../context, target: one}}
  two: {build: {context: ../context, target: two, x-bake: {output: 'type=oci,dest=two.tar'}}}
""")
    ended = pybuild.run("bake")
    assert ended.status == 0, ended.stderr
    assert files_of(pybuild, "two")["two"] == "two\n"
    assert json.loads(pybuild.run("images", "--format=json").stdout)[0]["name"].endswith(
        "x/one:latest"
    )


def test_outputs_are_of_all_kinds(pybuild: Pybuild) -> None:
    targets = {
        "one": {
            "target": "one",
            "output": ["type=tar,dest=one.tar", "out", "type=docker", "type=image,name=i:1"],
            "tags": ["t:1"],
        },
        "two": {"target": "two", "output": ["type=local,dest=out", "type=cacheonly"]},
    }
    baked(pybuild, targets, containerfile=TWO)
    assert {"one", "two"} <= {path.name for path in (pybuild.work / "out").iterdir()}
    assert "one" in members_of((pybuild.work / "one.tar").read_bytes())
    assert [name in pybuild.run("images").stdout for name in ("i", "t")] == [True, True]


def test_what_is_attested_is_attached_to_the_image(pybuild: Pybuild) -> None:
    attest = ["type=sbom", "type=provenance,mode=max", "type=other"]
    body = {"target": "one", "output": oci("one"), "attest": attest}
    ended = baked(pybuild, {"default": body}, containerfile=TWO)
    found = b"".join(read_members(pybuild.work / "one.tar").values())
    assert b"https://spdx.dev/Document" in found
    assert b"https://slsa.dev/provenance/v1" in found
    assert "attest type=other is not supported by this version" in ended.stderr


@pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")
def test_targets_are_pushed_once_all_are_built(pybuild: Pybuild, tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        names = {name: f"{registry.host}/team/{name}:1" for name in ("one", "two")}
        targets = {n: {"target": n, "tags": [tag]} for n, tag in names.items()}
        targets["two"]["output"] = ["type=registry"]
        ended = baked(pybuild, targets, "two", containerfile=TWO)
        digest = ended.stdout.split()[1]
        assert (registry.tag("team/one", "1"), registry.tag("team/two", "1")) == ("", digest)
        baked(pybuild, targets, "--push", "one", "two", containerfile=TWO)
        assert registry.tag("team/one", "1")
        broken = {
            "one": targets["one"] | {"tags": [f"{registry.host}/team/new:1"]},
            "bad": {"target": "none"},
        }
        ended = bake(pybuild, broken, "--push", "one", "bad")
        assert ended.status != 0
        assert registry.tag("team/new", "1") == ""


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ({}, ["--push"], "push: to what name?"),
        ({"output": ["type=registry"]}, [], "target a: push: to what name?"),
        ({"output": ["type=oci,dest=same.tar"]}, [], "targets a and b both write same.tar"),
        ({"entitlements": ["security.insecure"]}, [], "--allow security.insecure"),
        ({"context": "nowhere"}, [], "target a: context nowhere: not a directory"),
        ({"context": "https://example.org/x.git"}, [], "only directories are read"),
        ({"dockerfile": "none"}, [], "target a: ../context/none: no such file"),
        ({"tags": ["Upper"]}, [], "target a: tags 'Upper': not an image name"),
        ({"platforms": ["what"]}, [], "target a: "),
        ({"network": "bridge"}, [], "target a: --network 'bridge'"),
        ({"target": "nope"}, [], "in target a"),
        ({"call": "check"}, [], "some targets are to be built and others to be checked"),
        ({"call": "outline"}, [], "target a: call 'outline': build or check"),
        ({}, ["--jobs=x"], "--jobs 'x'"),
        ({}, ["--progress=x"], "--progress 'x'"),
        ({}, ["--call=x"], "--call 'x'"),
        ({}, ["--allow=x"], "--allow 'x'"),
        ({}, ["--nope"], "unknown option --nope"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    pybuild: Pybuild, body: dict[str, Any], arguments: list[str], message: str
) -> None:
    other = {"target": "one", "output": ["type=oci,dest=same.tar"]}
    ended = bake(pybuild, {"a": body, "b": other}, *arguments, containerfile=TWO)
    assert (ended.status, ended.stdout) == (2, ""), ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not any(line.startswith("#1 ") for line in ended.stderr.splitlines())


def test_an_entitlement_needs_the_caller_s_word(as_root: Pybuild) -> None:
    body = {"entitlements": ["security.insecure"], "tags": ["x"]}
    text = f"{SHELL}RUN --security=insecure true\n"
    baked(as_root, {"default": body}, "--allow=security.insecure", containerfile=text)


def test_check_looks_at_all_files_and_builds_nothing(pybuild: Pybuild) -> None:
    targets = {
        "good": {"dockerfile-inline": "FROM scratch\nCOPY a b\n"},
        "bad": {"dockerfile-inline": "from scratch AS x\nCOPY a b\nEXPOSE 80\nFROM x As y\n"},
    }
    ended = bake(pybuild, targets, "--check")
    assert ended.status == 3
    assert "<inline>" in ended.stdout
    assert list(pybuild.store.iterdir()) == []
    assert bake(pybuild, targets, "--check", "good").status == 0


def test_one_tag_for_two_targets_is_told(pybuild: Pybuild) -> None:
    targets = {name: {"target": name, "tags": ["x"]} for name in ("one", "two")}
    ended = baked(pybuild, targets, containerfile=TWO)
    assert "warning: targets one and two have one tag: x\n" in ended.stderr


def test_its_help_names_all_options(pybuild: Pybuild) -> None:
    text = pybuild.run("bake", "--help").stdout
    assert text.startswith("usage: pybuild bake ")
    for option in (
        "--set",
        "--print",
        "--list",
        "--check",
        "--metadata-file",
        "--allow",
        "--push",
    ):
        assert option in text
    assert all(len(line) <= 99 for line in text.splitlines())


@pytest.mark.needs_program("skopeo")
def test_what_it_writes_is_read_by_skopeo(pybuild: Pybuild) -> None:
    baked(pybuild, {"default": {"target": "one", "output": oci("one")}}, containerfile=TWO)
    skopeo = shutil.which("skopeo")
    assert skopeo is not None
    ended = run(
        [skopeo, "inspect", "oci-archive:one.tar"], caller=pybuild.caller, cwd=pybuild.work
    )
    assert (ended.status, json.loads(ended.stdout)["Os"]) == (0, "linux")
