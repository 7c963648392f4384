"""Requests to one repository of a registry: logged in, tried again, with errors that say why.

What the answers mean is the business of `manifests`, `blobs`, `pull` and `push`.
"""

from __future__ import annotations

import re
from threading import Lock

from runtime.errors import ImageError, RegistryError
from runtime.oci.reader import parse_json
from runtime.registry.authorization import Authorizer
from runtime.registry.certificates import find_certificates
from runtime.registry.credentials import find_credentials, printable
from runtime.registry.retrying import PASSING, retry_after_s, retrying
from runtime.registry.stop import Stop
from runtime.registry.wire import (
    PassingError,
    RefusedError,
    Settings,
    Wire,
    finish,
    joined,
    origin_of,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference
    from runtime.registry.wire import Body

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
DEFAULT_SETTINGS = Settings()
PULL, PUSH, DELETE = "pull", "pull,push", "delete"  # actions of a scope (distribution's tokens)


class Transport:
    """A repository of a registry; a context manager, which ends its connections.

    Many threads may use it. Every method raises RegistryError.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        settings: Settings = DEFAULT_SETTINGS,
    ) -> None:
        """Without credentials those of the user's files are taken, when the registry asks.

        Raises RegistryError for certificates that cannot be used.
        """
        certificates = find_certificates(reference.host)
        if certificates is not None:
            reference = reference.replace(tls=True)
        self.reference = reference
        self.settings = settings
        self.stop = Stop()  # of what goes on in all threads
        self._wire = Wire(
            reference.base_url,
            settings,
            host=reference.host,
            certificates=certificates,
            verified=reference.verified,
        )
        self._authorizer = Authorizer(
            self._wire,
            lambda: credentials if credentials is not None else find_credentials(reference),
            self.pause,
            reference.host,
        )
        self._told: set[str] = set()
        self._lock = Lock()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def pause(self, seconds: float) -> None:
        """Wait before another try; raises StoppedError if there is to be none."""
        if self.settings.pause is not None:
            self.settings.pause(seconds)
        else:
            self.stop.sleep(seconds)

    def url(self, path: str) -> str:
        """A URL of the repository, of what comes after its name."""
        return f"{self.reference.base_url}{self.reference.repository}/{path}"

    def location(self, response: requests.Response) -> str:
        """Where an answer sends us; raises RegistryError if it does not, or to where not to go."""
        location = response.headers.get("Location", "")
        if not location:
            where = f"{response.request.method} {shown(response.url)}"
            raise RegistryError(f"{where}: {response.status_code} without a Location")
        found = joined(response.url, location)
        self.check(found)
        return found

    def check(self, url: str) -> None:
        """Raise RegistryError for where a registry must not send us."""
        self._wire.check(url)

    def request(
        self,
        method: str,
        url: str,
        *,
        accept: tuple[int, ...],
        actions: str = PULL,
        mounting: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        stream: bool = False,
    ) -> requests.Response:
        """Ask, three times if need be; returns an answer whose head counts.

        With `stream` its body does: it is the caller's to read and to close.
        `accept` are the statuses that are no error. `actions` are what the right to is needed,
        `mounting` is another repository that is read. A body that is a file must be seekable.
        """
        return retrying(
            lambda: self.ask(
                method,
                url,
                accept=accept,
                actions=actions,
                mounting=mounting,
                headers=headers,
                body=body,
                stream=stream,
            ),
            self.pause,
        )

    def ask(
        self,
        method: str,
        url: str,
        *,
        accept: tuple[int, ...],
        actions: str = PULL,
        mounting: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        stream: bool = False,
    ) -> requests.Response:
        """The same once; raises PassingError for what may be better the next time."""
        scopes = self._scopes(actions, mounting)
        ours = origin_of(url) == self._wire.origin
        authorization = self._authorizer.current(scopes) if ours else None
        start = body.tell() if body is not None and not isinstance(body, bytes) else 0
        for again in (False, True):
            if body is not None and not isinstance(body, bytes):
                body.seek(start)
            response = self._wire.send(
                method, url, headers=headers, body=body, authorization=authorization
            )
            if response.status_code != 401 or again:
                break
            if origin_of(response.url) != self._wire.origin:
                break
            said = finish(response)
            header = response.headers.get("WWW-Authenticate", "")
            authorization = self._authorizer.renew(header, scopes, authorization)
            if authorization is None:
                raise self._failure(response, said)
        self._tell_warnings(response)
        if response.status_code not in accept:
            raise self._failure(response, finish(response))
        if not stream:
            finish(response)
        return response

    def _failure(self, response: requests.Response, body: bytes) -> RegistryError:
        """What an answer means that is an error."""
        status = response.status_code
        where = f"{response.request.method} {shown(response.url)}"
        message = f"{where}: {status} {printable(response.reason or '')}".rstrip()
        if said := _said(body):
            message += f": {said}"
        if status in PASSING:
            passing = PassingError(message, hint=self._hint(status))
            passing.code = status
            passing.after_s = retry_after_s(response.headers.get("Retry-After", ""))
            return passing
        refused = RefusedError(message, hint=self._hint(status))
        refused.code = status
        return refused

    def _hint(self, status: int) -> str | None:
        if status in (401, 403):
            return self._authorizer.hint()
        if status == 404:
            return "there is no such thing, or it is not shown to whoever is not logged in"
        if status == 429:
            return "the registry limits how often it is asked; often less so who is logged in"
        return None

    def _scopes(self, actions: str, mounting: str) -> tuple[str, ...]:
        scopes = (f"repository:{self.reference.repository}:{actions}",)
        return (*scopes, f"repository:{mounting}:pull") if mounting else scopes

    def _tell_warnings(self, response: requests.Response) -> None:
        """Hand on what the registry wants its users to know, once (distribution-spec)."""
        if self.settings.tell is None or origin_of(response.url) != self._wire.origin:
            return
        for text in _WARNING.findall(response.headers.get("Warning", "")):
            plain = printable(re.sub(r"\\(.)", r"\1", text))
            with self._lock:
                if plain in self._told:
                    continue
                self._told.add(plain)
            self.settings.tell(f"{self.reference.host}: {plain}")


def _said(body: bytes) -> str:
    """The registry's own words, if it has some (distribution-spec "Error Codes")."""
    try:
        errors = parse_json(body, "").get("errors")
    except ImageError:
        return ""  # a page for people, of a proxy perhaps
    words = []
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict):
            code, text = str(error.get("code", "")), str(error.get("message", ""))
            words.append(f"{text} ({code})" if text and code else text or code)
    return printable("; ".join(words))
