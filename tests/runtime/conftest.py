"""Fixtures of the runtime's tests: `pyrun` and `shell`, run as each caller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Caller, Result, run_pyrun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Pyrun = Callable[..., Result]
    Shell = Callable[..., Result]


@pytest.fixture
def pyrun(store: Path, caller: Caller) -> Pyrun:
    """`pyrun` with any arguments, as the test's caller."""

    def call(*arguments: str | Path, **choices: Any) -> Result:
        return run_pyrun(*arguments, store=store, caller=caller, **choices)

    return call


@pytest.fixture(scope="session")
def warm_stores(public_root: Path) -> dict[str, Path]:
    """One store for each caller, in which busybox is unpacked already."""
    return {}


@pytest.fixture
def warm_store(warm_stores: dict[str, Path], public_root: Path, caller: Caller) -> Path:
    """The caller's store for tests that are not about the store."""
    if caller.name not in warm_stores:
        path = warm_stores[caller.name] = public_root / f"store of {caller.name}"
        path.mkdir()
        os.chown(path, caller.uid, caller.gid)
    return warm_stores[caller.name]


@pytest.fixture
def shell(warm_store: Path, caller: Caller, busybox: Path) -> Shell:
    """Run a script in a busybox container, with options of `pyrun` before the image."""

    def call(script: str, *options: str | Path, **choices: Any) -> Result:
        argv = (*options, busybox, "sh", "-c", script)
        return run_pyrun(*argv, store=warm_store, caller=caller, **choices)

    return call
