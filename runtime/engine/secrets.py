"""The secrets of a store: `<store>/secrets/<name>`, which its owner alone can read.

A file is a line of JSON about the secret, and then the secret. A container's record refers to it
by name; what it says is read at each start, and is nowhere else on a disk.
"""

from __future__ import annotations

import os
from time import time_ns

from runtime.engine.logfile import timestamp
from runtime.engine.secret_words import is_secret_name
from runtime.errors import ContainerError, PyrunError, UsageError
from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store

MOST = 512_000  # bytes of one, as podman's
_ID = 25  # digits, as podman's


class Secret(Record):
    """What may be known of a secret."""

    id: str
    name: str
    created: str  # RFC 3339
    updated: str
    labels: tuple[tuple[str, str], ...] = ()


def make_secret(
    store: Store,
    name: str,
    content: bytes,
    labels: tuple[tuple[str, str], ...] = (),
    *,
    replace: bool = False,
) -> Secret:
    """Keep a secret; raises UsageError, and ContainerError if the name is taken."""
    if not is_secret_name(name):
        raise UsageError(
            f"secret {name!r}: letters, digits, '_', '.' and '-' expected, a letter or digit first"
        )
    if not 0 < len(content) <= MOST:
        raise UsageError(f"secret {name!r}: {len(content)} bytes: 1 to {MOST} expected")
    now = timestamp(time_ns())
    made = Secret(
        id=os.urandom(13).hex()[:_ID], name=name, created=now, updated=now, labels=labels
    )
    folder = f"{store.root}/secrets"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    aside = f"{folder}/.{made.id}"  # no name begins so
    head = {field: getattr(made, field) for field in Secret._fields} | {"labels": dict(labels)}
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(f"{to_text(head)}\n".encode("utf-8", "surrogateescape") + content)
        if replace:
            os.rename(aside, f"{folder}/{name}")
            return made
        os.link(aside, f"{folder}/{name}")
    except FileExistsError:
        raise ContainerError(
            f"there is a secret {name!r}", hint="--replace puts this one in its place"
        ) from None
    finally:
        if os.path.exists(aside):
            os.unlink(aside)
    return made


def all_secrets(store: Store) -> list[Secret]:
    """All of them, by name; raises ContainerError for a damaged one."""
    try:
        names = sorted(os.listdir(f"{store.root}/secrets"))
    except FileNotFoundError:
        return []
    return [_read(store, name)[0] for name in names if not name.startswith(".")]


def find_secret(store: Store, word: str) -> Secret:
    """The secret that a name, an id or the beginning of one stands for; raises ContainerError."""
    found = all_secrets(store)
    for secret in found:
        if secret.name == word:
            return secret
    fitting = [secret for secret in found if word and secret.id.startswith(word)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ContainerError(f"{word!r} begins the ids of {len(fitting)} secrets")
    raise ContainerError(f"no secret {word!r}", hint="`pyrun secret ls` lists them")


def content_of(store: Store, name: str) -> bytes:
    """What a secret says; raises ContainerError if there is none of the name."""
    return _read(store, name)[1]


def remove_secret(store: Store, name: str) -> None:
    """Remove one by its name; containers that refer to it do not start any more."""
    os.unlink(f"{store.root}/secrets/{name}")


def _read(store: Store, name: str) -> tuple[Secret, bytes]:
    where = f"{store.root}/secrets/{name}"
    try:
        with open(where, "rb") as file:
            head, _, content = file.read().partition(b"\n")
        table = dict(parse_json(head, where))
        table["labels"] = tuple((table.get("labels") or {}).items())
        return Secret(**table), content
    except FileNotFoundError:
        raise ContainerError(
            f"no secret {name!r}", hint=f"`pyrun secret create {name} FILE` makes it"
        ) from None
    except (PyrunError, TypeError, AttributeError):
        # Not with the text of the error: it might show what is in the file.
        raise ContainerError(f"{where}: damaged", hint=f"`pyrun secret rm {name}`") from None
