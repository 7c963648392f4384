"""pybuild bake: docker-bake JSON files, as `--print` shows what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.buildkit.support import Pybuild

BAKE = "docker-bake.json"


def write(pybuild: Pybuild, document: Any, name: str = BAKE) -> None:
    """Put a file where `pybuild` runs."""
    text = document if isinstance(document, str) else json.dumps(document)
    (pybuild.work / name).write_text(text)


def printed(pybuild: Pybuild, document: Any, *arguments: str, **env: str) -> dict[str, Any]:
    """What `bake --print` says of a file."""
    write(pybuild, document)
    ended = pybuild.run("bake", "--print", *arguments, env=env)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def target(pybuild: Pybuild, body: Any, *arguments: str, **env: str) -> dict[str, Any]:
    """What is printed of a target `default`."""
    document = {"variable": {"TAG": {"default": "latest"}}, "target": {"default": body}}
    found: dict[str, Any] = printed(pybuild, document, *arguments, **env)["target"]["default"]
    return found


def refused(pybuild: Pybuild, document: Any, *arguments: str, **env: str) -> str:
    """What is said of a file that is wrong."""
    write(pybuild, document)
    ended = pybuild.run("bake", "--print", *arguments, env=env)
    assert (ended.status, ended.stdout) == (2, ""), ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_the_reference_s_example_of_inheritance_is_printed_as_buildx_does(
    pybuild: Pybuild,
) -> None:
    source = {"org.opencontainers.image.source": "https://github.com/username/myapp"}
    document = {
        "target": {
            "app-dev": {
                "args": {"GO_VERSION": "1.20", "BUILDX_EXPERIMENTAL": 1},
                "tags": ["docker.io/username/myapp"],
                "dockerfile": "app.Dockerfile",
                "labels": source,
            },
            "_release": {"args": {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": 1, "BUILDX_EXPERIMENTAL": 0}},
            "app-release": {
                "inherits": ["app-dev", "_release"],
                "platforms": ["linux/amd64", "linux/arm64"],
            },
        }
    }
    write(pybuild, document)
    assert (
        pybuild.run("bake", "--print", "app-release").stdout
        == """\
{
  "group": {
    "default": {
      "targets": [
        "app-release"
      ]
    }
  },
  "target": {
    "app-release": {
      "context": ".",
      "dockerfile": "app.Dockerfile",
      "args": {
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1",
        "BUILDX_EXPERIMENTAL": "0",
        "GO_VERSION": "1.20"
      },
      "labels": {
        "org.opencontainers.image.source": "https://github.com/username/myapp"
      },
      "tags": [
        "docker.io/username/myapp"
      ],
      "platforms": [
        "linux/amd64",
        "linux/arm64"
      ]
    }
  }
}
"""
    )


def test_the_reference_s_example_of_a_matrix_is_printed_as_buildx_does(pybuild: Pybuild) -> None:
    matrix = {"name": "app-${tgt}", "matrix": {"tgt": ["foo", "bar"]}, "target": "${tgt}"}
    write(pybuild, {"target": {"app": matrix}})
    assert (
        pybuild.run("bake", "--print", "app").stdout
        == """\
{
  "group": {
    "app": {
      "targets": [
        "app-foo",
        "app-bar"
      ]
    },
    "default": {
      "targets": [
        "app"
      ]
    }
  },
  "target": {
    "app-bar": {
      "context": ".",
      "dockerfile": "Dockerfile",
      "target": "bar"
    },
    "app-foo": {
      "context": ".",
      "dockerfile": "Dockerfile",
      "target": "foo"
    }
  }
}
"""
    )


def test_a_matrix_has_several_axes_and_values_that_are_objects(pybuild: Pybuild) -> None:
    document = {
        "target": {
            "two": {
                "name": 'two-${a}-${replace(v, ".", "-")}',
                "matrix": {"a": ["x", "y"], "v": ["1.0", "2.0"]},
                "args": {"V": "${v}"},
            },
            "items": {
                "name": "${item.name}",
                "matrix": {"item": [{"name": "p", "n": 1}, {"name": "q", "n": 2}]},
                "args": {"N": "${item.n}"},
            },
        }
    }
    found = printed(pybuild, document, "two", "items")
    assert found["group"]["two"]["targets"] == ["two-x-1-0", "two-y-1-0", "two-x-2-0", "two-y-2-0"]
    assert found["target"]["two-y-2-0"]["args"] == {"V": "2.0"}
    assert found["target"]["q"]["args"] == {"N": "2"}


def test_variables_have_defaults_and_the_environment_overrides_them(pybuild: Pybuild) -> None:
    document = {
        "variable": {
            "TAG": {"default": "latest"},
            "NAME": {"default": "docker.io/user/app:${TAG}"},
            "ON": {"default": False},
            "COUNT": {"default": 2},
            "LIST": {"default": ["a", "b"]},
        },
        "target": {
            "default": {
                "tags": ["${NAME}"],
                "args": {"ON": '${ON ? "yes" : "no"}', "NEXT": "${COUNT + 1}"},
                "no-cache-filter": "${LIST}",
            }
        },
    }
    plain = printed(pybuild, document)["target"]["default"]
    assert plain["tags"] == ["docker.io/user/app:latest"]
    assert plain["args"] == {"NEXT": "3", "ON": "no"}
    assert plain["no-cache-filter"] == ["a", "b"]
    other = printed(pybuild, document, TAG="dev", ON="true", COUNT="7")["target"]["default"]
    assert other["tags"] == ["docker.io/user/app:dev"]
    assert other["args"] == {"NEXT": "8", "ON": "yes"}


def test_what_is_printed_means_the_same_when_it_is_read_again(pybuild: Pybuild) -> None:
    body = {
        "args": {"A": "$${HOME} $HOME"},
        "labels": {"l": "%%{x}"},
        "dockerfile-inline": "FROM scratch\nENV A=$${A:-1}\n",
        "tags": ["a", "b", "a"],
        "secret": ["id=s,src=f", {"id": "t", "env": "T"}],
        "ssh": ["default", "k=/a,/b"],
        "output": ["type=oci,dest=o.tar", "out", {"type": "tar", "dest": "t.tar"}],
        "cache-from": ["user/repo:cache", "type=local,src=c"],
        "attest": ["type=sbom", "type=provenance,disabled=true"],
        "ulimits": ["nofile=1:2"],
        "shm-size": "1m",
        "extra-hosts": {"h": "10.0.0.1"},
        "network": "host",
        "no-cache": True,
        "pull": "true",
        "annotations": ["k=v"],
    }
    found = target(pybuild, body)
    assert found["args"] == {"A": "$${HOME} $HOME"}
    assert found["secret"] == [{"id": "s", "src": "f"}, {"id": "t", "env": "T"}]
    assert found["ssh"] == [{"id": "default"}, {"id": "k", "paths": ["/a", "/b"]}]
    assert found["output"][1] == {"dest": "out", "type": "local"}
    assert found["cache-from"][0] == {"ref": "user/repo:cache", "type": "registry"}
    assert found["attest"][1] == {"disabled": True, "type": "provenance"}
    assert found["entitlements"] == ["network.host"]
    assert (found["pull"], found["no-cache"]) == (True, True)
    assert target(pybuild, found) == found


def test_lists_and_tables_are_added_to_or_replaced_as_with_buildx(pybuild: Pybuild) -> None:
    below = {
        "args": {"A": "1", "B": "1", "C": "1"},
        "tags": ["old"],
        "platforms": ["linux/amd64"],
        "annotations": ["a=1"],
        "secret": ["id=a,env=A"],
        "no-cache-filter": ["x"],
        "cache-to": ["type=inline"],
    }
    above = {
        "inherits": ["below"],
        "args": {"B": "2", "C": None, "D": None},
        "tags": ["new"],
        "platforms": [],
        "annotations": ["b=1", "a=1"],
        "secret": ["id=b,env=B"],
        "no-cache-filter": ["y"],
        "cache-to": None,
    }
    found = printed(pybuild, {"target": {"below": below, "default": above}})["target"]["default"]
    assert found == {
        "context": ".",
        "dockerfile": "Dockerfile",
        "args": {"A": "1", "B": "2", "C": "1"},
        "tags": ["new"],
        "annotations": ["a=1", "b=1"],
        "secret": [{"id": "a", "env": "A"}, {"id": "b", "env": "B"}],
        "no-cache-filter": ["x", "y"],
        "cache-to": [{"type": "inline"}],
    }


def test_later_files_override_earlier_ones(pybuild: Pybuild) -> None:
    group = {"group": {"default": {"targets": ["a", "b"]}}}
    write(pybuild, group | {"target": {"a": {"args": {"X": 1}, "tags": ["a"]}, "b": {}}})
    override = {"group": {"default": {"targets": ["a"]}}, "target": {"a": {"args": {"Y": 2}}}}
    write(pybuild, override, "docker-bake.override.json")
    found = json.loads(pybuild.run("bake", "--print").stdout)
    assert found["group"]["default"]["targets"] == ["a"]
    assert found["target"]["a"]["args"] == {"X": "1", "Y": "2"}
    assert found["target"]["a"]["tags"] == ["a"]
    other = pybuild.run("bake", "--print", "-f", "docker-bake.override.json", "-f", BAKE)
    assert json.loads(other.stdout)["group"]["default"]["targets"] == ["a", "b"]


def test_standard_input_is_a_file(pybuild: Pybuild) -> None:
    text = json.dumps({"target": {"default": {}}})
    ended = pybuild.run("bake", "--print", "-f", "-", stdin=text.encode())
    assert json.loads(ended.stdout)["target"] == {
        "default": {"context": ".", "dockerfile": "Dockerfile"}
    }


def test_names_may_have_wildcards_and_groups_lead_to_groups(pybuild: Pybuild) -> None:
    document = {
        "group": {"all": {"targets": ["some", "c"]}, "some": {"targets": ["a-1", "a-2"]}},
        "target": {"a-1": {}, "a-2": {}, "b": {}, "c": {}},
    }
    assert list(printed(pybuild, document, "a-*")["target"]) == ["a-1", "a-2"]
    found = printed(pybuild, document, "all")
    assert list(found["target"]) == ["a-1", "a-2", "c"]
    assert list(found["group"]) == ["all", "default", "some"]


def test_a_context_that_is_a_target_comes_with_it(pybuild: Pybuild) -> None:
    document = {
        "target": {"base": {"tags": ["b"]}, "app": {"contexts": {"baseapp": "target:base"}}}
    }
    found = printed(pybuild, document, "app")
    assert found["group"]["default"]["targets"] == ["app"]
    assert found["target"]["base"]["output"] == [{"type": "cacheonly"}]
    assert "output" not in printed(pybuild, document, "app", "base")["target"]["base"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["default.args.A=2"], {"args": {"A": "2", "B": "1"}}),
        (["default.args.FROM_ENV", "d*.args.NOT_THERE"], {"args": {"FROM_ENV": "e"}}),
        (["*.tags=x", "*.tags=y"], {"tags": ["x", "y"]}),
        (["default.tags+=x"], {"tags": ["t", "x"]}),
        (["default.platform=linux/arm64"], {"platforms": ["linux/arm64"]}),
        (["default.output=type=oci,dest=o"], {"output": [{"dest": "o", "type": "oci"}]}),
        (["default.labels.a.b=c"], {"labels": {"a.b": "c"}}),
        (["default.contexts.x=dir"], {"contexts": {"x": "dir"}}),
        (["default.no-cache=true", "*.context=c"], {"no-cache": True, "context": "c"}),
        (["default.push=true"], {"output": [{"push": "true", "type": "image"}]}),
        (["default.secrets=id=a,env=B"], {"secret": [{"id": "a", "env": "B"}]}),
        (["default.annotations=b=c"], {"annotations": ["a=b", "b=c"]}),
    ],
)
def test_set_changes_targets(pybuild: Pybuild, words: list[str], expected: Any) -> None:
    body = {"args": {"A": "1", "B": "1"}, "tags": ["t"], "annotations": ["a=b"]}
    found = target(pybuild, body, *(f"--set={word}" for word in words), FROM_ENV="e")
    if "FROM_ENV" in expected.get("args", {}):
        expected = {"args": body["args"] | expected["args"]}
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("default", "--set 'default': TARGET.KEY=VALUE expected"),
        ("default.args=1", "default.args.NAME=VALUE expected"),
        ("default.tagz=1", "unknown key 'tagz'"),
        ("other.tags=1", "no target is called other"),
        ("default.no-cache=maybe", "--set default.no-cache=maybe: true or false expected"),
        ("default.target+=x", "only lists can be added to"),
    ],
)
def test_a_wrong_set_is_refused(pybuild: Pybuild, word: str, message: str) -> None:
    assert message in refused(pybuild, {"target": {"default": {}}}, f"--set={word}")


RING = {"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}}
LINKS = {"a": {"contexts": {"x": "target:b"}}, "b": {"contexts": {"y": "target:a"}}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"target": {"a": {"tagz": []}}}, "target.a.tagz: unknown key\nhint: did you mean tags?"),
        ({"targets": {}}, "docker-bake.json: targets: unknown key\nhint: did you mean target?"),
        ({"function": {"f": {"parms": []}}}, "function.f.parms: unknown key"),
        ({"target": {"a": {"cgroup-parent": "x"}}}, "cgroup-parent: RUN steps have a cgroup"),
        ({"target": RING}, "targets inherit in a ring: a -> b -> a"),
        ({"target": LINKS}, "targets need one another: a -> b -> a"),
        ({"group": {"a": {"targets": ["b"]}, "b": {"targets": ["a"]}}}, "a -> b -> a"),
        ({"group": {"a": {"targets": ["x"]}}}, "group a: there is no target x"),
        ({"target": {"a": {"inherits": ["x"]}}}, "target a: inherits: there is no target x"),
        ({"target": {"a": {"contexts": {"c": "target:x"}}}}, "contexts: c: there is no target x"),
        ({"target": {"a": {"args": {"X": "${NO}"}}}}, "target.a.args: there is no variable 'NO'"),
        ({"target": {"a": {"args": {"X": "${"}}}}, "target.a.args: ${ without its }"),
        ({"target": {"a": {"args": {"X": ["l"]}}}}, "target.a.args.X: a string expected"),
        ({"target": {"a": {"args": []}}}, "target.a.args: an object expected, not a list"),
        ({"target": {"a": {"tags": "x"}}}, "target.a.tags: a list expected, not 'x'"),
        ({"target": {"a": {"target": "${nope(1)}"}}}, "there is no function 'nope'"),
        ({"target": {"a": {"target": "${upper(1)}"}}}, "upper(…): 'int' object has no"),
        ({"target": {"a": {"output": ["dest=x,type"]}}}, "KEY=VALUE expected, not 'type'"),
        ({"target": {"a": {"secret": ["id=a,nope=1"]}}}, "'nope' is not known"),
        ({"target": {"a": {"matrix": {"x": [1, 2]}}}}, "several targets would be called a"),
        ({"target": {"a": {"name": "b"}}}, "only a target with a matrix has one"),
        ({"target": {"a.b": {}}}, "a name has letters, digits, - and _ alone"),
        ('{"target": {"a": {}, "a": {}}}', "key 'a' stands twice in an object"),
        ("[" * 100000, "docker-bake.json: nested too deeply"),
        ("{", "docker-bake.json: not JSON: "),
        ({"target": {"a": {"target": "\0"}}}, "target.a.target: a null character"),
        ('{"target": {"a": {"target": "\\ud800"}}}', "half of a surrogate pair"),
        ("[]", "docker-bake.json: an object expected"),
        ({"variable": {"V": {"default": "${V}"}}, "target": {"a": {"target": "${V}"}}}, "V -> V"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    pybuild: Pybuild, document: Any, message: str
) -> None:
    assert message in refused(pybuild, document, "a")


def test_where_no_file_is_there_is_nothing_to_do(pybuild: Pybuild) -> None:
    ended = pybuild.run("bake")
    assert (ended.status, "there is no bake or compose file here" in ended.stderr) == (2, True)


def test_without_a_default_one_must_say_which(pybuild: Pybuild) -> None:
    said = refused(pybuild, {"target": {"a": {}, "b": {}}})
    assert "no target or group is called default" in said
    assert "there are: a, b" in said


def test_targets_and_variables_are_listed(pybuild: Pybuild) -> None:
    document = {
        "variable": {"TAG": {"default": "x", "description": "the tag"}, "N": {"default": 1}},
        "group": {"default": {"targets": ["web"]}},
        "target": {"web": {"description": "the site"}},
    }
    write(pybuild, document)
    assert pybuild.run("bake", "--list", "targets").stdout == (
        "TARGET   DESCRIPTION\ndefault  web\nweb      the site\n"
    )
    assert pybuild.run("bake", "--list=variables").stdout == (
        "VARIABLE  VALUE  DESCRIPTION\nN         1\nTAG       x      the tag\n"
    )
    rows = json.loads(pybuild.run("bake", "--list=type=targets,format=json").stdout)
    assert rows[1] == {"name": "web", "description": "the site"}


def test_a_variable_that_is_not_valid_is_refused(pybuild: Pybuild) -> None:
    rule = {"condition": '${TAG != ""}', "error_message": "TAG may not be empty"}
    variable = {"TAG": {"default": "x", "validation": [rule]}}
    document = {"variable": variable, "target": {"default": {"tags": ["${TAG}"]}}}
    assert printed(pybuild, document)["target"]["default"]["tags"] == ["x"]
    assert "variable.TAG.validation: TAG may not be empty" in refused(pybuild, document, TAG="")
