"""Fixtures: `bundle` makes bundles for the test's caller, `oci` runs `pyrun-oci` on them.

What a test leaves (processes, control groups, mounts of the host) is looked for after each one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.runtime.lifecycle.runtime_calls import (
    Room,
    Runtime,
    groups_of,
    make_applets,
    marked,
    until,
)
from tests.support import BUSYBOX, Caller, command, environment, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]


@pytest.fixture(scope="session")
def examples() -> dict[str, Config]:
    """The example config of each caller, as `pyrun oci spec` writes it."""
    return {}


@pytest.fixture
def room(
    caller: Caller, public_root: Path, public: Path, examples: dict[str, Config]
) -> Iterator[Room]:
    """The caller's place; nothing of the test may live on after it."""
    applets = public_root / f"applets of {caller.name}"
    if caller.name not in examples:
        if not BUSYBOX.exists():
            pytest.skip("/bin/busybox is not installed (busybox-static)")
        examples[caller.name] = _example(caller, public)
        make_applets(applets, caller)
    os.chown(public, caller.uid, caller.gid)
    made = Room(public, caller, examples[caller.name], applets)
    yield made
    assert until(lambda: not marked(made.mark), 3), marked(made.mark)
    assert groups_of(made.mark) == []
    assert str(public) not in Path("/proc/self/mountinfo").read_text()


def _example(caller: Caller, public: Path) -> Config:
    """`spec`, without a terminal, and for a user with all ids that it may have."""
    place = public / "example"
    place.mkdir()
    os.chown(place, caller.uid, caller.gid)
    kind = [] if caller.is_root else ["--rootless"]
    argv = [*command("pyrun-oci"), "spec", *kind, "--bundle", str(place)]
    made = run(argv, caller=caller, env=environment(caller))
    assert made.status == 0, made
    config: Config = json.loads((place / "config.json").read_text())
    config["process"]["terminal"] = False
    if (range_of := subordinate_range(caller)) is not None:
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name].append(
                {"containerID": 1, "hostID": range_of[0], "size": range_of[1]}
            )
    return config


def subordinate_range(caller: Caller) -> tuple[int, int] | None:
    """The caller's first range (start, count) of /etc/subuid."""
    if caller.is_root or not os.path.exists("/etc/subuid"):
        return None
    for line in Path("/etc/subuid").read_text().splitlines():
        name, first, count = line.split(":")
        if name == caller.name:
            return int(first), int(count)
    return None


@pytest.fixture
def bundle(room: Room) -> Bundle:
    """Make a bundle: `bundle(SCRIPT or ARGV, EDIT...)` returns its path."""
    return room.bundle


@pytest.fixture
def oci(room: Room) -> Iterator[Runtime]:
    """`pyrun-oci` as the caller, with a state directory of its own."""
    runtime = Runtime(room, room.place / "state")
    try:
        yield runtime
    finally:
        runtime.end()
