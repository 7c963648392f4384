"""What is done to all processes of a group: listing, freezing, killing; and removing it."""

from __future__ import annotations

import os
import time
from errno import ENODEV, ENOENT, EOPNOTSUPP

from runtime.cgroup.files import FileError, read_file, write_file
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence

    from runtime.cgroup.group import Group
    from runtime.cgroup.places import Place
else:  # the module below this one imports enum: two milliseconds
    import _signal as signal


def processes(group: Group) -> tuple[int, ...]:
    """All processes in the group and below it, in any of its hierarchies."""
    found = {pid for place in group.places for pid in _pids_below(place.directory)}
    return tuple(sorted(found))


def _pids_below(directory: str) -> Iterator[int]:
    for path in _tree(directory):
        try:
            text = read_file(path + "/cgroup.procs")
        except FileError as error:
            if error.errno in (ENOENT, ENODEV):
                continue  # the group went while we looked
            if error.errno != EOPNOTSUPP:
                raise
            text = read_file(path + "/cgroup.threads")  # a threaded group shows no processes
        for line in text.split():
            # Processes outside our PID namespace are shown as 0, and kill(0) would be us.
            if line != "0":
                yield int(line)


def _tree(directory: str) -> Iterator[str]:
    """A directory and those below it, from the inside out."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(directory, error) from error
    for path in below:
        yield from _tree(path)
    yield directory


def freeze(group: Group, *, timeout_s: float) -> None:
    """Stop all processes, and wait until they stand still."""
    place = _freezer(group)
    deadline = time.monotonic() + timeout_s
    if place.version == 2:
        write_file(place.directory + "/cgroup.freeze", "1")
    while True:
        if place.version == 1:
            # Again each time: a process that was forked meanwhile may have been missed.
            write_file(place.directory + "/freezer.state", "FROZEN")
        if _stands_still(place):
            return
        if time.monotonic() > deadline:
            thaw(group)
            raise ContainerError(f"{place.directory}: not frozen after {timeout_s:g} seconds")
        time.sleep(0.002)


def thaw(group: Group) -> None:
    """Let frozen processes go on."""
    place = _freezer(group)
    if place.version == 2:
        write_file(place.directory + "/cgroup.freeze", "0")
    else:
        write_file(place.directory + "/freezer.state", "THAWED")


def is_frozen(group: Group) -> bool:
    """Whether the group is frozen by itself, be it that some process still moves."""
    place = group.unified or group.place_of("freezer")
    if place is None:
        return False
    file = "cgroup.freeze" if place.version == 2 else "freezer.self_freezing"
    try:
        return read_file(f"{place.directory}/{file}") == "1"
    except FileError as error:
        if error.errno in (ENOENT, ENODEV):
            return False  # the group is gone
        raise


def _freezer(group: Group) -> Place:
    place = group.unified or group.place_of("freezer")
    if place is None:
        raise ContainerError(
            "the container has no control group that can be frozen",
            hint="it must be started with one",
        )
    return place


def _stands_still(place: Place) -> bool:
    if place.version == 2:
        return "frozen 1" in read_file(place.directory + "/cgroup.events").splitlines()
    return read_file(place.directory + "/freezer.state") == "FROZEN"


def kill(group: Group, *, timeout_s: float) -> None:
    """SIGKILL every process, until none is left.

    Where cgroup.kill (Linux 5.14, v2) is missing, processes are frozen first if they can be:
    otherwise one that forks faster than we kill would never end.
    """
    deadline = time.monotonic() + timeout_s
    frozen = False
    if not _kill_at_once(group) and group.place_of("freezer") is not None:
        try:
            freeze(group, timeout_s=1)
            frozen = True
        except ContainerError:
            pass  # one that can't be frozen can still be killed
    delay_s = 0.001
    while pids := processes(group):
        _kill_each(group, pids)
        if frozen:
            thaw(group)
            frozen = False
        if time.monotonic() > deadline:
            shown = ", ".join(map(str, pids[:8]))
            raise ContainerError(
                f"processes {shown} are still there {timeout_s:g} seconds after SIGKILL"
            )
        time.sleep(delay_s)
        delay_s = min(delay_s * 2, 0.1)
    if frozen:
        thaw(group)


def _kill_at_once(group: Group) -> bool:
    place = group.unified
    if place is None:
        return False
    try:
        write_file(place.directory + "/cgroup.kill", "1")
    except FileError as error:
        if error.errno in (ENOENT, EOPNOTSUPP):
            return False
        raise
    return True


def _kill_each(group: Group, pids: Sequence[int]) -> None:
    """Kill processes that are in the group now: a pid may be somebody else's by then."""
    held: list[tuple[int, int]] = []
    try:
        for pid in pids:
            try:
                held.append((pid, os.pidfd_open(pid)))
            except ProcessLookupError:
                continue  # it ended by itself
        still = set(processes(group))
        for pid, fd in held:
            if pid in still:
                try:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                except OSError as error:
                    raise ContainerError(f"process {pid}: SIGKILL: {error.strerror}") from error
    finally:
        for _, fd in held:
            os.close(fd)


def remove_tree(directory: str, *, timeout_s: float) -> None:
    """Remove a group with those below it; waits for processes that are about to be gone."""
    deadline = time.monotonic() + timeout_s
    delay_s = 0.001
    while True:
        refused = None
        for path in _tree(directory):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                refused = FileError(path, error)
        if refused is None:
            return
        if time.monotonic() > deadline:
            pids = sorted(set(_pids_below(directory)))
            hint = f"processes in it: {', '.join(map(str, pids[:8]))}" if pids else refused.hint
            raise ContainerError(refused.message, hint=hint) from refused
        time.sleep(delay_s)
        delay_s = min(delay_s * 2, 0.1)


def move_into(group: Group, places: Sequence[Place]) -> None:
    """Move all processes of a group to further places of it, and what they fork meanwhile."""
    for _ in range(100):
        missing = [
            (place, pid)
            for place in places
            for pid in set(processes(group)) - set(_pids_below(place.directory))
        ]
        if not missing:
            return
        for place, pid in missing:
            try:
                write_file(place.directory + "/cgroup.procs", str(pid))
            except FileError:
                if os.path.exists(f"/proc/{pid}"):
                    raise
    raise ContainerError(f"{places[0].directory}: the container forks faster than it can be moved")
