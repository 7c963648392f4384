"""Stages: which are planned, in which order, and what they start from."""

from __future__ import annotations

import pytest

from buildkit.steps import CopyStep, ImageBase, Scratch, StageBase
from runtime.oci.image import ExecutionParameters
from tests.buildkit.planning import faults, plan, planner

STAGES = """\
FROM scratch AS first
FROM base:1 AS second
FROM first AS third
COPY --from=second / /
FROM scratch AS alone
"""
BASE = {"base:1": ExecutionParameters(user="u"), "other": ExecutionParameters()}


def _names(text: str, target: str | None = None) -> list[str]:
    return [stage.name for stage in plan(text, target=target, images=BASE).stages]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, ["alone"]),
        ("alone", ["alone"]),
        ("third", ["first", "second", "third"]),
        ("THIRD", ["first", "second", "third"]),
        ("2", ["first", "second", "third"]),
        ("0", ["first"]),
    ],
)
def test_only_what_the_target_needs_is_planned(target: str | None, expected: list[str]) -> None:
    assert _names(STAGES, target) == expected


@pytest.mark.parametrize("target", ["fourth", "4", "-1", ""])
def test_an_unknown_target_is_an_error(target: str) -> None:
    assert [message for _, _, message in faults(STAGES, target=target)] == [
        f"--target {target!r}: no such stage"
    ]


def test_only_images_that_the_target_needs_are_asked_for() -> None:
    assert planner(STAGES).base_images() == ()
    assert planner(STAGES, target="third").base_images() == (ImageBase(name="base:1"),)


def test_an_image_that_is_copied_from_is_asked_for() -> None:
    text = "FROM scratch\nCOPY --from=other / /\nCOPY --from=other /a /b"
    assert planner(text).base_images() == (ImageBase(name="other"),)


def test_a_stage_starts_with_the_configuration_of_its_image() -> None:
    assert plan("FROM base:1", images=BASE).stages[-1].config.user == "u"


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("scratch", Scratch()),
        ("A", StageBase(index=0)),
        ("a", StageBase(index=0)),
        ("other", ImageBase(name="other")),
    ],
)
def test_from_names_nothing_an_earlier_stage_or_an_image(name: str, base: object) -> None:
    assert plan(f"FROM scratch AS a\nFROM {name}", images=BASE).stages[-1].base == base


def test_a_stage_of_the_same_name_later_in_the_file_is_not_what_from_means() -> None:
    stages = plan("FROM other AS x\nFROM scratch AS other", target="x", images=BASE).stages
    assert [stage.base for stage in stages] == [ImageBase(name="other")]


@pytest.mark.parametrize("name", ["a", "A", "0"])
def test_copy_takes_from_an_earlier_stage_by_name_or_number(name: str) -> None:
    step = plan(f"FROM scratch AS a\nFROM scratch\nCOPY --from={name} /x /").stages[-1].steps[0]
    assert isinstance(step, CopyStep)
    assert step.origin == StageBase(index=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1", "from=1: this is stage 1, an earlier one is needed"),
        ("2", "from=2: this is stage 1, an earlier one is needed"),
        ("b", "from=b: that stage is not an earlier one"),
        ("c", "from=c: that stage is not an earlier one"),
    ],
)
def test_copy_from_its_own_or_a_later_stage_is_an_error_at_the_word(
    name: str, message: str
) -> None:
    text = f"FROM scratch AS a\nFROM scratch AS b\nCOPY --from={name} /x /\nFROM b AS c"
    assert faults(text) == [(3, 13, message)]


def test_this_machines_platform_is_accepted() -> None:
    assert plan("FROM --platform=$TARGETPLATFORM scratch").stages[-1].base == Scratch()


@pytest.mark.parametrize(
    "text",
    [
        "ARG a=${b:?needed}\nFROM scratch",
        "FROM ${b:?needed}",
        "FROM --platform=${b:?needed} scratch",
        "FROM scratch\nCOPY --from=${b:?needed} / /",
        "FROM scratch\nENV a=${b:?needed}",
        "FROM scratch\nLABEL a=${b:?needed}",
        "FROM scratch\nEXPOSE ${b:?needed}",
        "FROM scratch\nCOPY ${b:?needed} /",
        "FROM scratch\nUSER ${b:?needed}",
    ],
)
def test_a_variable_that_must_be_set_has_its_error_wherever_it_stands(text: str) -> None:
    [(line, _, message)] = faults(text)
    assert line == text.count("\n", 0, text.index("${b")) + 1
    assert "needed" in message


def test_errors_of_all_planned_stages_come_together() -> None:
    text = "FROM scratch AS a\nARG p=x\nEXPOSE $p\nUSER ${u:?no}\nFROM a\nVOLUME ${v}\nEXPOSE $p\n"
    assert [line for line, _, _ in faults(text)] == [3, 4, 6, 7]


def test_a_stage_that_the_target_does_not_need_may_be_wrong() -> None:
    assert len(plan("FROM scratch AS a\nARG p=x\nEXPOSE $p\nFROM scratch").stages) == 1
