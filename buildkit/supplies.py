"""What RUN steps may be given for their time: secrets and SSH agents (`--secret`, `--ssh`)."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from types import MappingProxyType

from buildkit.errors import UsageError
from runtime.record import Record

_MAX_SECRET = 500 << 10  # bytes, as in BuildKit


class Agent(Record):
    """Where signatures come from: the socket of an agent, or files with private keys."""

    socket: str = ""
    keys: tuple[str, ...] = ()


class Supplies(Record):
    """Secrets and agents by their ids."""

    secrets: Mapping[str, bytes] = MappingProxyType({})
    agents: Mapping[str, Agent] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Supplies(agents={self.agents!r})"  # secrets are for nobody's eyes


def read_supplies(secrets: tuple[str, ...], agents: tuple[str, ...]) -> Supplies:
    """What the options name, secrets with their content; raises UsageError."""
    return Supplies(
        secrets=dict(_secret(text) for text in secrets), agents=dict(map(_agent, agents))
    )


def _secret(text: str) -> tuple[str, bytes]:
    """`id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`."""
    usage = "id=NAME[,src=FILE|,env=VARIABLE] expected"
    try:
        items = [item.partition("=") for item in next(csv.reader([text], strict=True), [])]
    except csv.Error as error:
        raise UsageError(f"--secret {text!r}: {error}") from None
    values = {key.strip().lower(): value for key, _, value in items}
    name = values.pop("id", "")
    kind = values.pop("type", "")
    path = values.pop("src", values.pop("source", ""))
    variable = values.pop("env", "")
    if not name or values or (path and variable) or kind not in ("", "file", "env"):
        raise UsageError(f"--secret {text!r}: {usage}")
    if kind == "env" and not variable:
        path, variable = "", path or name
    if not path and not variable:  # as docker: a variable of that name, or else a file
        path, variable = ("", name) if name in os.environ and kind != "file" else (name, "")
    if variable:
        if variable not in os.environ:
            raise UsageError(f"--secret {text!r}: there is no variable {variable}")
        return name, os.environb[os.fsencode(variable)]
    return name, _read(text, path)


def _read(text: str, path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            content = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise UsageError(f"--secret {text!r}: {path}: {error.strerror}") from error
    if len(content) > _MAX_SECRET:
        raise UsageError(f"--secret {text!r}: {path}: larger than {_MAX_SECRET >> 10} KiB")
    return content


def _agent(text: str) -> tuple[str, Agent]:
    """`NAME[=SOCKET|KEY[,KEY…]]`; without a place it is the caller's own agent."""
    name, equals, places = text.partition("=")
    paths = [os.path.expanduser(path) for path in places.split(",") if path]
    if not name or (equals and not paths):
        raise UsageError(f"--ssh {text!r}: NAME[=SOCKET|KEY[,KEY…]] expected")
    if not paths:
        paths = [os.environ.get("SSH_AUTH_SOCK", "")]
        if not paths[0]:
            raise UsageError(
                f"--ssh {text!r}: there is no agent",
                hint="SSH_AUTH_SOCK is not set; start one, or name a key: --ssh default=FILE",
            )
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"--ssh {text!r}: {path}: no such file")
    sockets = [path for path in paths if not os.path.isfile(path)]
    if sockets and len(paths) > 1:
        raise UsageError(f"--ssh {text!r}: one socket, or key files")
    return name, Agent(socket=os.path.abspath(sockets[0])) if sockets else Agent(
        keys=tuple(map(os.path.abspath, paths))
    )
