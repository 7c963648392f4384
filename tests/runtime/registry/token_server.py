"""A server of tokens that a real registry believes (RS256 with an x5c header)."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.runtime.registry.registries import PASSWORD, USER

REFRESH_TOKEN = "refresh-me"


@dataclass
class TokenServer:
    """What was asked of it, and whom it lets in."""

    place: Path
    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)  # the Authorization of each
    anonymous_may: tuple[str, ...] = ("pull",)
    lifetime_s: int = 300
    secret: str = "a repository that nobody is given a token for"

    @property
    def settings(self) -> Mapping[str, str]:
        """What a registry must be told to believe it."""
        return {
            "AUTH_TOKEN_REALM": f"{self.url}/token",
            "AUTH_TOKEN_SERVICE": "test-registry",
            "AUTH_TOKEN_ISSUER": "test-issuer",
            "AUTH_TOKEN_ROOTCERTBUNDLE": str(self.place / "token.crt"),
        }

    def token(self, scopes: list[str], user: str) -> str:
        """A token for as much of some scopes as a user may have."""
        access = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [a for a in actions.split(",") if user or a in self.anonymous_may]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        certificate = (self.place / "token.crt").read_text()
        chain = "".join(certificate.splitlines()[1:-1])
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        claims = {
            "iss": "test-issuer",
            "sub": user,
            "aud": "test-registry",
            "exp": now + 3600,
            "nbf": now - 60,
            "iat": now - 60,
            "jti": str(len(self.asked)),
            "access": access,
        }
        signed = f"{_encoded(json.dumps(header))}.{_encoded(json.dumps(claims))}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.place / "token.key"],
            input=signed.encode(),
            capture_output=True,
            check=True,
        ).stdout
        made = f"{signed}.{_encoded(signature)}"
        self.issued.append(made)
        return made


def _encoded(content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        login = self.headers["Authorization"] or ""
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._answer(asked, login, USER if login == expected else "", login not in ("", expected))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = parse_qs(body)
        known = asked.get("refresh_token") == [REFRESH_TOKEN]
        self._answer(asked, "", USER if known else "", not known)

    def _answer(self, asked: dict[str, list[str]], login: str, user: str, wrong: bool) -> None:
        site = self.server.site
        site.asked.append(asked)
        site.logins.append(login)
        scopes = asked.get("scope", [])
        wrong = wrong or any(site.secret in scope for scope in scopes)
        answer = {} if wrong else {"token": site.token(scopes, user)}
        content = json.dumps({**answer, "expires_in": site.lifetime_s}).encode()
        self.send_response(401 if wrong else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    site: TokenServer


@contextmanager
def running_token_server(place: Path) -> Iterator[TokenServer]:
    """A server of tokens until the end of the block, with a key of its own."""
    place.mkdir(parents=True, exist_ok=True)
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    make += ["-keyout", "token.key", "-out", "token.crt", "-subj", "/CN=tokens"]
    subprocess.run(make, cwd=place, check=True, capture_output=True)
    site = TokenServer(place=place)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.site = site
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
