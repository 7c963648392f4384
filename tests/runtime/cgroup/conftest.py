"""Groups of the kernel's own for tests, and processes in them; all gone after each test."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

from runtime.cgroup.files import enter
from runtime.cgroup.group import Group, make_group
from runtime.cgroup.layout import Hierarchy, Layout, find_layout
from runtime.oci.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_numbers = itertools.count()


def hierarchy(controller: str) -> Hierarchy:
    """Where this machine has a controller; skips the test if it is nowhere, or not ours."""
    found = find_layout().hierarchy_of(controller)
    if found is None:
        pytest.skip(f"no {controller} controller here ({find_layout().describe()})")
    if not os.access(found.mount, os.W_OK):
        pytest.skip(f"{found.mount} is not writable")
    return found


def v1_only() -> Layout:
    """The machine's hierarchies of v1."""
    return Layout(hierarchies=tuple(h for h in find_layout().hierarchies if h.version == 1))


def v2_only() -> Layout:
    """The machine's hierarchy of v2; skips the test if there is none."""
    unified = find_layout().unified
    if unified is None or not os.access(unified.mount, os.W_OK):
        pytest.skip("no writable hierarchy of cgroup v2")
    return Layout(hierarchies=(unified,))


class Groups:
    """Makes groups at the top of the hierarchies, and processes in them."""

    def __init__(self) -> None:
        self.path = f"/pybuild-test-{os.getpid()}-{next(_numbers)}"
        self.made: list[Group] = []
        self.children: list[int] = []

    def make(self, resources: Resources | None = None, **choices: Any) -> Group:
        """`make_group` at this test's path."""
        group = make_group(self.path, resources, **choices)
        self.made.append(group)
        return group

    def spawn(self, group: Group, work: Callable[[], object]) -> int:
        """Fork a process that enters the group and works; returns once it is in there."""
        entries = group.entries()
        ready_read, ready_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                enter(entries)
                os.write(ready_write, b".")
                work()
            finally:
                os._exit(0)
        self.children.append(pid)
        os.close(ready_write)
        for fd in entries:
            os.close(fd)
        assert os.read(ready_read, 1) == b"."
        os.close(ready_read)
        return pid

    def result(self, group: Group, work: Callable[[], object]) -> str:
        """What work done in the group returns, as text; or `signal N` if it was killed."""
        read, write = os.pipe()

        def report() -> None:
            try:
                text = repr(work())
            except OSError as error:
                text = str(error.strerror)
            os.write(write, text.encode())

        pid = self.spawn(group, report)
        os.close(write)
        with open(read, encoding="utf-8") as pipe:
            text = pipe.read()
        status = self.wait(pid)
        return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else text

    def wait(self, pid: int) -> int:
        """Collect a child."""
        self.children.remove(pid)
        return os.waitpid(pid, 0)[1]

    def end(self) -> None:
        """Leave nothing."""
        for group in self.made:
            if group.is_frozen():
                group.thaw()
        for pid in list(self.children):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        for group in self.made:
            group.remove()


@pytest.fixture
def groups() -> Iterator[Groups]:
    """Groups and their processes, removed after the test; what v2 enables is disabled again."""
    unified = find_layout().unified
    before = set() if unified is None else _enabled(unified)
    made = Groups()
    try:
        yield made
        made.end()
    finally:
        if unified is not None:
            for controller in _enabled(unified) - before:
                Path(unified.mount, "cgroup.subtree_control").write_text(f"-{controller}")
    assert left_of(made.path) == []


def _enabled(unified: Hierarchy) -> set[str]:
    return set(Path(unified.mount, "cgroup.subtree_control").read_text().split())


def left_of(path: str) -> list[str]:
    """Directories of a group that are there in any hierarchy."""
    mounts = (h.mount for h in find_layout().hierarchies)
    return [mount + path for mount in mounts if os.path.exists(mount + path)]
