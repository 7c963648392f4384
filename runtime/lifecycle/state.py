"""The state directory: one directory of small files for each container (runtime-spec "State").

    ROOT/ID/state.json    who it is; written aside and renamed, so it is whole or absent
    ROOT/ID/config.json   the configuration that it was created with
    ROOT/ID/kept          the same and its seccomp filter, ready for use
    ROOT/ID/group.json    its control groups, from before anything is in them
    ROOT/ID/start, reply  named pipes to the process that waits for `start`; gone once it runs
    ROOT/ID/lock          held while one command changes the container

What a process says of itself ends with it, so nothing here can go stale unseen: a pid counts only
together with the time at which that process started.
"""

from __future__ import annotations

import errno
import fcntl
import os

from runtime.errors import ContainerError, PyrunError
from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json
from runtime.oci.spec import VERSION
from runtime.record import Record
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from runtime.oci.spec import Spec

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-")
_OTHERS = _FIRST | {"."}
_MAX_ID = 255  # a file name (NAME_MAX)


class State(Record):
    """What is recorded of a container."""

    id: str
    pid: int  # of its first process, as the host counts
    start_time: int  # of that process, in clock ticks after boot (proc(5), /proc/PID/stat)
    bundle: str
    rootfs: str
    created: str  # RFC 3339
    uid: int  # who created it
    annotations: tuple[tuple[str, str], ...] = ()
    group: Any = None  # its control groups, as `Group.to_json` gives them

    def to_json(self) -> dict[str, object]:
        """What is written to state.json."""
        values = {field: getattr(self, field) for field in State._fields}
        return values | {"annotations": dict(self.annotations)}

    @property
    def is_alive(self) -> bool:
        """Whether the first process lives, and is still that one."""
        try:
            state, started = process_start(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return started == self.start_time and state not in ("Z", "X")


class ContainerDirectory:
    """The directory of one container, locked while this object is used in a `with`."""

    def __init__(self, root: str, identity: str) -> None:
        """Nothing is touched yet; raises ContainerError for an id that is none."""
        check_id(identity)
        self.id = identity
        self.path = f"{root}/{identity}"
        self.kept: tuple[Spec, bytes | None, int] | None = None  # what `kept` has read
        self._root = root
        self._lock = -1

    def make(self) -> None:
        """Make the directory and lock it; raises ContainerError if the id is taken."""
        try:
            os.makedirs(self._root, 0o711, exist_ok=True)
        except OSError as error:  # also FileExistsError: it is there, and no directory
            raise ContainerError(f"--root {self._root}: {error.strerror}") from error
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            raise ContainerError(
                f"container {self.id!r} exists already", hint="`delete` it, or take another id"
            ) from None
        except OSError as error:
            raise ContainerError(f"{self.path}: {error.strerror}") from error
        try:
            # Two may have made the directory, if an empty one was deleted in between: one wins.
            self._take_lock(os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise ContainerError(f"container {self.id!r} exists already") from None

    def __enter__(self) -> ContainerDirectory:
        if self._lock < 0:
            self._take_lock(0)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        self._lock = -1

    def _take_lock(self, flags: int) -> None:
        try:
            self._lock = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            raise _unknown(self.id) from None
        except PermissionError as error:
            raise ContainerError(f"{self.path}: {error.strerror}") from error
        # Not flock(2): that lock would live on in the container's process, forked from here.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{self.path}/lock"):  # deleted while we waited
            os.close(self._lock)
            self._lock = -1
            raise _unknown(self.id)

    def write(self, state: State) -> None:
        """Record the state, durably against a crash of this process."""
        self.write_file("state.json", to_text(state.to_json()).encode())

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file of the directory, whole or not at all."""
        aside = f"{self.path}/.{name}"
        with open(aside, "wb") as file:
            file.write(content)
        os.rename(aside, f"{self.path}/{name}")

    def read(self) -> State:
        """The recorded state; raises ContainerError if there is no such container."""
        where = f"{self.path}/state.json"
        try:
            with open(where, "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(self.path):
                raise _unknown(self.id) from None
            raise ContainerError(
                f"container {self.id!r} is not complete: `create` is not done, or was killed",
                hint="`delete` removes what is left of it",
            ) from None
        except PermissionError as error:
            raise ContainerError(f"{where}: {error.strerror}") from error
        try:
            return _state_from(parse_json(content, where))
        except (PyrunError, TypeError, AttributeError) as error:
            raise ContainerError(
                f"{where}: this state is damaged ({error})",
                hint="`delete --force` removes the container",
            ) from error

    def exists(self, name: str) -> bool:
        """Whether a file of the directory is there."""
        return os.path.exists(f"{self.path}/{name}")

    def remove_file(self, name: str) -> None:
        """Remove a file of the directory if it is there."""
        try:
            os.unlink(f"{self.path}/{name}")
        except FileNotFoundError:
            pass

    def remove_empty(self) -> bool:
        """Remove the directory if nothing is in it: its maker was killed before it had a lock."""
        try:
            os.rmdir(self.path)
        except OSError:  # it is not there, or not empty: the lock's holder says what it is
            return False
        return True

    def remove(self) -> None:
        """Remove the directory; the lock goes last, so that a killed removal can be repeated."""
        names = [name for name in os.listdir(self.path) if name != "lock"]
        for name in (*names, "lock"):
            self.remove_file(name)
        os.rmdir(self.path)


def _state_from(document: Mapping[str, Any]) -> State:
    """Undo `State.to_json`; raises TypeError for what is not from there."""
    values = {field: document[field] for field in State._fields if field in document}
    values["annotations"] = tuple(document.get("annotations", {}).items())
    state = State(**values)
    for field in ("pid", "start_time", "uid"):
        if not isinstance(getattr(state, field), int):
            raise TypeError(f"{field} is {getattr(state, field)!r}")
    return state


def directories(root: str) -> Iterator[ContainerDirectory]:
    """The directories of all containers, by name."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        if os.path.exists(f"{root}/{name}/lock"):
            yield ContainerDirectory(root, name)


def check_id(identity: str) -> None:
    """Raise ContainerError unless an id can be a name of a file and of a control group."""
    if (
        not identity
        or len(identity) > _MAX_ID
        or identity[0] not in _FIRST
        or not _OTHERS.issuperset(identity)
    ):
        raise ContainerError(
            f"{identity!r} is no container id: letters, digits, '_', '+', '-', and '.' but not "
            f"first, at most {_MAX_ID} of them"
        )


def _unknown(identity: str) -> ContainerError:
    return ContainerError(f"container {identity!r} does not exist")


def process_start(pid: int) -> tuple[str, int]:
    """State letter and start time of a process (proc(5), /proc/PID/stat)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name may hold blanks and brackets: what follows the last one counts.
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def open_process(state: State) -> int:
    """A pidfd of the first process; raises ContainerError if that has ended."""
    try:
        pidfd = os.pidfd_open(state.pid)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EINVAL):
            raise
        raise ContainerError(f"container {state.id!r} is stopped") from None
    if not state.is_alive:  # looked at after it was opened: no later process has the number
        os.close(pidfd)
        raise ContainerError(f"container {state.id!r} is stopped")
    return pidfd


def report(state: State, status: str, pid: int) -> dict[str, object]:
    """The state as the specification prints it (runtime.md "State")."""
    return {
        "ociVersion": VERSION,
        "id": state.id,
        "status": status,
        "pid": pid,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "annotations": dict(state.annotations),
    }


def default_root() -> str:
    """Where states are kept: a directory that does not outlive the machine's."""
    # Rootless engines call us as root of a user namespace, where /run is not ours.
    if os.geteuid() == 0 and (os.access("/run", os.W_OK) or not in_user_namespace()):
        return "/run/pyrun"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/pyrun" if runtime else _own_directory(f"/tmp/pyrun-{_outer_uid()}")


def _outer_uid() -> int:
    """Our user outside of the user namespace, if we are in one: as root of it everybody is 0."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        for line in file:
            inner, outer, count = map(int, line.split())
            if inner <= os.geteuid() < inner + count:
                return outer + os.geteuid() - inner
    return os.geteuid()


def _own_directory(path: str) -> str:
    """A directory in a place where everybody may make one: it must be ours alone."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170022 != 0o040000:
            raise ContainerError(
                f"{path}: belongs to somebody else, or others may write to it",
                hint="set XDG_RUNTIME_DIR, or use --root",
            ) from None
    return path
