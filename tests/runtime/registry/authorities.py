"""A CA of the tests' own, registries that show its certificates, and directories of certs.d."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _make(place: Path, name: str, *further: str) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-days", "30", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
    words += ["-subj", f"/CN={name}", *further]
    subprocess.run(words, cwd=place, check=True, capture_output=True)


def make_authority(place: Path) -> Path:
    """A CA that nobody knows, a server's certificate for 127.0.0.1, a client's; another CA."""
    _make(place, "ca")
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key"]
    signed += ["-addext", "basicConstraints=critical,CA:FALSE"]
    _make(place, "server", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    _make(place, "client", *signed, "-addext", "extendedKeyUsage=clientAuth")
    _make(place, "other")
    return place


def tls_settings(authority: Path, *, mutual: bool = False) -> dict[str, str]:
    """Settings of a registry with that server's certificate; `mutual` wants clients' too."""
    settings = {
        "HTTP_TLS_CERTIFICATE": str(authority / "server.crt"),
        "HTTP_TLS_KEY": str(authority / "server.key"),
    }
    return settings | ({"HTTP_TLS_CLIENTCAS": f"[{authority / 'ca.crt'}]"} if mutual else {})


def put(home: Path, host: str, **files: Path) -> Path:
    """A directory in the certs.d of a home; a `_` in a name is a dot."""
    folder = home / ".config/containers/certs.d" / host
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        (folder / name.replace("_", ".")).write_bytes(source.read_bytes())
    return folder
