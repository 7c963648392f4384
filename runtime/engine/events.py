"""What happens to the containers of a store: a line of JSON each, in two files that are bounded.

Monitors and commands append; a line is one write(2), so they need not wait for each other.
"""

from __future__ import annotations

import fcntl
import os
from time import time_ns

from runtime.oci.json_text import to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.engine.record import ContainerRecord
    from runtime.store.store import Store

FILES = 2
_MOST = 1 << 20  # bytes of a file


def events_path(store: Store) -> str:
    """Where the events are; the older ones are beside it."""
    return f"{store.root}/containers/events"


def note(store: Store, action: str, record: ContainerRecord, **attributes: str) -> None:
    """Append an event of a container. What cannot be noted happens nevertheless."""
    about = {"image": record.image, "name": record.name} | dict(record.labels) | attributes
    event = {
        "Type": "container",
        "Action": action,
        "ID": record.id,
        "Attributes": about,
        "timeNano": time_ns(),
    }
    line = f"{to_text(event)}\n".encode("utf-8", "surrogateescape")
    try:
        _append(events_path(store), line)
    except OSError:  # a full disk must not keep a container from being removed
        pass


def _append(path: str, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size + len(line) > _MOST:
            fcntl.flock(fd, fcntl.LOCK_EX)  # one of those who see it full renames it
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                os.rename(path, f"{path}.1")
            os.close(fd)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, line)
    finally:
        os.close(fd)
