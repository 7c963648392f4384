"""ARG and ENV: who sees what (Dockerfile reference, "ARG", "Scope")."""

from __future__ import annotations

import pytest

from tests.buildkit.planning import faults, plan, run_step, stage


def _environment(text: str, build_args: dict[str, str] | None = None) -> dict[str, str]:
    """Environment of the RUN that the text is completed by, without PATH."""
    step = run_step(f"{text}\nRUN x", build_args)
    pairs = dict(item.partition("=")[::2] for item in step.env)
    del pairs["PATH"]
    return pairs


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        pytest.param("FROM scratch\nARG n=1", {}, {"n": "1"}, id="a default counts"),
        pytest.param("FROM scratch\nARG n=1", {"n": "2"}, {"n": "2"}, id="an argument beats it"),
        pytest.param("FROM scratch\nARG n", {}, {}, id="never set is absent"),
        pytest.param("FROM scratch\nARG n=", {}, {"n": ""}, id="an empty default is empty"),
        pytest.param("FROM scratch\nARG n", {"n": "2"}, {"n": "2"}, id="no default is needed"),
        pytest.param("FROM scratch", {"n": "2"}, {}, id="undeclared arguments are not seen"),
        pytest.param("ARG n=1\nFROM scratch", {}, {}, id="a global one is not in a stage"),
        pytest.param("ARG n=1\nFROM scratch\nARG n", {}, {"n": "1"}, id="a bare ARG imports it"),
        pytest.param(
            "ARG n=1\nFROM scratch\nARG n", {"n": "2"}, {"n": "2"}, id="an argument beats global"
        ),
        pytest.param(
            "ARG n=1\nFROM scratch\nARG n=3", {}, {"n": "3"}, id="a stage's default beats global"
        ),
        pytest.param(
            "FROM scratch\nARG n=1\nENV n=2", {}, {"n": "2"}, id="ENV after ARG beats it"
        ),
        pytest.param(
            "FROM scratch\nENV n=2\nARG n=1", {}, {"n": "2"}, id="ENV before ARG beats it"
        ),
        pytest.param(
            "FROM scratch\nENV n=2\nARG n", {"n": "3"}, {"n": "2"}, id="ENV beats an argument"
        ),
        pytest.param(
            "FROM scratch\nARG n=1 m=$n", {}, {"n": "1", "m": "1"}, id="ARG sees ARG on its line"
        ),
        pytest.param(
            "FROM scratch\nENV a=1\nENV a=2 b=$a", {}, {"a": "2", "b": "1"}, id="ENV does not"
        ),
        pytest.param(
            "FROM scratch\nARG n=${m:?m}", {"n": "1"}, {"n": "1"}, id="no default, no fault"
        ),
        pytest.param(
            "ARG a=1\nARG b=$a\nFROM scratch\nARG b", {}, {"b": "1"}, id="globals see globals"
        ),
    ],
)
def test_run_sees_arguments_and_env_by_the_rules_of_scope(
    text: str, build_args: dict[str, str], expected: dict[str, str]
) -> None:
    assert _environment(text, build_args) == expected


def test_a_stage_inherits_arguments_of_the_stage_it_starts_from() -> None:
    text = "FROM scratch AS a\nARG n=1\nENV e=2\nFROM a"
    assert _environment(text) == {"n": "1", "e": "2"}


def test_a_stage_inherits_nothing_from_its_neighbours() -> None:
    text = "FROM scratch AS a\nARG n=1\nENV e=2\nFROM scratch\nCOPY --from=a /x /x"
    assert _environment(text) == {}


def test_an_argument_is_not_in_the_image() -> None:
    assert stage("FROM scratch\nARG n=1\nENV e=$n").config.env[1:] == ("e=1",)


def test_env_keeps_its_order_and_place_when_it_changes() -> None:
    config = stage("FROM scratch\nENV b=1 a=2\nENV b=3 c=4").config
    assert config.env[1:] == ("b=3", "a=2", "c=4")


def test_from_sees_global_arguments() -> None:
    text = "ARG which=b\nFROM scratch AS a\nFROM scratch AS b\nFROM $which\nRUN x"
    assert plan(text).stages[-2].name == "b"
    assert plan(text, build_args={"which": "a"}).stages[-2].name == "a"


def test_from_does_not_see_the_arguments_of_a_stage() -> None:
    text = "FROM scratch AS a\nARG which=a\nFROM ${which}"
    assert faults(text) == [(3, 6, "the name of the base image is empty")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TARGETPLATFORM", "linux/amd64"),
        ("TARGETOS", "linux"),
        ("TARGETARCH", "amd64"),
        ("BUILDPLATFORM", "linux/amd64"),
        ("BUILDARCH", "amd64"),
        ("TARGETSTAGE", "default"),
    ],
)
def test_a_platform_argument_is_global_and_must_be_imported(name: str, value: str) -> None:
    assert _environment("FROM scratch") == {}
    assert _environment(f"FROM scratch\nARG {name}") == {name: value}


def test_a_platform_argument_can_be_overridden() -> None:
    text = "FROM scratch\nARG TARGETARCH"
    assert _environment(text, {"TARGETARCH": "vax"}) == {"TARGETARCH": "vax"}


def test_targetstage_is_the_target() -> None:
    text = "FROM scratch AS one\nARG TARGETSTAGE\nENV s=$TARGETSTAGE"
    assert plan(text, target="one").stages[-1].config.env[1:] == ("s=one",)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "NO_PROXY", "all_proxy"])
def test_a_proxy_reaches_run_without_a_declaration(name: str) -> None:
    assert run_step("FROM scratch\nRUN x", {name: "p"}).proxies == (f"{name}=p",)


def test_a_declared_proxy_is_an_argument_as_any_other() -> None:
    step = run_step("FROM scratch\nARG HTTP_PROXY\nRUN x", {"HTTP_PROXY": "p"})
    assert (step.proxies, "HTTP_PROXY=p" in step.env) == ((), True)


def test_a_proxy_that_is_not_declared_is_not_in_history_and_key() -> None:
    step = run_step("FROM scratch\nRUN x", {"HTTP_PROXY": "http://secret@p"})
    assert "secret" not in step.about.created_by + "".join(step.env)


def test_the_environment_of_an_earlier_run_does_not_know_later_arguments() -> None:
    steps = stage("FROM scratch\nRUN x\nARG n=1\nRUN x").steps
    assert "n=1" not in getattr(steps[0], "env", ())
    assert "n=1" in getattr(steps[2], "env", ())
