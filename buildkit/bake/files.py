"""Which files a command line means, and what they define together."""

from __future__ import annotations

import os
import sys

from buildkit.bake.definition import Definition, joined
from buildkit.bake.hcl_file import read_hcl
from buildkit.bake.json_file import BakeFile, read_bake_files, read_json
from buildkit.bake.problems import Problem, at
from buildkit.errors import UsageError

# In docker's order: later ones override earlier ones.
NAMES = (
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
)
_MOST = 1 << 20  # bytes of a file
_COMPOSE, _JSON, _HCL = "compose", "json", "hcl"


def read_files(names: tuple[str, ...]) -> Definition:
    """What the files define, those that docker looks for if none are named; raises UsageError."""
    names = names or _found()
    try:
        return _read_all(names)
    except RecursionError:
        raise UsageError(f"{', '.join(names)}: nested too deeply") from None


def _read_all(names: tuple[str, ...]) -> Definition:
    bakes: list[BakeFile] = []
    composes: list[tuple[str, bytes]] = []
    for name in names:
        text = _read(name)
        kind = _kind(name, text)
        if kind == _COMPOSE:
            composes.append((name, text))
            continue
        with at(name):
            bakes.append(
                BakeFile(name=name, document=read_json(text))
                if kind == _JSON
                else read_hcl(name, text)
            )
    definitions = []
    if composes:
        from buildkit.bake.compose import read_compose_files

        definitions.append(read_compose_files(composes))
    return joined([*definitions, *read_bake_files(bakes)])


def _found() -> tuple[str, ...]:
    """The files that are there; all of them count, as with buildx."""
    there = [name for name in NAMES if os.path.isfile(name)]
    if not there:
        raise UsageError("there is no bake or compose file here", hint="-f FILE names one")
    return tuple(there)


def _read(name: str) -> bytes:
    if name == "-":
        text = sys.stdin.buffer.read(_MOST + 1)
    else:
        try:
            with open(name, "rb") as file:
                text = file.read(_MOST + 1)
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}") from error
    if len(text) > _MOST:
        raise UsageError(f"{name}: larger than {_MOST >> 20} MiB")
    return text


def _kind(name: str, text: bytes) -> str:
    """What a file is, by its name, or else by what it looks like."""
    name = name.lower()
    if name.endswith((".yml", ".yaml")):
        return _COMPOSE
    if name.endswith((".json", ".hcl")):
        return _JSON if name.endswith(".json") else _HCL
    for kind, read in ((_JSON, read_json), (_COMPOSE, _read_yaml)):
        try:
            document = read(text)
        except Problem:
            continue
        if isinstance(document, dict):
            return _COMPOSE if "services" in document else kind
    return _HCL


def _read_yaml(text: bytes) -> object:
    from buildkit.bake.yaml_file import read_yaml

    return read_yaml(text)
