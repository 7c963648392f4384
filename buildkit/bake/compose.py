"""Compose files: services that have a `build:` section (compose-spec, build.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.bake.compose_service import Service, normalized, read_target
from buildkit.bake.definition import DEFAULT, Definition, Group, check_target_name
from buildkit.bake.dotenv import read_dotenv
from buildkit.bake.fields import Fields
from buildkit.bake.interpolation import Variables
from buildkit.bake.problems import Problem, at, check_keys
from buildkit.bake.yaml_file import read_yaml
from buildkit.errors import UsageError
from buildkit.printing import complain

_USED = ("image", "build", "environment")
_EXTENDS = ("service", "file")


def read_compose_files(files: Sequence[tuple[str, bytes]]) -> Definition:
    """What the files define together; raises UsageError."""
    values = _environment()
    missing: set[str] = set()
    variables = Variables(values, missing.add)
    services: dict[str, Service] = {}
    secrets: dict[str, Any] = {}
    places: dict[str, str] = {}
    for file, text in files:
        with at(file):
            document = variables.expand_all(read_yaml(text))
            if not isinstance(document, dict):
                raise Problem("a mapping expected, with services in it")
            if "include" in document:
                raise Problem("other files are not read: name them with -f", path="include")
        bodies = _mapping(file, document, "services")
        for name in bodies:
            with at(file, f"services.{name}"):
                service = _extended(name, bodies, ())
                services[name] = _merged(services.get(name, {}), service)
                places[name] = file
        secrets |= _mapping(file, document, "secrets")
    for name in sorted(missing):
        complain(f"pybuild: warning: the variable {name} is not set: it is empty")
    targets: dict[str, Fields] = {}
    for name, service in services.items():
        if "build" in service:
            with at(places[name], f"services.{name}"):
                target = check_target_name(name.replace(".", "_"))
                targets[target] = read_target(service, secrets, values)
    groups = {DEFAULT: Group(targets=tuple(targets))} if targets else {}
    return Definition(groups=groups, targets=targets)


def _environment() -> dict[str, str]:
    """The caller's variables, and those of `.env` that the caller has not set."""
    outside = dict(os.environ)
    try:
        with open(".env", encoding="utf-8") as file:
            return read_dotenv(".env", file.read(), outside) | outside
    except (FileNotFoundError, IsADirectoryError):
        return outside
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f".env: {getattr(error, 'strerror', None) or error}") from error


def _mapping(file: str, document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    with at(file, key):
        if not isinstance(value, dict):
            raise Problem("a mapping expected")
    return value


def _extended(name: str, bodies: Mapping[str, Any], path: tuple[str, ...]) -> Service:
    """A service with what it takes over from others of its file."""
    if name in path:
        raise Problem(f"services extend in a ring: {' -> '.join((*path, name))}")
    service = normalized(_used(bodies[name]))
    extends = (bodies[name] or {}).get("extends")
    if extends is None:
        return service
    if isinstance(extends, str):
        extends = {"service": extends}
    if not isinstance(extends, dict):
        raise Problem("the name of a service expected", path="extends")
    check_keys(extends, _EXTENDS, "extends")
    if extends.get("file"):
        raise Problem(
            "services of other files are not read: name the file with -f", path="extends"
        )
    other = extends.get("service")
    if not isinstance(other, str) or other not in bodies:
        raise Problem(f"the file has no service {other!r}", path="extends")
    below: Service = _merged(_extended(other, bodies, (*path, name)), service)
    return below


def _used(body: Any) -> Service:
    """Of a service what a build uses of it."""
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Problem("a mapping expected")
    return {key: body[key] for key in _USED if body.get(key) is not None}


def _merged(below: Any, above: Any) -> Any:
    """Two files' values as one: mappings and lists are added to, others replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {
            key: _merged(below[key], value) if key in below else value
            for key, value in above.items()
        }
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *(item for item in above if item not in below)]
    return above
