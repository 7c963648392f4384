"""ONBUILD: what a base image asks of the next build, and of that alone."""

from __future__ import annotations

import pytest

from buildkit.steps import CopyStep, ImageBase, RunStep, StageBase
from runtime.oci.image import ExecutionParameters
from tests.buildkit.planning import configs_of, faults, plan, planner
from tests.buildkit.support import SHELL, Pybuild, text_files


def _base(*triggers: str) -> dict[str, ExecutionParameters]:
    return {"base": ExecutionParameters(on_build=triggers, working_dir="/w")}


def test_triggers_come_before_the_stages_own_instructions() -> None:
    made = plan("FROM base\nENV c=3", images=_base("ENV a=1", "ENV b=$a c=2"))
    (stage,) = made.stages
    assert stage.config.env == ("a=1", "b=1", "c=3")
    assert [step.about.created_by for step in stage.steps][:1] == ["ENV a=1"]


def test_they_reach_one_generation() -> None:
    (stage,) = plan("FROM base\nONBUILD RUN y", images=_base("RUN x")).stages
    assert stage.config.on_build == ("RUN y",)


def test_they_see_the_childs_arguments_and_directory() -> None:
    images = _base("ARG v", "COPY a$v b", "RUN <<E\nx $v\nE")
    (stage,) = plan("ARG v=1\nFROM base", images=images).stages
    _, copy, run = stage.steps
    assert isinstance(copy, CopyStep)
    assert (copy.sources[0].path, copy.destination) == ("a1", "/w/b")
    assert isinstance(run, RunStep)
    assert run.args == ("/bin/sh", "-c", "x $v\n")
    assert "v=1" in run.env


def test_a_stage_of_the_same_file_asks_as_well() -> None:
    text = "FROM scratch AS a\nENV e=0\nONBUILD ENV e=1\nFROM a AS b\nFROM b"
    assert [stage.config.env[1:] for stage in plan(text).stages] == [("e=0",), ("e=1",), ("e=1",)]
    assert [stage.config.on_build for stage in plan(text).stages] == [("ENV e=1",), (), ()]


def test_what_a_trigger_copies_from_is_needed() -> None:
    text = "FROM scratch AS tools\nFROM scratch\nFROM base"
    made = plan(text, images=_base("COPY --from=tools a b"))
    assert [stage.id.index for stage in made.stages] == [0, 2]
    (copy,) = made.stages[-1].steps
    assert isinstance(copy, CopyStep)
    assert copy.origin == StageBase(index=0)


def test_an_image_that_only_a_trigger_names_is_asked_for() -> None:
    made = planner("FROM base")
    assert made.base_images() == (ImageBase(name="base"),)
    images = _base("COPY --from=other a b") | {"other": ExecutionParameters()}
    made.take_triggers(configs_of(made, images))
    assert made.base_images() == (ImageBase(name="base"), ImageBase(name="other"))
    (copy,) = made.plan(configs_of(made, images)).stages[-1].steps
    assert isinstance(copy, CopyStep)
    assert copy.origin == ImageBase(name="other")


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("RUM x", "ONBUILD RUM x: unknown instruction 'RUM'"),
        ("FROM x", "ONBUILD FROM x: ONBUILD cannot hold FROM"),
        ("ONBUILD RUN x", "ONBUILD ONBUILD RUN x: ONBUILD cannot hold ONBUILD"),
        ("", "ONBUILD : a trigger is one instruction"),
        ("WORKDIR $none", "ONBUILD WORKDIR $none: WORKDIR with an empty path"),
        ("ENV a=${b:?}", "ONBUILD ENV a=${b:?}: "),
        ("COPY --from=later a b", "from=later: that stage is not an earlier one"),
    ],
)
def test_a_trigger_that_is_wrong_is_shown_at_the_images_name(trigger: str, said: str) -> None:
    text = "FROM scratch\nFROM base\nFROM scratch AS later"
    [(line, column, message)] = faults(text, target="1", images=_base(trigger))
    assert (line, column) == (2, 6)
    assert message.startswith(said)


def test_a_build_does_what_the_base_image_asks_for(anybody: Pybuild) -> None:
    anybody.add({"a": "1", "d/x": "2"})
    triggers = "ONBUILD COPY d /d\nONBUILD RUN cat /d/x > /of-$n\nONBUILD ENV asked=yes\n"
    anybody.build(f"{SHELL}ENV n=base\n{triggers}", "-t", "base", "-o", "image.tar")
    image = anybody.build("FROM base\nRUN echo $asked > /own\n", "-t", "child", "-o", "image.tar")
    made = {name: text for name, text in text_files(image).items() if "/" not in name}
    assert made == {"of-base": "2", "own": "yes\n"}
    assert "OnBuild" not in image.process
    assert "ENV asked=yes" in image.created_by
    again = anybody.build("FROM child\nCOPY a /\n")
    assert again.config["history"][-1]["created_by"].startswith("COPY a /")
    assert len(again.layers) == len(image.layers) + 1


def test_a_trigger_that_fails_is_shown_at_the_images_name(pybuild: Pybuild) -> None:
    pybuild.build("FROM scratch\nONBUILD COPY none /\n", "-t", "base", "-o", "image.tar")
    ended = pybuild.try_build("FROM scratch\nFROM base\n")
    assert ended.status == 1
    assert "Containerfile:2:6: none: not found in the context" in ended.stderr
