"""pybuild bake: docker-bake files in HCL, as `--print` shows what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.buildkit.support import Pybuild


def printed(pybuild: Pybuild, text: str, *arguments: str, **env: str) -> dict[str, Any]:
    """What `bake --print` says of a file."""
    (pybuild.work / "docker-bake.hcl").write_text(text)
    ended = pybuild.run("bake", "--print", *arguments, env=env)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def field(pybuild: Pybuild, expression: str, key: str = "target", **env: str) -> Any:
    """What an expression comes to as a field of a target."""
    text = f"""\
variable "TAG" {{ default = "latest" }}
variable "OFF" {{ default = false }}
variable "LIST" {{ default = ["a", "b"] }}
variable "TABLE" {{ default = {{ k = "v", "x.y" : 2 }} }}
target "default" {{ {key} = {expression} }}
"""
    return printed(pybuild, text, **env)["target"]["default"].get(key)


def test_the_reference_s_examples_are_printed_as_buildx_does(pybuild: Pybuild) -> None:
    text = """\
target "app-dev" {
  args = {
    GO_VERSION = "1.20"
    BUILDX_EXPERIMENTAL = 1
  }
  tags = ["docker.io/username/myapp"]
  dockerfile = "app.Dockerfile"
  labels = {
    "org.opencontainers.image.source" = "https://github.com/username/myapp"
  }
}

target "_release" {
  args = {
    BUILDKIT_CONTEXT_KEEP_GIT_DIR = 1
    BUILDX_EXPERIMENTAL = 0
  }
}

target "app-release" {
  inherits = ["app-dev", "_release"]
  platforms = ["linux/amd64", "linux/arm64"]
}

target "app" {
  name = "app-${item.tgt}-${replace(item.version, ".", "-")}"
  matrix = {
    item = [
      {
        tgt = "foo"
        version = "1.0"
      },
      {
        tgt = "bar"
        version = "2.0"
      }
    ]
  }
  target = item.tgt
  args = {
    VERSION = item.version
  }
}
"""
    found = printed(pybuild, text, "app-release", "app")
    assert found == {
        "group": {
            "app": {"targets": ["app-foo-1-0", "app-bar-2-0"]},
            "default": {"targets": ["app", "app-release"]},
        },
        "target": {
            "app-foo-1-0": {
                "context": ".",
                "dockerfile": "Dockerfile",
                "args": {"VERSION": "1.0"},
                "target": "foo",
            },
            "app-bar-2-0": {
                "context": ".",
                "dockerfile": "Dockerfile",
                "args": {"VERSION": "2.0"},
                "target": "bar",
            },
            "app-release": {
                "context": ".",
                "dockerfile": "app.Dockerfile",
                "args": {
                    "BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1",
                    "BUILDX_EXPERIMENTAL": "0",
                    "GO_VERSION": "1.20",
                },
                "labels": {"org.opencontainers.image.source": "https://github.com/username/myapp"},
                "tags": ["docker.io/username/myapp"],
                "platforms": ["linux/amd64", "linux/arm64"],
            },
        },
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('"plain"', "plain"),
        ("TAG", "latest"),
        ('"a-${TAG}-${upper("${TAG}x")}"', "a-latest-LATESTX"),
        (r'"tab\tquote\" \u00e9"', 'tab\tquote" é'),
        ('TAG == "latest" ? "yes" : NOWHERE', "yes"),
        ('OFF || (TAG != "" && !OFF) ? "yes" : "no"', "yes"),
        ("LIST[1]", "b"),
        ("TABLE.k", "v"),
        ('TABLE["x.y"] + 1 - 5', "-2"),
        ('join("-", concat(LIST, ["c"]))', "a-b-c"),
        ('1 < 2 ? "less" : "more"', "less"),
        ('regex_replace("v1.2", "v(\\\\d)", "$1-")', "1-.2"),
        ("null", None),
        ('join(",", compact(distinct(["a", "", "a", "b"])))', "a,b"),
        ('join(",", sort(flatten([["c", ["b"]], "a"])))', "a,b,c"),
        ('join(",", concat(keys(TABLE), [lookup(TABLE, "z", "none")]))', "k,x.y,none"),
        ('index(values(merge(TABLE, { k = "w" })), 0)', "w"),
        ("max(1, 3, 2) - min(4, 1)", "2"),
        ("multiply(6, 7) + subtract(3, divide(4, 2))", "43"),
        ("7*6", "42"),
        ("7 / 2 + 10 % 4", "5.5"),
        ('"${LIST[0]}" # comment', "a"),
        ('/* x */ "a" // comment', "a"),
    ],
)
def test_expressions_have_values(pybuild: Pybuild, expression: str, expected: str | None) -> None:
    assert field(pybuild, f"{expression}\n") == expected


def test_values_keep_their_types_and_may_stand_on_many_lines(pybuild: Pybuild) -> None:
    assert field(pybuild, "LIST", "tags") == ["a", "b"]
    assert field(pybuild, '"${LIST}"', "tags") == ["a", "b"]
    expression = '{\n  a = 1\n  "b.c" : TAG,\n  (TAG) = true\n}'
    assert field(pybuild, expression, "args") == {"a": "1", "b.c": "latest", "latest": "true"}
    lines = "<<-EOT\n    FROM scratch\n      ENV A=${TAG}\n    EOT\n"
    inline = field(pybuild, lines, "dockerfile-inline")
    assert inline == "FROM scratch\n  ENV A=latest\n"
    plain = "<<EOT\n  $${A}\nEOT\n"
    assert field(pybuild, plain, "dockerfile-inline") == "  $${A}\n"


def test_the_environment_overrides_and_a_type_says_how(pybuild: Pybuild) -> None:
    text = """\
variable "N" {
  type = number
  default = null
  validation {
    condition = N == null ? true : N > 1
    error_message = "N is too small"
  }
}
target "default" { args = { N = N } }
"""
    assert "args" not in printed(pybuild, text)["target"]["default"]
    assert printed(pybuild, text, N="5")["target"]["default"]["args"] == {"N": "5"}
    ended = pybuild.run("bake", "--print", env={"N": "1"})
    assert ended.status == 2
    assert "variable.N.validation: N is too small" in ended.stderr


def test_values_may_have_names_that_nothing_overrides(pybuild: Pybuild) -> None:
    text = """\
variable "DECLARED" { default = "d" }
DECLARED = "e"
name = "app-${DECLARED}"
target "default" { tags = [name] }
"""
    assert printed(pybuild, text, name="other")["target"]["default"]["tags"] == ["app-e"]
    assert printed(pybuild, text, DECLARED="f")["target"]["default"]["tags"] == ["app-f"]
    assert "name" not in pybuild.run("bake", "--list=variables").stdout


def test_the_documentation_s_examples_of_functions_and_empty_variables(pybuild: Pybuild) -> None:
    text = """\
function "increment" {
  params = [number]
  result = number + 1
}
variable "REPO" {
  default = "user/repo"
}
function "tag" {
  params = [tag]
  variadic_params = others
  result = concat(["${REPO}:${tag}"], others)
}
variable "TAG" {}
target "default" {
  args = {
    buildno = "${increment(123)}"
  }
  tags = concat(tag("v1", "x"), [
    notequal("",TAG) ? "my-image:${TAG}": ""
  ])
}
"""
    found = printed(pybuild, text)["target"]["default"]
    assert found["args"] == {"buildno": "124"}
    assert found["tags"] == ["user/repo:v1", "x"]
    assert printed(pybuild, text, TAG="y")["target"]["default"]["tags"][2] == "my-image:y"


def test_files_of_both_kinds_are_one_definition(pybuild: Pybuild) -> None:
    more = {"target": {"web": {"tags": ["web:${TAG}"]}}}
    (pybuild.work / "docker-bake.override.json").write_text(json.dumps(more))
    text = 'variable "TAG" { default = "x" }\ntarget "web" { target = "t" }\n'
    found = printed(pybuild, text, "web")["target"]["web"]
    assert (found["tags"], found["target"]) == (["web:x"], "t")


def test_standard_input_may_be_any_kind_of_file(pybuild: Pybuild) -> None:
    for text in (
        'target "default" {}',
        '{"target": {"default": {}}}',
        "services: {default: {build: .}}",
    ):
        ended = pybuild.run("bake", "-f", "-", "--print", "default", stdin=text.encode())
        assert ended.status == 0, ended.stderr
        expected = {"default": {"context": ".", "dockerfile": "Dockerfile"}}
        assert json.loads(ended.stdout)["target"] == expected


DOUBLING = 'variable "A0" { default = "0123456789" }\n' + "".join(
    f'variable "A{n}" {{ default = "${{A{n - 1}}}${{A{n - 1}}}" }}\n' for n in range(1, 60)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('target "a" {', "line 1: a block expected, not the end"),
        ('target "a" { x }', "line 1: { expected, not }"),
        ('target "a" { tagz = [] }', "target.a.tagz: unknown key\nhint: did you mean tags?"),
        ('target "a" { target = }', "line 1: a value expected, not }"),
        ('target "a" {\n target = "x\n}', 'docker-bake.hcl: " without its end'),
        ('target "a" { target = "${x" }', "docker-bake.hcl: "),
        ('target "a" { target = @ }', "line 1: '@' is not expected"),
        ('target "a" { target = "x" \n target = "y" }', "line 2: target stands twice in a block"),
        ('target "a" {}\ntarget "a" {}', "line 2: target 'a' stands twice in the file"),
        ("x = 1\nx = 2", "line 2: x stands twice in the file"),
        ("target {}", "line 1: target: one name expected"),
        ('target "a" "b" {}', "line 1: target: one name expected"),
        ('target "${a}" {}', "line 1: a name has no ${…}"),
        ('function "f" { params = [1] }', "function.f: a list of names expected"),
        (
            'function "f" {\n params = [a]\n result = f(a) }\ntarget "a" { target = f(1) }',
            "nested too deeply",
        ),
        (
            'function "f" {\n params = [a]\n result = a }\ntarget "a" { target = f() }',
            "f(…): 1 arguments expected, not 0",
        ),
        ('target "a" { target = multiply("a", 999999999) }', "multiply(…): "),
        ('target "a" { target = 1 / 0 }', "target.a.target: division by zero"),
        ('target "a" { target = ' + "99999999 * " * 20 + "9 }", "a number is too large"),
        ('target "a" { tags = [for x in y : x] }', "line 1: `for` is not read"),
        ('target "a" { target = "%{if x}" }', "%{…} is not read"),
        ('target "a" { target = <<E\nx\n', "<<E without its end"),
        ('target "a" { target = 1 2 }', "line 1: "),
        ('target "a" { args = { 1 } }', "line 1: = expected, not }"),
        ('target "a" { args { } }', "target.a.args: an object expected, not a list"),
        ('target "a" { target = NOWHERE }', "target.a.target: there is no variable 'NOWHERE'"),
        ('target "a" { target = "x".y }', "target.a.target: 'y' is no part of 'x'"),
        ('target "a" { target = ' + "(" * 1000 + " }", "nested too deeply"),
        ('target "a" { target = ' + "1+" * 5000 + "1 }", "nested too deeply"),
        ('target "a" { target = ' + '"${' * 5000 + " }", "docker-bake.hcl: "),
        ('target "a" { target = ' + "9" * 5000 + " }", "more than 30 digits"),
        (DOUBLING + 'target "a" { target = A59 }', "longer than 1048576"),
        (
            'target "a" { name = "x"\n matrix = { '
            + "".join(f"m{n} = [1, 2, 3]\n" for n in range(9))
            + "} }",
            "matrix: more than 1000 targets",
        ),
        ("\ufeff\u2028", "docker-bake.hcl: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(pybuild: Pybuild, text: str, message: str) -> None:
    (pybuild.work / "docker-bake.hcl").write_text(text)
    ended = pybuild.run("bake", "--print", "a")
    assert (ended.status, ended.stdout) == (2, ""), ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_no_text_is_refused(pybuild: Pybuild) -> None:
    (pybuild.work / "docker-bake.hcl").write_bytes(b"\xff\xfe")
    assert "docker-bake.hcl: not UTF-8" in pybuild.run("bake").stderr
