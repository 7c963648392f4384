"""`pyrun export` and `diff`: all files of a container, and those that it has changed."""

from __future__ import annotations

import os
import sys

from runtime.engine.changes import changes
from runtime.engine.cli import say
from runtime.engine.joining import open_store_beside
from runtime.engine.roots import open_container_root
from runtime.errors import UsageError
from runtime.options import OptionTable

HELPS = {
    "export": """\
usage: pyrun export [-o FILE] CONTAINER

Write all files of a container as a tar, but not what is mounted in it.

  -o, --output FILE          (default: standard output)
      --root DIR             the store
""",
    "diff": """\
usage: pyrun diff CONTAINER

List what a container has added (A), changed (C) and deleted (D) since it was made.

      --root DIR             the store
""",
}
TABLES = {
    "export": OptionTable(
        "pyrun export",
        values={"--root": "root", "-o": "output", "--output": "output"},
        lists={},
        flags={"--help": "help"},
    ),
    "diff": OptionTable(
        "pyrun diff", values={"--root": "root"}, lists={}, flags={"--help": "help"}
    ),
}


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs; returns the exit status. Raises PyrunError."""
    fields, operands = TABLES[verb].parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELPS[verb])
        return 0
    if len(operands) != 1:
        raise UsageError(f"pyrun {verb}: one container expected", hint=f"pyrun {verb} --help")
    if verb == "diff":
        store, path = open_store_beside(fields.get("root"), operands[0])
        say("".join(f"{letter} {name}\n" for letter, name in changes(store, path)))
        return 0
    _export(fields.get("root"), operands[0], fields.get("output"))
    return 0


def _export(root: str | None, name: str, output: str | None) -> None:
    from runtime.engine.trees import TarWriter, walk

    if output is None and os.isatty(1):
        raise UsageError("pyrun export: a tar is nothing for a terminal", hint="-o FILE")
    try:
        file = sys.stdout.buffer if output is None else open(output, "wb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror}") from error
    store, path = open_store_beside(root, name)
    top = open_container_root(store, path)
    tar = TarWriter(file)
    for found in walk(top, one_filesystem=True):
        tar.add(found, found.path.removeprefix("./"))
    tar.close()
    file.close() if output else file.flush()
