"""Who we are to a registry: what `podman login` and `docker login` have written.

The first file that knows the registry counts (containers-auth.json(5), docker's config.json):

    $REGISTRY_AUTH_FILE
    $XDG_RUNTIME_DIR/containers/auth.json, or /run/containers/UID/auth.json
    $XDG_CONFIG_HOME/containers/auth.json, or ~/.config/containers/auth.json
    $DOCKER_CONFIG/config.json, or ~/.docker/config.json

In a file the longest key counts: `HOST/NAMESPACE/REPOSITORY`, `HOST/NAMESPACE`, `HOST`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os

from runtime.errors import ImageError, RegistryError
from runtime.oci.reader import parse_json
from runtime.record import Record
from runtime.registry.reference import DOCKER_HUB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from runtime.registry.reference import Reference

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"  # from before there was a version 2
_TOKEN_USER = "<token>"  # a helper's word for: the secret is an identity token
_NOT_FOUND = "credentials not found"  # the helpers' own text (docker-credential-helpers)
_HELPER_TIMEOUT_S = 60


class Credentials(Record):
    """User and password, or a token that others are had for."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    source: str = ""  # where they were found

    def __repr__(self) -> str:
        return f"Credentials(of {self.source or 'the caller'})"  # not for anybody's eyes

    @property
    def basic(self) -> str:
        """As an Authorization header has them (RFC 7617)."""
        text = f"{self.username}:{self.password}".encode("utf-8", "replace")
        return "Basic " + base64.b64encode(text).decode("ascii")


def find_credentials(
    reference: Reference, environ: Mapping[str, str] = os.environ
) -> Credentials | None:
    """What is known for a repository, None if nothing is; raises RegistryError for bad files."""
    for path, required in _files(environ):
        try:
            with open(path, "rb") as file:
                table = parse_json(file.read(), path)
        except ImageError as error:
            raise RegistryError(error.message) from error
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            # In a user namespace /run/containers/0 is that of another root.
            if required:
                raise RegistryError(f"{path}: {error.strerror}") from error
            continue
        except OSError as error:
            raise RegistryError(f"{path}: {error.strerror}") from error
        found = _of_file(table, path, reference)
        if found is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """The files to look into, and whether each must be there."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield named, True
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = f"{runtime}/containers" if runtime else f"/run/containers/{os.getuid()}"
    yield f"{folder}/auth.json", False
    yield f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json", False
    yield f"{environ.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json", False


def _of_file(table: Mapping[str, Any], path: str, reference: Reference) -> Credentials | None:
    keys = _keys(reference)
    helpers = _object(table, "credHelpers", path)
    for key in keys:
        if key in helpers:
            return _ask_helper(helpers[key], key, path)
    entries = {_plain_key(key): entry for key, entry in _object(table, "auths", path).items()}
    for key in keys:
        entry = entries.get(key)
        if isinstance(entry, dict) and (found := _of_entry(entry, f"{path}: {key}")):
            return found
    if helper := table.get("credsStore"):
        key = _DOCKER_HUB_KEY if reference.host == DOCKER_HUB else reference.host
        return _ask_helper(helper, key, path)
    return None


def _keys(reference: Reference) -> list[str]:
    """Under what names credentials may stand, the most specific one first."""
    words = reference.name.split("/")
    keys = ["/".join(words[:count]) for count in range(len(words), 0, -1)]
    if reference.host == DOCKER_HUB:
        keys += ["index.docker.io", "registry-1.docker.io"]
    return keys


def _plain_key(key: str) -> str:
    """A key without the scheme and version that docker wrote once."""
    _, scheme, rest = key.partition("://")
    return rest.partition("/")[0] if scheme else key


def _object(table: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    value = table.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RegistryError(f"{path}: {name} is not an object")
    return value


def _of_entry(entry: Mapping[str, Any], where: str) -> Credentials | None:
    """The credentials of an entry; None if it is empty, as beside a credsStore."""
    token, auth = entry.get("identitytoken") or "", entry.get("auth") or ""
    username, password = entry.get("username") or "", entry.get("password") or ""
    if not all(isinstance(value, str) for value in (token, auth, username, password)):
        raise RegistryError(f"{where}: credentials that are not text")
    if auth:
        try:
            text = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            text = ""
        username, colon, password = text.partition(":")
        if not colon:
            raise RegistryError(f"{where}: `auth` is not USER:PASSWORD in base64")
        password = password.rstrip("\0")  # docker pads
    if not (token or username):
        return None
    return Credentials(
        username=username, password=password, identity_token=token, source=where.partition(": ")[0]
    )


def _ask_helper(name: object, server: str, path: str) -> Credentials | None:
    """What docker-credential-NAME knows (its protocol: the server in, JSON out)."""
    import subprocess

    if not isinstance(name, str) or not name or "/" in name:
        raise RegistryError(f"{path}: {name!r} is not a credential helper")
    program = f"docker-credential-{name}"
    where = f"{path}: {program}"
    try:
        ended = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise RegistryError(f"{where}: no such program", hint="is it in PATH?") from None
    except subprocess.TimeoutExpired:
        message = f"{where}: it gave no answer in {_HELPER_TIMEOUT_S} seconds"
        raise RegistryError(message) from None
    except OSError as error:
        raise RegistryError(f"{where}: {error.strerror}") from error
    if ended.returncode:
        said = (ended.stdout or ended.stderr).decode("utf-8", "replace").strip()
        if _NOT_FOUND in said:
            return None
        raise RegistryError(f"{where}: {printable(said)} (status {ended.returncode})")
    try:
        answer = json.loads(ended.stdout)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        # Not shown: it may be the secret.
        raise RegistryError(f"{where}: its answer is not JSON with Username and Secret")
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret, source=program)
    return Credentials(username=username, password=secret, source=program)


def printable(text: str, most: int = 300) -> str:
    """A stranger's words on one line, without what a terminal would obey."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return shown if len(shown) <= most else shown[:most] + "…"
