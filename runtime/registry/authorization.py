"""Logging in: what a registry's challenge is answered with (distribution's token protocol).

Credentials are looked for when a registry asks. They go to the registry itself (Basic), or to the
server of tokens that it names (Bearer), if that is spoken to by https; a token goes to the
registry alone.
"""

from __future__ import annotations

import time
from threading import Lock
from urllib.parse import urlencode, urlsplit

from runtime.errors import ImageError, RegistryError
from runtime.oci.reader import parse_json
from runtime.record import Record
from runtime.registry.challenge import Challenge, parse_challenges
from runtime.registry.reference import is_loopback
from runtime.registry.retrying import PASSING, retry_after_s, retrying
from runtime.registry.wire import (
    Authorization,
    PassingError,
    RefusedError,
    finish,
    origin_of,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from runtime.registry.credentials import Credentials
    from runtime.registry.wire import Wire

    Scopes = tuple[str, ...]

_LIFETIME_S = 60  # of a token whose server does not say
_MARGIN = 0.9  # of its lifetime is what we count on
_CLIENT = "pybuild"


class _Token(Record):
    authorization: Authorization
    until: float  # monotonic seconds


class Authorizer:
    """What goes into the Authorization of requests to one registry; many threads may ask."""

    def __init__(
        self,
        wire: Wire,
        find: Callable[[], Credentials | None],
        pause: Callable[[float], None],
        host: str,
    ) -> None:
        """`find` is called once, when the registry first asks who we are; `host` is its name."""
        self._host = host
        self._wire = wire
        self._find = find
        self._pause = pause
        self._credentials: Credentials | None = None
        self._looked = False
        self._basic: Authorization | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self._bearer: Challenge | None = None
        self._lock = Lock()

    @property
    def source(self) -> str:
        """Where the credentials come from; empty without any."""
        found = self._credentials
        return "" if found is None else found.source or "the caller"

    def current(self, scopes: Scopes) -> Authorization | None:
        """What is known to be needed for some scopes; raises RegistryError."""
        with self._lock:
            known = self._known(scopes)
            if known is None and self._bearer is not None:
                # The registry will ask for a token here too: that round trip is saved.
                known = self._fetch(self._bearer, scopes)
            return known

    def renew(
        self, header: str, scopes: Scopes, refused: Authorization | None
    ) -> Authorization | None:
        """Answer a challenge; None if there is no (other) answer. Raises RegistryError."""
        with self._lock:
            known = self._known(scopes)
            if known is not None and known != refused:
                return known  # another thread was faster
            challenges = {one.scheme: one for one in reversed(parse_challenges(header))}
            if "bearer" in challenges:
                self._bearer = challenges["bearer"]
                return self._fetch(self._bearer, scopes)
            credentials = self._look()
            if "basic" in challenges and self._basic is None and credentials is not None:
                if not credentials.username:
                    return None
                self._basic = Authorization(origin=self._wire.origin, header=credentials.basic)
                return self._basic
            return None

    def _known(self, scopes: Scopes) -> Authorization | None:
        if self._basic is not None:
            return self._basic
        token = self._tokens.get(scopes)
        return token.authorization if token and time.monotonic() < token.until else None

    def _look(self) -> Credentials | None:
        if not self._looked:
            self._credentials = self._find()
            self._looked = True
        return self._credentials

    def _fetch(self, challenge: Challenge, scopes: Scopes) -> Authorization:
        realm = challenge.get("realm")
        self._check_realm(realm)
        credentials = self._look()
        asked = _request(challenge, scopes, credentials)
        response = retrying(lambda: self._ask(realm, asked, credentials), self._pause)
        where = f"{self._wire.origin}: token of {shown(realm)}"
        token, lifetime_s = _read_token(finish(response), where)
        made = Authorization(origin=self._wire.origin, header=f"Bearer {token}")
        until = time.monotonic() + lifetime_s * _MARGIN
        self._tokens[scopes] = _Token(authorization=made, until=until)
        return made

    def _check_realm(self, realm: str) -> None:
        """A registry may name any server, but credentials are sent there."""
        try:
            self._wire.check(realm)
        except RegistryError as error:
            raise RegistryError(f"the server of tokens is refused: {error.message}") from None
        if urlsplit(realm).scheme == "http" and not is_loopback(urlsplit(realm).hostname or ""):
            message = f"{self._wire.origin}: the server of tokens {shown(realm)} is not encrypted"
            raise RegistryError(message)

    def _ask(
        self, realm: str, asked: list[tuple[str, str]], credentials: Credentials | None
    ) -> requests.Response:
        if credentials is not None and credentials.identity_token:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(asked).encode()
            response = self._wire.send("POST", realm, headers=headers, body=body)
        else:
            url = realm + ("&" if "?" in realm else "?") + urlencode(asked)
            authorization = None
            if credentials is not None:
                header = credentials.basic
                authorization = Authorization(origin=origin_of(realm), header=header)
            response = self._wire.send("GET", url, authorization=authorization)
        status = response.status_code
        if status == 200:
            return response
        finish(response)
        message = f"token of {shown(realm)}: {status} {response.reason}"
        if status in PASSING:
            passing = PassingError(message)
            passing.after_s = retry_after_s(response.headers.get("Retry-After", ""))
            raise passing
        refused = RefusedError(message, hint=self.hint() if status in (400, 401, 403) else None)
        refused.code = status
        raise refused

    def hint(self) -> str:
        """What helps somebody who is not let in."""
        if self.source:
            return f"the credentials are those of {self.source}; do they allow this?"
        return f"`podman login {self._host}` or `docker login {self._host}` say who you are"


def _request(
    challenge: Challenge, scopes: Scopes, credentials: Credentials | None
) -> list[tuple[str, str]]:
    """What is asked of a server of tokens."""
    asked = []
    if service := challenge.get("service"):
        asked.append(("service", service))
    if credentials is not None and credentials.identity_token:
        token = credentials.identity_token
        grant = [("grant_type", "refresh_token"), ("refresh_token", token)]
        return [*asked, *grant, ("client_id", _CLIENT), ("scope", " ".join(scopes))]
    if credentials is not None:
        asked.append(("account", credentials.username))
    return [*asked, *(("scope", scope) for scope in scopes)]


def _read_token(document: bytes, where: str) -> tuple[str, float]:
    """A token, and for how many seconds it is good."""
    try:
        table: Mapping[str, object] = parse_json(document, where)
    except ImageError as error:
        raise RegistryError(error.message) from error
    token = table.get("token") or table.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryError(f"{where}: the answer holds no token")
    lifetime = table.get("expires_in")
    if not isinstance(lifetime, (int, float)) or lifetime <= 0:
        lifetime = _LIFETIME_S
    return token, float(lifetime)
