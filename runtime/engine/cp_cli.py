"""`pyrun cp`: files into a container and out of it, whether it runs or not."""

from __future__ import annotations

import os
import sys

from runtime.engine.cli import say
from runtime.engine.copying import End, copy, read_tar, write_tar
from runtime.engine.joining import open_store_beside
from runtime.engine.roots import open_container_root
from runtime.errors import UsageError
from runtime.options import OptionTable

HELP = """\
usage: pyrun cp [OPTIONS] CONTAINER:SRC DEST
       pyrun cp [OPTIONS] SRC CONTAINER:DEST

Copy files out of a container or into it, whether it runs or not. A directory that is there gets
SRC under its name, or with SRC/. what is in SRC; otherwise DEST is the new name. "-" is a tar on
standard input or output. No link leads out of the container.

  -a, --archive              keep owners (default: root in a container, the caller outside)
  -L, --follow-link          copy what SRC points to, if it is a link
      --root DIR             the store
"""
TABLE = OptionTable(
    "pyrun cp",
    values={"--root": "root"},
    lists={},
    flags={
        "-a": "archive",
        "--archive": "archive",
        "-L": "follow",
        "--follow-link": "follow",
        "-q": "quiet",
        "--quiet": "quiet",
        "--help": "help",
    },
)


def main(_: str, arguments: list[str]) -> int:
    """Copy; returns the exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if len(operands) != 2:
        raise UsageError("pyrun cp: a source and a destination expected", hint="pyrun cp --help")
    source, target = operands
    name, inside = _split(source), _split(target)
    if (name is None) == (inside is None):
        raise UsageError("pyrun cp: one of the two must be CONTAINER:PATH, and only one")
    follow, owner = bool(fields.get("follow")), None if fields.get("archive") else (0, 0)
    container, path = name or inside or ("", "")
    cwd = os.getcwd()
    store, place = open_store_beside(fields.get("root"), container)
    root = open_container_root(store, place)
    there = End(root=root, path=path, shown=f"{container}:{path}")
    if name is not None and target == "-":
        write_tar(there, sys.stdout.buffer, follow=follow)
    elif name is not None:
        copy(there, _ours(target, cwd), owner, follow=follow)
    elif source == "-":
        read_tar(there, sys.stdin.buffer, owner)
    else:
        copy(_ours(source, cwd), there, owner, follow=follow)
    return 0


def _split(text: str) -> tuple[str, str] | None:
    """The container and the path of CONTAINER:PATH; None for a path of ours."""
    name, colon, path = text.partition(":")
    if not colon or not name or name[0] in "./" or "/" in name:
        return None
    return name, path if path.startswith("/") else f"/{path}"


def _ours(text: str, cwd: str) -> End:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return End(root=root, path=os.path.join(cwd, text), shown=text)
