"""Certificates for one registry, as containers-certs.d(5) and docker have it.

A directory HOST[:PORT], written as in names of images, the first that there is below

    ~/.config/containers/certs.d, /etc/containers/certs.d, /etc/docker/certs.d

holds *.crt (authorities that are trusted beside the usual ones), and *.cert with a *.key of the
same name (who we are). A registry on this machine that has one is spoken to by TLS.
"""

from __future__ import annotations

import os

from runtime.errors import RegistryError
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

_MACHINE = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class Certificates(Record):
    """Files for one registry."""

    folder: str
    authorities: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()  # each with its key beside it


def find_certificates(host: str, environ: Mapping[str, str] = os.environ) -> Certificates | None:
    """What there is for a host with its port; None without a directory for it.

    Raises RegistryError for a certificate without its key.
    """
    for folder in _folders(host, environ):
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        clients = [name for name in names if name.endswith(".cert")]
        for name in clients:
            if (key := _key_of(name)) not in names:
                raise RegistryError(f"{folder}: {name} without {key}")
        return Certificates(
            folder=folder,
            authorities=tuple(f"{folder}/{name}" for name in names if name.endswith(".crt")),
            clients=tuple(f"{folder}/{name}" for name in clients),
        )
    return None


def make_context(certificates: Certificates, *, verified: bool) -> ssl.SSLContext:
    """How connections are made with them; raises RegistryError that names a file that is wrong.

    Unless `verified`, whatever the other side shows is good enough.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verified:
        context.check_hostname = False
    path = ""
    try:
        for path in certificates.authorities:
            context.load_verify_locations(path)
        for path in certificates.clients:
            context.load_cert_chain(path, _key_of(path), password=lambda: "")
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or error
        raise RegistryError(f"{path}: {reason}") from error
    return context


def where_to_put(host: str) -> str:
    """What to do with the certificate of an authority that is to be trusted."""
    return f"its CA's certificate belongs into {_MACHINE[0]}/{host}/ca.crt (or ~/.config/…)"


def who_we_are(host: str) -> str:
    """Where the certificate goes that a registry knows us by."""
    return f"client.cert and client.key in {_MACHINE[0]}/{host} (or ~/.config/…)"


def _key_of(client: str) -> str:
    return f"{client.removesuffix('.cert')}.key"


def _folders(host: str, environ: Mapping[str, str]) -> Iterator[str]:
    home = environ.get("HOME") or os.path.expanduser("~")
    own = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    for folder in (f"{own}/containers/certs.d", *_MACHINE):
        yield f"{folder}/{host}"
