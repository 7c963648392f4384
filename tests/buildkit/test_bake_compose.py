"""pybuild bake: compose files, as `--print` shows what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from buildkit.bake.interpolation import Variables
from buildkit.bake.problems import Problem
from buildkit.bake.yaml_file import read_yaml
from tests.buildkit.support import Pybuild


def printed(pybuild: Pybuild, text: str, *arguments: str, **env: str) -> dict[str, Any]:
    """What `bake --print` says of a compose file."""
    (pybuild.work / "compose.yaml").write_text(text)
    ended = pybuild.run("bake", "--print", *arguments, env=env)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def web(pybuild: Pybuild, build: str, **env: str) -> dict[str, Any]:
    """What is printed of one service, of what follows `build:` in it."""
    text = f"services:\n  web:\n    environment: {{FROM_SERVICE: s}}\n    build: {build}\n"
    text += "secrets:\n  f: {file: ./secret}\n  e: {environment: VARIABLE}\n"
    found: dict[str, Any] = printed(pybuild, text, **env)["target"]["web"]
    return found


def refused(pybuild: Pybuild, text: str, **env: str) -> str:
    """What is said of a compose file that is wrong."""
    (pybuild.work / "compose.yaml").write_text(text)
    ended = pybuild.run("bake", "--print", env=env)
    assert (ended.status, ended.stdout) == (2, ""), ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_services_with_a_build_are_the_targets_of_default(pybuild: Pybuild) -> None:
    # The file that the documentation of buildx shows for compose.
    text = """\
services:
  webapp-dev:
    build: &build-dev
      dockerfile: Dockerfile.webapp
      tags:
        - docker.io/username/webapp:latest
  webapp-release:
    build:
      <<: *build-dev
      x-bake:
        platforms:
          - linux/amd64
          - linux/arm64
  db:
    image: docker.io/username/db
    build:
      dockerfile: Dockerfile.db
  cache:
    image: redis
"""
    tags = ["docker.io/username/webapp:latest"]
    assert printed(pybuild, text) == {
        "group": {"default": {"targets": ["db", "webapp-dev", "webapp-release"]}},
        "target": {
            "db": {
                "context": ".",
                "dockerfile": "Dockerfile.db",
                "tags": ["docker.io/username/db"],
            },
            "webapp-dev": {"context": ".", "dockerfile": "Dockerfile.webapp", "tags": tags},
            "webapp-release": {
                "context": ".",
                "dockerfile": "Dockerfile.webapp",
                "tags": tags,
                "platforms": ["linux/amd64", "linux/arm64"],
            },
        },
    }


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("./dir", {"context": "./dir"}),
        ("{args: {A: 1, B: true, C: 1.5, D: text, E: on}}",
         {"args": {"A": "1", "B": "true", "C": "1.5", "D": "text", "E": "on"}}),
        ("{args: [A=1, FROM_SERVICE, FROM_CALLER, NOWHERE]}",
         {"args": {"A": "1", "FROM_SERVICE": "s", "FROM_CALLER": "c"}}),
        ("{labels: [a=b]}", {"labels": {"a": "b"}}),
        ("{dockerfile_inline: 'FROM $${A}'}", {"dockerfile-inline": "FROM $${A}"}),
        ("{secrets: [f, {source: e}]}",
         {"secret": [{"id": "f", "src": "./secret"}, {"id": "e", "env": "VARIABLE"}]}),
        ("{ssh: [default, key=/k]}", {"ssh": [{"id": "default"}, {"id": "key", "paths": ["/k"]}]}),
        ("{extra_hosts: ['a:10.0.0.1', 'b=::1']}", {"extra-hosts": {"a": "10.0.0.1", "b": "::1"}}),
        ("{extra_hosts: {a: 10.0.0.1}}", {"extra-hosts": {"a": "10.0.0.1"}}),
        ("{shm_size: 128m}", {"shm-size": "128MiB"}),
        ("{shm_size: 1000}", {"shm-size": "1000B"}),
        ("{ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}}",
         {"ulimits": ["nofile=10:10", "nproc=1:2"]}),
        ("{no_cache: true, pull: 'true', network: none, target: t}",
         {"no-cache": True, "pull": True, "network": "none", "target": "t"}),
        ("{sbom: true, provenance: mode=max}",
         {"attest": [{"type": "sbom"}, {"mode": "max", "type": "provenance"}]}),
        ("{additional_contexts: {a: ./b, c: docker-image://d}}",
         {"contexts": {"a": "./b", "c": "docker-image://d"}}),
        ("{tags: [a], x-bake: {tags: b c, no-cache-filter: s, output: type=oci}}",
         {"tags": ["a", "b", "c"], "no-cache-filter": ["s"], "output": [{"type": "oci"}]}),
        ("{context: '${FROM_CALLER}/${NOWHERE:-x${FROM_CALLER}}'}", {"context": "c/xc"}),
    ],
)  # fmt: skip
def test_what_stands_in_build_is_a_target_s(
    pybuild: Pybuild, build: str, expected: dict[str, Any]
) -> None:
    found = web(pybuild, build, FROM_CALLER="c")
    defaults = {"context": ".", "dockerfile": "Dockerfile"}
    assert found == defaults | expected


def test_a_service_may_be_the_context_of_another(pybuild: Pybuild) -> None:
    text = """\
services:
  base.x: {build: b}
  web: {build: {additional_contexts: [base=service:base.x]}}
"""
    found = printed(pybuild, text, "web")
    assert found["target"]["web"]["contexts"] == {"base": "target:base_x"}
    assert found["target"]["base_x"]["output"] == [{"type": "cacheonly"}]
    assert list(printed(pybuild, text, "base.x")["target"]) == ["base_x"]


def test_variables_come_from_dotenv_and_first_from_the_caller(pybuild: Pybuild) -> None:
    (pybuild.work / ".env").write_text(
        "# comment\nexport A=a # more\nB='$A'\nC=\"x\\n$A${D:-d}\"\nEMPTY=\n"
    )
    build = "{args: {A: $A, B: $B, C: $C, E: '${EMPTY:-e}', F: '${EMPTY-f}'}}"
    expected = {"A": "a", "B": "$A", "C": "x\nad", "E": "e", "F": ""}
    assert web(pybuild, build)["args"] == expected
    assert web(pybuild, build, A="b")["args"] == expected | {"A": "b", "C": "x\nbd"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} $$A", "1 1 $A"),
        ("${NO:-${A}}", "1"),
        ("${EMPTY:-x} ${EMPTY-x}", "x "),
        ("${A:+y} ${NO:+y} ${EMPTY:+y} ${EMPTY+y}", "y   y"),
        ("${A:?no}", "1"),
        ("${A:-${NO:?unused}}", "1"),
        ("cost: $$5", "cost: $5"),
    ],
)
def test_variables_are_expanded_as_the_specification_says(text: str, expected: str) -> None:
    missing: list[str] = []
    variables = Variables({"A": "1", "EMPTY": ""}, missing.append)
    assert variables.expand(text) == expected
    assert missing == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO:?say it}", "NO is required: say it"),
        ("${EMPTY:?}", "EMPTY is required: it is not set"),
        ("${A", "} expected after ${A"),
        ("${A:-x", "${A without its }"),
        ("$5", "a name expected after $"),
        ("${}", "a name expected after ${"),
        ("${A:-" * 1000, "nested too deeply"),
    ],
)
def test_a_wrong_variable_is_refused(text: str, message: str) -> None:
    with pytest.raises(Problem) as raised:
        Variables({"A": "", "EMPTY": ""}, lambda _: None).expand(text)
    assert message in raised.value.message


def test_a_variable_that_is_not_set_is_told(pybuild: Pybuild) -> None:
    (pybuild.work / "compose.yaml").write_text("services: {web: {build: 'x$NOWHERE'}}")
    ended = pybuild.run("bake", "--print")
    assert json.loads(ended.stdout)["target"]["web"]["context"] == "x"
    assert ended.stderr == "pybuild: warning: the variable NOWHERE is not set: it is empty\n"


def test_several_compose_files_are_merged(pybuild: Pybuild) -> None:
    below = "services: {web: {image: a, build: {args: [A=1, B=1], tags: [t]}}, db: {build: db}}"
    above = "services: {web: {image: b, build: {args: {B: 2}, tags: [u]}}}"
    (pybuild.work / "over.yml").write_text(above)
    found = printed(pybuild, below, "-f", "compose.yaml", "-f", "over.yml")["target"]
    assert found["web"]["args"] == {"A": "1", "B": "2"}
    assert found["web"]["tags"] == ["t", "u"]
    assert found["db"]["context"] == "db"


def test_a_service_extends_another_one(pybuild: Pybuild) -> None:
    text = """\
services:
  base: {image: i, build: {context: c, args: {A: 1, B: 1}}}
  web: {extends: base, image: j, build: {args: [B=2]}}
  more: {extends: {service: web}}
"""
    found = printed(pybuild, text)["target"]
    assert found["more"] == found["web"]
    assert found["web"] == {
        "context": "c",
        "dockerfile": "Dockerfile",
        "args": {"A": "1", "B": "2"},
        "tags": ["j"],
    }


def test_a_bake_file_overrides_a_compose_file(pybuild: Pybuild) -> None:
    more = {"target": {"web": {"tags": ["new"], "platforms": ["linux/amd64"]}}}
    (pybuild.work / "docker-bake.json").write_text(json.dumps(more))
    found = printed(pybuild, "services: {web: {image: old, build: dir}}")["target"]["web"]
    assert found["tags"] == ["new"]
    assert (found["context"], found["platforms"]) == ("dir", ["linux/amd64"])


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "compose.yaml: more than 100000 values, with its aliases"),
        ("a: &a [*a]", "line 1: an alias stands inside of what it is for"),
        ("services: {}\nservices: {}", "line 2: key 'services' stands twice in a mapping"),
        ("a: !!python/object/apply:os.system [ls]", "python/object/apply:os.system is not read"),
        ("a: !reset null", "the tag !reset is not read"),
        ("a: [", "not YAML: line 1: "),
        ("a: \x01", "not YAML: "),
        ("[" * 10000, "nested too deeply"),
        ("- a", "a mapping expected, with services in it"),
        ("include: [x.yaml]", "compose.yaml: include: other files are not read"),
        ("services: []", "compose.yaml: services: a mapping expected"),
        ("services: {web: {build: {dockerfle: x}}}",
         "services.web.build.dockerfle: unknown key\nhint: did you mean dockerfile?"),
        ("services: {web: {build: [x]}}", "services.web.build: a path or a mapping expected"),
        ("services: {web: {build: {args: x}}}", "services.web.build.args: a mapping, or a list"),
        ("services: {web: {build: {tags: x}}}", "services.web.build.tags: a list expected"),
        ("services: {web: {build: {secrets: [s]}}}", "the file defines no secret 's'"),
        ("services: {web: {build: {x-bake: {tag: x}}}}", "build.x-bake.tag: unknown key"),
        ("services: {web: {build: '${X:?say X}'}}",
         "compose.yaml: services.web.build: X is required: say X"),
        ("services: {web: {extends: x}}", "services.web.extends: the file has no service 'x'"),
        ("services: {web: {extends: {service: [x]}}}", "services.web.extends: the file has no"),
        ("services: {web: {extends: {file: f, service: x}}}", "services.web.extends: services of"),
        ("services: {a: {extends: b}, b: {extends: a}}", "services extend in a ring: a -> b -> a"),
        ("services: {web: {build: {shm_size: much}}}", "services.web.build.shm_size: "),
        ("services: {web: {build: {shm_size: 1" + "0" * 400 + "}}}", "build.shm_size: "),
        ("services: {web: {build: {x-bake: {contexts: [a, 1]}}}}", "build.x-bake.contexts: "),
        ('services: {web: {build: "\\0"}}', "build.context: a null character"),
        ('services: {web: {build: "\\ud800"}}', "line 1: 'utf-8' codec can't encode"),
        ("services: {'a b': {build: x}}", "a name has letters, digits, - and _ alone"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_place(pybuild: Pybuild, text: str, message: str) -> None:
    assert message in refused(pybuild, text)


def test_dotenv_that_is_wrong_is_refused_with_its_line(pybuild: Pybuild) -> None:
    (pybuild.work / ".env").write_text("A=1\nnonsense\n")
    assert ".env:2: NAME=VALUE expected" in refused(pybuild, "services: {web: {build: x}}")


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = b"[yes, on, 22:22, 2001-01-01, 0644, 0o17, 0x1f, ~, true, 1.5, 'true', 12, '', 1_000]"
    assert read_yaml(text) == [
        *("yes", "on", "22:22", "2001-01-01", "0644", 15, 31, None, True, 1.5, "true", 12),
        *("", "1_000"),
    ]
