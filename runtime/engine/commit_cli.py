"""`pyrun commit`: a container as an image."""

from __future__ import annotations

from contextlib import nullcontext

from runtime.engine.cli import say
from runtime.engine.committing import Commit, commit
from runtime.engine.containers import RUNNING, look, state_directory
from runtime.engine.joining import open_store_beside
from runtime.errors import UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from runtime.engine.containers import Seen

HELP = """\
usage: pyrun commit [OPTIONS] CONTAINER NAME[:TAG]

Make an image of a container: its image, and a layer of what it has written, but not of what is in
volumes. A container that runs is paused meanwhile, where that can be.

  -m, --message TEXT         into the image's history
  -a, --author TEXT
  -c, --change INSTRUCTION   CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
  -p, --pause                (default: true)
      --root DIR             the store
"""
TABLE = OptionTable(
    "pyrun commit",
    values={
        "--root": "root",
        "-m": "message",
        "--message": "message",
        "-a": "author",
        "--author": "author",
    },
    lists={"-c": "changes", "--change": "changes"},
    flags={"-p": "pause", "--pause": "pause", "--help": "help"},
)


def main(_: str, arguments: list[str]) -> int:
    """Make the image, and print its digest; returns the exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if len(operands) != 2:
        raise UsageError(
            "pyrun commit: a container and a name expected", hint="pyrun commit --help"
        )
    store, path = open_store_beside(fields.get("root"), operands[0])
    seen = look(store, path)
    asked = Commit(
        name=operands[1],
        message=fields.get("message", ""),
        author=fields.get("author", ""),
        changes=fields.get("changes", ()),
    )
    with _paused(seen) if fields.get("pause", True) else nullcontext():
        digest = commit(store, seen, asked)
    say(f"{digest}\n")
    return 0


def _paused(seen: Seen) -> AbstractContextManager[None]:
    from contextlib import contextmanager

    from runtime.errors import ContainerError
    from runtime.lifecycle.operations import pause_container, resume_container

    @contextmanager
    def paused() -> Iterator[None]:
        directory = state_directory(seen.record.id)
        try:
            pause_container(directory)
        except ContainerError:  # without control groups, as without root
            yield
            return
        try:
            yield
        finally:
            resume_container(directory)

    return paused() if seen.status == RUNNING else nullcontext()
