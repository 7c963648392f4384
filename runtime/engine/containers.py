"""All containers of a store: by name and id, and what has become of each.

containers/<id>/         one container (`record`)
containers/names/<name>  a link to it: a name is taken by whoever makes the link
containers/events        what has happened (`events`)
"""

from __future__ import annotations

import fcntl
import os
from time import sleep

from runtime.engine.events import note
from runtime.engine.record import (
    ContainerRecord,
    Exit,
    Run,
    read_exit,
    read_record,
    read_run,
    write_exit,
    write_file,
)
from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.state import ContainerDirectory, State, default_root
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.engine.mount_words import VolumeUse
    from runtime.store.store import Store

CREATED, RUNNING, PAUSED, EXITED = "created", "running", "paused", "exited"
_NAMES = "names"
_SHORT = 12  # digits of an id that are shown
_LOCK = "monitor"
FAILURE = "failure"  # of a monitor, in its own words
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_OTHERS = _FIRST | frozenset("_.-")
_KILLED = 137
_SOON_S = 0.01


class Seen(Record):
    """A container as it is at this moment."""

    path: str
    record: ContainerRecord
    status: str
    run: Run | None = None
    exit: Exit | None = None
    state: State | None = None  # of the OCI runtime, while it runs

    @property
    def is_alive(self) -> bool:
        """Whether its process lives."""
        return self.status in (RUNNING, PAUSED)


def short(identity: str) -> str:
    """An id as it is shown."""
    return identity[:_SHORT]


def folder(store: Store) -> str:
    """Where the containers of a store are."""
    return f"{store.root}/containers"


def state_directory(identity: str) -> ContainerDirectory:
    """The directory of the OCI runtime for a container that runs."""
    return ContainerDirectory(default_root(), identity)


def check_name(name: str) -> None:
    """Raise UsageError for what cannot be a container's name."""
    if len(name) < 2 or len(name) > 128 or name[0] not in _FIRST or not _OTHERS.issuperset(name):
        raise UsageError(
            f"--name {name!r}: letters, digits, '_', '.' and '-' expected, at least two, a letter "
            "or digit first"
        )


def take_name(store: Store, name: str, identity: str) -> None:
    """Let a name stand for a container; raises ContainerError if it is another's."""
    names = f"{folder(store)}/{_NAMES}"
    os.makedirs(names, mode=0o700, exist_ok=True)
    while True:
        try:
            os.symlink(f"../{identity}", f"{names}/{name}")
            return
        except FileExistsError:
            target = _target(f"{names}/{name}")
            if target and os.path.isdir(f"{folder(store)}/{target}"):
                raise ContainerError(
                    f"the name {name!r} is taken by container {short(target)}",
                    hint=f"`pyrun rm {name}` removes it; or take another name",
                ) from None
            # Whoever took it was killed before it had a container.
            free_name(store, name, target)


def free_name(store: Store, name: str, identity: str) -> None:
    """Let a name stand for nothing, if it stands for that container."""
    if _target(f"{folder(store)}/{_NAMES}/{name}") != identity:
        return
    try:
        os.unlink(f"{folder(store)}/{_NAMES}/{name}")
    except FileNotFoundError:
        pass


def _target(path: str) -> str:
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return ""


def find(store: Store, word: str) -> str:
    """The directory of the container that a name, an id or the beginning of one stands for.

    Raises ContainerError.
    """
    place = folder(store)
    if target := _target(f"{place}/{_NAMES}/{word}"):
        return f"{place}/{target}"
    found = [path for path in directories(store) if os.path.basename(path).startswith(word)]
    if word and len(found) == 1:
        return found[0]
    if len(found) > 1 and word:
        raise ContainerError(f"{word!r} begins the ids of {len(found)} containers")
    raise ContainerError(f"no container {word!r}", hint="`pyrun ps -a` lists them")


def directories(store: Store) -> Iterator[str]:
    """The directories of all containers, by id."""
    try:
        names = sorted(os.listdir(folder(store)))
    except FileNotFoundError:
        return
    for name in names:
        if len(name) == 64 and os.path.exists(f"{folder(store)}/{name}/record.json"):
            yield f"{folder(store)}/{name}"


def look(store: Store, path: str) -> Seen:
    """What has become of a container; what a killed monitor left is put in order."""
    record, run = read_record(path), read_run(path)
    if run is None:
        return Seen(path=path, record=record, status=CREATED)
    while True:
        state, status = _running(record.id)
        if state is not None:
            return Seen(path=path, record=record, status=status, run=run, state=state)
        ended = read_exit(path)
        if ended is None and not is_monitored(path):
            ended = read_exit(path) or _settle(path, record)
        if ended is not None:
            return Seen(path=path, record=record, status=EXITED, run=run, exit=ended)
        sleep(_SOON_S)  # it is just being started, or has just ended


def look_at(store: Store, word: str) -> Seen:
    """The container that a word stands for, as it is."""
    return look(store, find(store, word))


def look_at_all(store: Store) -> list[Seen]:
    """All containers, the newest first."""
    found = []
    for path in directories(store):
        try:
            found.append(look(store, path))
        except FileNotFoundError:  # removed since it was listed
            continue
    return sorted(found, key=lambda seen: seen.record.created, reverse=True)


def _running(identity: str) -> tuple[State | None, str]:
    from runtime.lifecycle.operations import look as look_at_state

    try:
        seen = look_at_state(state_directory(identity))
    except ContainerError:  # it has none: not started yet, or ended
        return None, ""
    if seen.status == "stopped":
        return None, ""
    return seen.state, PAUSED if seen.status == "paused" else RUNNING


def hold_monitor_lock(path: str) -> int:
    """Be the monitor of a container, until this process ends; raises ContainerError."""
    fd = os.open(f"{path}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A lock of the process, which no child of it has.
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ContainerError("it is running already") from None
    return fd


def is_monitored(path: str) -> bool:
    """Whether a monitor is at work for a container."""
    try:
        fd = os.open(f"{path}/{_LOCK}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _settle(path: str, record: ContainerRecord) -> Exit:
    """Put in order what a monitor left that was killed, or a machine that was switched off."""
    from runtime.engine.logfile import timestamp
    from runtime.lifecycle.operations import delete_container

    directory = state_directory(record.id)
    if os.path.isdir(directory.path):
        delete_container(directory, force=True)
    finished = timestamp(os.stat(f"{path}/run.json").st_mtime_ns)
    ended = Exit(status=_KILLED, finished=finished, error=_reason(path))
    write_exit(path, ended)
    return ended


def _reason(path: str) -> str:
    """Why a container has no monitor any more."""
    try:
        with open(f"{path}/{FAILURE}", encoding="utf-8", errors="replace") as file:
            return f"its monitor failed: {file.read()}"
    except FileNotFoundError:
        return "its monitor was killed"


def remove(store: Store, path: str, record: ContainerRecord, *, volumes: bool = False) -> None:
    """Remove a container that does not run, with all that it has written.

    With `volumes`, also those of its volumes that have no name and no other user.
    """
    from runtime.store.workspace import Workspace

    uses: tuple[VolumeUse, ...] = ()
    if volumes and os.path.exists(f"{path}/volumes.json"):
        from runtime.engine.volumes import read_uses, remove_anonymous

        uses = read_uses(path)
    with Workspace(store) as room:
        try:
            record = read_record(path)  # it may have another name by now
            os.rename(path, f"{room.path}/removed")
        except (FileNotFoundError, NotADirectoryError):  # by another process
            return
        except ContainerError:
            if os.path.isdir(path):
                raise
            return
        free_name(store, record.name, record.id)
        note(store, "remove", record)
    if uses:
        remove_anonymous(store, uses)


def rename(store: Store, seen: Seen, name: str) -> None:
    """Give a container another name; raises ContainerError if it is taken."""
    record = seen.record
    check_name(name)
    take_name(store, name, record.id)
    write_file(seen.path, "record.json", record.replace(name=name).to_json())
    free_name(store, record.name, record.id)
    note(store, "rename", record.replace(name=name), oldName=record.name)
