"""`pybuild pull|push|login|logout`: images of registries, and who we are to those."""

from __future__ import annotations

import os
import sys
from typing import Any

from buildkit.compressing import read_compression
from buildkit.errors import BuildError, UsageError
from buildkit.printing import complain
from buildkit.progress import Progress, settle_kind
from buildkit.registry_images import pull_image, push_image, read_reference
from buildkit.subcommands import MANY, disk_errors, parsed, platform_of
from buildkit.transferring import first_answer, in_child
from runtime.options import OptionTable
from runtime.registry.credentials import Credentials
from runtime.registry.login import check_login, login_file, remove_login, write_login
from runtime.registry.reference import DOCKER_HUB, Reference, unverified
from runtime.store.store import Store, default_root

HELP = """\
usage: pybuild pull [-q] [--platform OS/ARCH] [--tls-verify=BOOL] NAME...
       pybuild push [-q] [--tls-verify=BOOL] [--compression HOW] NAME [DESTINATION]
       pybuild login [-u USER] [-p PASSWORD | --password-stdin] [--tls-verify=BOOL] [REGISTRY]
       pybuild logout [REGISTRY]

Bring images of registries into the store; push what has a name there, to the registry that its
name or DESTINATION says. REGISTRY is a host with its port, docker.io if none is given.

  -q, --quiet          print only digests
      --platform       of an image for several (default: this machine's)
      --compression none|gzip|zstd[:LEVEL]
                       of the layers that are pushed (default: as they are)
  -u, --username USER
  -p, --password PASSWORD
                       seen by everybody who lists processes; better:
      --password-stdin read it from standard input
      --authfile FILE  what is read and written (default: $REGISTRY_AUTH_FILE, or podman's file;
                       docker's is read too)
      --tls-verify=BOOL
                       false: whatever certificate the registry shows is good enough, and it need
                       not speak TLS (default: true)
      --root DIR       the store (default: $PYBUILD_ROOT, /var/lib/pybuild)

Certificates for a registry are taken from ~/.config/containers/certs.d/HOST[:PORT], or that of
/etc/containers or /etc/docker: ca.crt, client.cert with client.key.

Exit status: 0; 1 there is no such image; 2 the command line is wrong; 4 the registry cannot be
reached, or refuses; 5 the store cannot be written.
"""
TABLE = OptionTable(
    "pybuild pull",
    values={
        "--platform": "platform",
        "--compression": "compression",
        "-u": "username",
        "--username": "username",
        "-p": "password",
        "--password": "password",
        "--authfile": "authfile",
        "--tls-verify": "tls_verify",
        "--root": "root",
    },
    lists={},
    flags={
        "-q": "quiet",
        "--quiet": "quiet",
        "--password-stdin": "password_stdin",
        "--help": "help",
    },
)
ALLOWED = {
    "pull": {"quiet", "platform", "root", "authfile", "tls_verify"},
    "push": {"quiet", "root", "authfile", "tls_verify", "compression"},
    "login": {"username", "password", "password_stdin", "authfile", "tls_verify"},
    "logout": {"authfile"},
}
_OPERANDS = {"pull": (1, MANY), "push": (1, 2), "login": (0, 1), "logout": (0, 1)}


def run_registry_command(arguments: list[str]) -> int:
    """Run one of the commands; returns the exit status. Raises BuildError, StoreError."""
    command = arguments[0]
    fields, operands = parsed(
        TABLE,
        arguments,
        allowed=ALLOWED[command],
        operands=_OPERANDS[command],
        hint="pybuild pull --help",
    )
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    if fields.get("authfile"):
        os.environ["REGISTRY_AUTH_FILE"] = str(fields["authfile"])
    match command:
        case "login":
            _login(fields, *operands)
        case "logout":
            _logout(*operands)
        case _:
            _move(command, fields, operands)
    return 0


def _move(command: str, fields: dict[str, Any], operands: list[str]) -> None:
    from buildkit.processes import stop_on_signals

    stop_on_signals()
    root, quiet = fields.get("root") or default_root(), bool(fields.get("quiet"))
    kind = settle_kind(os.environ.get("BUILDKIT_PROGRESS", ""), quiet=quiet, by_hand=False)
    verified, pulls = _verified(fields), command == "pull"
    platform = platform_of(fields) if pulls else ""
    found = []
    with (
        disk_errors(),
        Progress(
            kind, len(operands) if pulls else 1, doing="Pulling" if pulls else "Pushing"
        ) as progress,
    ):
        store = Store(root)
        if pulls:
            for name in operands:
                image = pull_image(
                    store, name, platform, named=True, progress=progress, verified=verified
                )
                found.append(image.digest)
        else:
            name, to = operands[0], operands[-1]
            how = read_compression(fields["compression"]) if "compression" in fields else None
            digest = push_image(
                store, name, to, progress=progress, verified=verified, compression=how
            )
            found.append(digest)
    print("\n".join(map(str, found)))


def _verified(fields: dict[str, Any]) -> bool:
    text = str(fields.get("tls_verify", "true")).lower()
    if text not in ("true", "false", "1", "0"):
        raise UsageError(f"--tls-verify {text!r}: true or false")
    return text in ("true", "1")


def _registry(host: str) -> Reference:
    """A repository of a registry that need not be there."""
    host = host.partition("://")[2] or host
    return read_reference(f"{host.rstrip('/')}/x")


def _login(fields: dict[str, Any], host: str = DOCKER_HUB) -> None:
    reference = _registry(host)
    username, password = fields.get("username", ""), fields.get("password", "")
    if fields.get("password_stdin"):
        if password:
            raise UsageError("--password and --password-stdin: one of them")
        password = sys.stdin.readline().rstrip("\r\n")
    elif not password or not username:
        if not sys.stdin.isatty():
            raise UsageError(
                "pybuild login: user and password?", hint="-u USER --password-stdin < FILE"
            )
        import getpass

        username = username or input("Username: ")
        password = password or getpass.getpass("Password: ")
    if not username or ":" in username:
        raise UsageError(f"--username {username!r}: a name without a colon expected")
    credentials = Credentials(username=username, password=password, source="the command line")
    path = login_file()
    places = (reference,) if _verified(fields) else unverified((reference,))
    in_child(lambda: first_answer(places, lambda at: check_login(at, credentials)))
    in_child(lambda: write_login(path, reference.host, credentials))
    complain(f"{reference.host}: logged in as {username} ({path})")


def _logout(host: str = DOCKER_HUB) -> None:
    reference, path = _registry(host), login_file()
    if not in_child(lambda: remove_login(path, reference.host)):
        raise BuildError(f"{reference.host}: not logged in by {path}")
    complain(f"{reference.host}: logged out ({path})")
