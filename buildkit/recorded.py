"""The record of a whole build: if nothing that it was made from changed, it need not be planned.

What a Containerfile, a command line and the inputs led to is written down after the build. The
next build of the same file by the same command line looks at each input again (`inputs`), at what
is in the store, and at the archive it wrote; only if all of it is as it was, that is the answer.
This path loads no parser.
"""

from __future__ import annotations

import marshal
import os

from buildkit.contents import StatCache
from buildkit.inputs import are_unchanged
from runtime import VERSION
from runtime.oci.digest import digest_of
from runtime.record import Record
from runtime.store.identity import identity_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildkit.inputs import Input
    from runtime.store.store import Store

FORMAT = "6"  # part of every key: raised when the same input would give other bytes


class Recorded(Record):
    """What a build made, and from what."""

    inputs: tuple[Input, ...]
    titles: tuple[str, ...]  # of the steps, for the progress
    paths: tuple[tuple[str, int], ...]  # of files in the store, with their sizes
    names: tuple[tuple[str, str], ...]  # records of the image's names, and their digests
    digest: str  # of the manifest
    config_digest: str
    manifest: dict[str, object]  # its descriptor
    archives: tuple[tuple[int, ...], ...]  # status of each file that was written
    shown: int = 0  # the number of the last step in the progress


def build_key(
    containerfile: bytes,
    *,
    context: str,
    outputs: tuple[tuple[str, str, str], ...],
    tags: tuple[str, ...],
    target: str | None,
    build_args: Mapping[str, str],
    epoch: int | None,
    further_words: str = "",
) -> str:
    """Identity of what a command line asks for: the name of its record."""
    asked = (
        FORMAT,
        VERSION,
        containerfile,
        context,
        outputs,
        tags,
        target,
        tuple(sorted(build_args.items())),
        epoch,
        further_words,
        os.uname().machine,
    )
    return digest_of(marshal.dumps(asked, 2)).hex


def look_up(
    store: Store, key: str, *, files: tuple[str, ...], known: StatCache
) -> Recorded | None:
    """The recorded build, if doing it again would change nothing."""
    try:
        with open(_path(store, key), "rb") as file:
            recorded = Recorded(**marshal.loads(file.read()))
    except (OSError, ValueError, EOFError, TypeError):  # none, or one of another version
        return None
    if tuple(archive_status(path) for path in files) != recorded.archives:
        return None
    if not all(_is_there(path, size) for path, size in recorded.paths):
        return None
    if any(_digest(path) != digest for path, digest in recorded.names):
        return None  # the name is another image's by now
    return recorded if are_unchanged(recorded.inputs, store, known) else None


def write(store: Store, key: str, recorded: Recorded) -> None:
    """Record a build."""
    from runtime.store.store import write_atomically

    fields = {field: getattr(recorded, field) for field in Recorded._fields}
    write_atomically(_path(store, key), marshal.dumps(fields))


def archive_status(path: str) -> tuple[int, ...]:
    """What must stay the same about a file for it to be the one that was written.

    ctime cannot be set back: a file that was changed shows it.
    """
    try:
        return identity_of(path)
    except OSError:
        return ()


def _is_there(path: str, size: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_size == size


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return digest_of(file.read())
    except OSError:
        return ""


def _path(store: Store, key: str) -> str:
    return f"{store.root}/cache/build-{key}"
