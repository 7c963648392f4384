"""Planning a Containerfile that stands in the test, with nothing around it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from buildkit.plan import Planner
from buildkit.steps import BootstrapStep, CopyStep, ImageBase, Plan, PlannedStage, RunStep
from grammar import ContainerfileErrors, parse
from runtime.oci.image import ExecutionParameters, ImageConfig

Images = Mapping[str, ExecutionParameters]


def planner(
    text: str,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    platform: str = "",
) -> Planner:
    """A planner for an amd64 machine."""
    return Planner(
        parse(text, name="f"),
        build_args=build_args or {},
        here="linux/amd64",
        platform=platform,
        target=target,
    )


def plan(
    text: str,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    images: Images | None = None,
) -> Plan:
    """The whole plan; `images` are the configurations of the base images."""
    made = planner(text, build_args=build_args, target=target)
    made.take_triggers(configs_of(made, images or {}))
    return made.plan(configs_of(made, images or {}))


def configs_of(made: Planner, images: Images) -> dict[ImageBase, ImageConfig]:
    """The configurations of the images that a planner asks for, by their names."""
    return {
        base: ImageConfig(architecture="amd64", config=images[base.name])
        for base in made.base_images()
        if base.name in images
    }


def stage(text: str, build_args: Mapping[str, str] | None = None) -> PlannedStage:
    """The target stage of a file without base images."""
    return plan(text, build_args=build_args).stages[-1]


def config(
    text: str,
    *,
    base: ExecutionParameters | None = None,
    build_args: Mapping[str, str] | None = None,
) -> ExecutionParameters:
    """What instructions make of a configuration; the text has no FROM of its own."""
    images = {} if base is None else {"base": base}
    origin = "scratch" if base is None else "base"
    return plan(f"FROM {origin}\n{text}\n", images=images, build_args=build_args).stages[-1].config


def run_step(text: str, build_args: Mapping[str, str] | None = None) -> RunStep:
    """The last step of a file that ends in RUN."""
    step = stage(text, build_args).steps[-1]
    assert isinstance(step, RunStep)
    return step


def copy_step(text: str) -> CopyStep:
    """The last step of a file that ends in COPY or ADD."""
    step = stage(text).steps[-1]
    assert isinstance(step, CopyStep)
    return step


def bootstrap_step(text: str) -> BootstrapStep:
    """The last step of a file that ends in BOOTSTRAP."""
    step = stage(text).steps[-1]
    assert isinstance(step, BootstrapStep)
    return step


def faults(
    text: str,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    images: Images | None = None,
) -> list[tuple[int, int, str]]:
    """Line, column and message of everything that is wrong."""
    with pytest.raises(ContainerfileErrors) as caught:
        plan(text, build_args=build_args, target=target, images=images)
    return [(e.span.line, e.span.column, e.message) for e in caught.value.errors]
