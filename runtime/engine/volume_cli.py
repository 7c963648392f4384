"""`pyrun volume create`, `ls`, `inspect`, `rm` and `prune`."""

from __future__ import annotations

import os

from runtime.engine.cli import open_store, say
from runtime.engine.volumes import (
    Volume,
    all_volumes,
    data_of,
    find_volume,
    locked,
    make_volume,
    remove_volume,
    users_of,
)
from runtime.errors import PyrunError, UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.store.store import Store

HELP = """\
usage: pyrun volume create [-l NAME=VALUE] [VOLUME]
       pyrun volume ls [-q]
       pyrun volume inspect VOLUME...
       pyrun volume rm [-f] VOLUME...
       pyrun volume prune [-a]        those without a name that no container uses; -a: all of these

Directories of the store that outlive containers; `pyrun run -v VOLUME:DEST` mounts one, and makes
it if it is missing. Its files are in STORE/volumes/VOLUME/data.
"""
TABLE = OptionTable(
    "pyrun volume",
    values={"--root": "root"},
    lists={"-l": "labels", "--label": "labels"},
    flags={
        "-a": "all",
        "--all": "all",
        "-f": "force",
        "--force": "force",
        "-q": "quiet",
        "--quiet": "quiet",
        "--help": "help",
    },
)


def main(_: str, arguments: list[str]) -> int:
    """Run one of the verbs; returns the exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if not operands or operands[0] not in _VERBS:
        raise UsageError(f"pyrun volume: {', '.join(_VERBS)} expected", hint="pyrun volume --help")
    verb, names = operands[0], operands[1:]
    if verb in ("inspect", "rm") and not names:
        raise UsageError(f"pyrun volume {verb}: which volume?", hint="pyrun volume ls lists them")
    if len(names) > {"create": 1, "ls": 0, "prune": 0}.get(verb, len(names)):
        raise UsageError(f"pyrun volume {verb}: {names[-1]!r} is too much")
    _VERBS[verb](open_store(fields.get("root")), names, fields)
    return 0


def _create(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    labels = tuple(text.partition("=")[::2] for text in fields.get("labels", ()))
    name = names[0] if names else os.urandom(32).hex()
    with locked(store):
        make_volume(store, name, labels, anonymous=not names)
    say(f"{name}\n")


def _list(store: Store, _: list[str], fields: dict[str, Any]) -> None:
    found = all_volumes(store)
    if fields.get("quiet"):
        say("".join(f"{volume.name}\n" for volume in found))
        return
    rows = [("DRIVER", "VOLUME NAME"), *(("local", volume.name) for volume in found)]
    say("".join(f"{driver:9} {name}\n" for driver, name in rows))


def _inspect(store: Store, names: list[str], _: dict[str, Any]) -> None:
    from json import dumps

    users = users_of(store)
    found = [_document(find_volume(store, name), users.get(name, [])) for name in names]
    say(dumps(found, indent=4) + "\n")


def _document(volume: Volume, users: list[str]) -> dict[str, object]:
    return {
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": data_of(volume),
        "CreatedAt": volume.created,
        "Labels": dict(volume.labels),
        "Scope": "local",
        "Anonymous": volume.anonymous,
        "Containers": users,
    }


def _remove(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    problems = []
    with locked(store):
        for name in names:
            try:
                remove_volume(store, name, force=bool(fields.get("force")))
            except PyrunError as error:
                problems.append(error)
            else:
                say(f"{name}\n")
    for problem in problems[1:]:
        os.write(2, f"pyrun: {problem.message}\n".encode("utf-8", "surrogateescape"))
    if problems:
        raise problems[0]


def _prune(store: Store, _: list[str], fields: dict[str, Any]) -> None:
    with locked(store):
        users = users_of(store)
        for volume in all_volumes(store):
            if (volume.anonymous or fields.get("all")) and volume.name not in users:
                remove_volume(store, volume.name)
                say(f"{volume.name}\n")


_VERBS: dict[str, Callable[[Store, list[str], dict[str, Any]], None]] = {
    "create": _create,
    "ls": _list,
    "inspect": _inspect,
    "rm": _remove,
    "prune": _prune,
}
