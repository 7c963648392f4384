"""Golden files: a folder in `cases` or `cases-invalid` is a test, with no code of its own.

To write the expected files of new cases: UPDATE_CASES=1 python -m pytest tests/grammar.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grammar import ContainerfileErrors, parse
from grammar.dump import to_json, to_sexpr

HERE = Path(__file__).parent


def _folders(name: str) -> list[Path]:
    return sorted((HERE / name).iterdir())


def _check(path: Path, actual: str) -> None:
    if "UPDATE_CASES" in os.environ and not path.exists():
        path.write_text(actual, encoding="utf-8")
    assert actual == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", _folders("cases"), ids=lambda case: case.name)
def test_a_valid_file_gives_the_recorded_instructions(case: Path) -> None:
    containerfile = parse((case / "Containerfile").read_bytes(), name="Containerfile")
    _check(case / "result.json", to_json(containerfile))
    _check(case / "result.sexpr", to_sexpr(containerfile))


@pytest.mark.parametrize("case", _folders("cases-invalid"), ids=lambda case: case.name)
def test_an_invalid_file_gives_the_recorded_errors(case: Path) -> None:
    with pytest.raises(ContainerfileErrors) as caught:
        parse((case / "Containerfile").read_bytes(), name="Containerfile")
    _check(case / "error", f"{caught.value}\n")
