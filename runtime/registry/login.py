"""Writing down who we are to a registry, where `credentials` looks (containers-auth.json(5))."""

from __future__ import annotations

import base64
import json
import os

from runtime.errors import ImageError, RegistryError
from runtime.oci.reader import parse_json
from runtime.registry.reference import DOCKER_HUB
from runtime.store.store import write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference


def check_login(reference: Reference, credentials: Credentials) -> None:
    """Ask the registry whether it takes them; raises RegistryError."""
    from runtime.registry.transport import Transport

    with Transport(reference, credentials=credentials) as transport:
        transport.request("GET", transport.reference.base_url, accept=(200,))


def login_file(environ: Mapping[str, str] = os.environ) -> str:
    """Where they are written: podman's file, which is looked into before docker's."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return named
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/containers/auth.json"
    home = environ.get("HOME") or os.path.expanduser("~")
    return f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json"


def write_login(path: str, host: str, credentials: Credentials) -> None:
    """Add them to a file, for its owner's eyes only; raises RegistryError."""
    table = _read(path)
    text = f"{credentials.username}:{credentials.password}"
    table["auths"][host] = {"auth": base64.b64encode(text.encode()).decode("ascii")}
    _write(path, table)


def remove_login(path: str, host: str) -> bool:
    """Take those for a registry out of a file; whether there were any. Raises RegistryError."""
    table = _read(path)
    keys = {host} | ({"https://index.docker.io/v1/"} if host == DOCKER_HUB else set())
    found = keys & table["auths"].keys()
    for key in found:
        del table["auths"][key]
    if found:
        _write(path, table)
    return bool(found)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            table = dict(parse_json(file.read(), path))
    except FileNotFoundError:
        table = {}
    except ImageError as error:
        raise RegistryError(error.message) from error
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error
    if not isinstance(table.setdefault("auths", {}), dict):
        raise RegistryError(f"{path}: auths is not an object")
    return table


def _write(path: str, table: dict[str, Any]) -> None:
    before = os.umask(0o077)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        content = json.dumps(table, indent=2).encode() + b"\n"
        write_atomically(os.path.abspath(path), content)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error
    finally:
        os.umask(before)
