"""The filters of installations: what they answer themselves, what they ask, and that is all."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.seccomp import constants, load
from runtime.seccomp.installing import _ARCHITECTURES, _CHOWN, ASK_OWNERS, NO_OWNERS
from runtime.seccomp.numbers import numbers_of
from tests.runtime.seccomp.judge import ALLOW, decide, errno

DONE = errno(0)
CHOWN = {ASK_OWNERS: constants.RETURN_NOTIFY, NO_OWNERS: DONE}
CASES = [
    (machine, name, architecture)
    for machine, architectures in _ARCHITECTURES.items()
    for name in CHOWN
    for architecture in architectures
]


@pytest.mark.parametrize(("machine", "name", "architecture"), CASES)
def test_a_filter_answers_the_calls_that_it_is_for_and_lets_others_pass(
    machine: str, name: str, architecture: str
) -> None:
    program = Path(load.shipped(machine, name)).read_bytes()
    audit = constants.ARCHITECTURES[_audited(architecture)]
    wanted = {call: CHOWN[name] for call in _CHOWN}
    wanted |= {"fsync": DONE, "fdatasync": DONE, "sync": DONE, "syncfs": DONE}
    wanted |= dict.fromkeys(("msync", "openat", "fchmod", "execve", "setresuid"), ALLOW)
    numbers = {call: numbers_of(call, architecture).direct for call in wanted}
    found = {c: decide(program, audit, n) for c, n in numbers.items() if n is not None}
    assert found == {call: wanted[call] for call in found}
    assert {"fsync", "fchown", "fchownat", "openat"} <= set(found)


def _audited(architecture: str) -> str:
    """x32 is x86-64 to the kernel."""
    return "SCMP_ARCH_X86_64" if architecture == "SCMP_ARCH_X32" else architecture
