"""`pyrun secret create`, `ls`, `inspect` and `rm`: what a secret says is never shown."""

from __future__ import annotations

import os
import sys
from time import time_ns

from runtime.engine.cli import open_store, say
from runtime.engine.secrets import MOST, Secret, all_secrets, find_secret, make_secret
from runtime.engine.secrets import remove_secret as remove
from runtime.engine.times import duration_text, nanoseconds
from runtime.errors import PyrunError, UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.store.store import Store

HELP = """\
usage: pyrun secret create [-l NAME=VALUE] [--replace] NAME FILE|-
       pyrun secret create --env NAME VARIABLE     what the caller's variable says
       pyrun secret ls [-q] [--format json|TEMPLATE]
       pyrun secret inspect [-f json|TEMPLATE] SECRET...
       pyrun secret rm [-a] SECRET...

What containers are told and nobody else: `pyrun run --secret NAME` has it in /run/secrets/NAME.
It is in no image, log or record, and not shown here either.
"""
TABLE = OptionTable(
    "pyrun secret",
    values={"--root": "root", "-f": "format", "--format": "format"},
    lists={"-l": "labels", "--label": "labels"},
    flags={
        "-a": "all",
        "--all": "all",
        "-q": "quiet",
        "--quiet": "quiet",
        "--env": "env",
        "--replace": "replace",
        "--help": "help",
    },
)
_TITLES = {
    "ID": "ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "CreatedAt": "CREATED",
    "UpdatedAt": "UPDATED",
}


def main(_: str, arguments: list[str]) -> int:
    """Run one of the verbs; returns the exit status. Raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if not operands or operands[0] not in _VERBS:
        raise UsageError(f"pyrun secret: {', '.join(_VERBS)} expected", hint="pyrun secret --help")
    verb, names = operands[0], operands[1:]
    if verb in ("inspect", "rm") and not names and not fields.get("all"):
        raise UsageError(f"pyrun secret {verb}: which secret?", hint="pyrun secret ls lists them")
    content = _content(names, fields) if verb == "create" else b""
    _VERBS[verb](open_store(fields.get("root")), names, {**fields, "content": content})
    return 0


def _content(operands: list[str], fields: dict[str, Any]) -> bytes:
    """What the caller can read, who may not be root of the store's namespace yet."""
    if len(operands) != 2:
        raise UsageError("pyrun secret create: NAME and FILE expected", hint="`-` is the input")
    source = operands[1]
    if fields.get("env"):
        if source not in os.environ:
            raise UsageError(f"pyrun secret create: no variable {source} is set")
        return os.fsencode(os.environ[source])
    if source == "-":
        return sys.stdin.buffer.read(MOST + 1)
    try:
        with open(source, "rb") as file:
            return file.read(MOST + 1)
    except OSError as error:
        raise UsageError(f"pyrun secret create: {source}: {error.strerror}") from error


def _create(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    labels = tuple(text.partition("=")[::2] for text in fields.get("labels", ()))
    replace = bool(fields.get("replace"))
    say(f"{make_secret(store, names[0], fields['content'], labels, replace=replace).id}\n")


def _list(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    from runtime.templates import aligned, rows_text

    if names:
        raise UsageError(f"pyrun secret ls: {names[0]!r} is too much")
    found = all_secrets(store)
    if fields.get("quiet"):
        say("".join(f"{secret.id}\n" for secret in found))
        return
    rows = [_row(secret, time_ns()) for secret in found]
    if "format" in fields:
        say(rows_text(rows, fields["format"], _TITLES))
        return
    say(aligned([tuple(_TITLES.values()), *(tuple(row.values()) for row in rows)]))


def _row(secret: Secret, now_ns: int) -> dict[str, str]:
    return {
        "ID": secret.id,
        "Name": secret.name,
        "Driver": "file",
        "CreatedAt": f"{duration_text(now_ns - nanoseconds(secret.created))} ago",
        "UpdatedAt": f"{duration_text(now_ns - nanoseconds(secret.updated))} ago",
    }


def _inspect(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    from json import dumps

    from runtime.templates import filled_in

    found = [_document(find_secret(store, name)) for name in names]
    form = fields.get("format", "json")
    if form == "json":
        say(f"{dumps(found, indent=4)}\n")
        return
    say("".join(f"{filled_in(form, document)}\n" for document in found))


def _document(secret: Secret) -> dict[str, object]:
    """As podman has it."""
    return {
        "ID": secret.id,
        "CreatedAt": secret.created,
        "UpdatedAt": secret.updated,
        "Spec": {
            "Name": secret.name,
            "Driver": {"Name": "file", "Options": {}},
            "Labels": dict(secret.labels),
        },
    }


def _remove(store: Store, names: list[str], fields: dict[str, Any]) -> None:
    problems = []
    for word in [secret.name for secret in all_secrets(store)] if fields.get("all") else names:
        try:
            secret = find_secret(store, word)
            remove(store, secret.name)
        except PyrunError as error:
            problems.append(error)
        else:
            say(f"{secret.id}\n")
    for problem in problems[1:]:
        os.write(2, f"pyrun: {problem.message}\n".encode("utf-8", "surrogateescape"))
    if problems:
        raise problems[0]


_VERBS: dict[str, Callable[[Store, list[str], dict[str, Any]], None]] = {
    "create": _create,
    "ls": _list,
    "inspect": _inspect,
    "rm": _remove,
}
