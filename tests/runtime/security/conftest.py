"""Fixtures of the attacks: `oci` (pyrun oci, as root), `build` (programs in C)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import root_is_missing
from tests.runtime.security.support import Oci, compile_program
from tests.support import BUSYBOX, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Build = Callable[..., Path]


@pytest.fixture
def oci(public: Path) -> Iterator[Oci]:
    """`pyrun oci`; its containers are deleted after the test."""
    if reason := root_is_missing():
        pytest.skip(reason)
    if not BUSYBOX.exists():
        pytest.skip("/bin/busybox is not installed (busybox-static)")
    runtime = Oci(public)
    yield runtime
    runtime.clean_up()


@pytest.fixture(scope="session")
def build(public_root: Path) -> Build:
    """Compile one of programs/*.c, once; returns the static program."""
    if not which("gcc"):
        pytest.skip("gcc is not installed")

    def make(name: str, *flags: str) -> Path:
        target = public_root / name
        if not target.exists():
            compile_program(name, target, *flags)
        return target

    return make
