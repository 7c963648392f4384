"""Hints that need the whole file: which variable or stage was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from grammar.suggestion import did_you_mean

if TYPE_CHECKING:
    from grammar.containerfile import Containerfile


def variable_hint(containerfile: Containerfile, name: str, visible: Iterable[str]) -> str | None:
    """The hint for a variable that has no value where only `visible` ones have."""
    for arg in containerfile.preamble:
        if any(pair.name == name for pair in arg.pairs):
            return (
                f"declared before FROM on line {arg.span.line}: add ARG {name} to this stage "
                "to use it here"
            )
    return did_you_mean(name, visible)


def stage_hint(
    containerfile: Containerfile, name: str, *, before: int | None = None
) -> str | None:
    """The hint for a name that is no stage; only the first `before` stages count."""
    names = [stage.name for stage in containerfile.stages[:before] if stage.name]
    return did_you_mean(name.lower(), names)
