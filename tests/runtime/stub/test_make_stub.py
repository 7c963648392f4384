"""The machine code in the package is what stub.c says."""

from __future__ import annotations

import pytest

from runtime.stub import make_stub
from runtime.stub.enter import MACHINES

BUILT_WITH = dict(
    line.split(" ", 1)
    for line in (make_stub.HERE / "built-with.txt").read_text(encoding="utf-8").splitlines()
)


def test_the_machine_code_was_made_from_this_source() -> None:
    assert BUILT_WITH["recipe"] == make_stub.recipe(), "python -m runtime.stub.make_stub"
    assert set(MACHINES) == set(make_stub.FLAGS) == set(BUILT_WITH) - {"recipe"}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_same_compiler_makes_the_same_machine_code(machine: str) -> None:
    here = make_stub.versions(machine)
    if here != BUILT_WITH[machine]:
        pytest.skip(f"built for {machine} with {BUILT_WITH[machine]}; here is {here or 'none'}")
    kept = (make_stub.HERE / f"{machine}.bin").read_bytes()
    assert make_stub.compile_stub(machine) == kept
