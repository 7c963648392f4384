"""Fixtures: `engine` is root's, `everyones` each caller's; nothing is left after a test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import root_is_missing
from tests.runtime.engine.engine_calls import Engine
from tests.support import Caller, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def engine_store(public_root: Path, request: pytest.FixtureRequest) -> Path:
    """Root's store of a module, in which busybox is known after the first start."""
    path = public_root / f"engine {request.module.__name__}"
    path.mkdir()
    return path


@pytest.fixture
def engine(engine_store: Path, busybox: Path) -> Iterator[Engine]:
    """Containers of root."""
    if reason := root_is_missing():
        pytest.skip(reason)
    yield from _used(Engine(engine_store, Caller("root", 0, 0, "/root"), busybox))


@pytest.fixture
def everyones(warm_store: Path, caller: Caller, busybox: Path) -> Iterator[Engine]:
    """Containers of each caller in turn."""
    yield from _used(Engine(warm_store, caller, busybox))


def _used(made: Engine) -> Iterator[Engine]:
    yield made
    made.clean()
    deadline = time.monotonic() + 20
    while (left := made.remains()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@pytest.fixture
def gone(engine: Engine) -> Callable[[str], None]:
    """Do to a container what switching the machine off does."""

    def switch_off(identity: str) -> None:
        run = engine.file(identity, "run.json")
        os.kill(run["monitor"], signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{run['pid']}").exists())
        state = json.loads(Path(f"/run/pyrun/{identity}/state.json").read_text())
        for place in state["group"]["places"]:
            for folder in reversed(place["made"]):
                if os.path.isdir(folder):
                    os.rmdir(folder)
        shutil.rmtree(f"/run/pyrun/{identity}")

    return switch_off
