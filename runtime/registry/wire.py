"""One HTTP exchange, with all that requests would do behind our back done in the open.

* ~/.netrc is not read: it would take the place of our Authorization. Proxies and certificates of
  the environment are honoured; this machine's own names are never asked for through a proxy.
* A redirect is followed here, and an Authorization goes to the one server that it is for.
* Bodies come as they are (`Accept-Encoding: identity`, raw), since sizes and digests are theirs.

Tries are not repeated here (`retrying`), and nobody logs in (`authorization`).
"""

from __future__ import annotations

import http.cookiejar
import ipaddress
import os
import re
import time
import warnings
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import requests.exceptions
import requests.utils

from runtime import VERSION
from runtime.errors import RegistryError
from runtime.record import Record
from runtime.registry.certificates import make_context, where_to_put, who_we_are
from runtime.registry.reference import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    from runtime.registry.certificates import Certificates

    class SeekableBody(Protocol):
        """What is sent, perhaps more than once."""

        def read(self, size: int = -1, /) -> bytes: ...
        def seek(self, position: int, /) -> int: ...
        def tell(self) -> int: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[bytes]: ...

    Body = SeekableBody | bytes | None

AT_ONCE = 4  # transfers to or from one registry
_REDIRECTS = 10
_CHUNK = 1 << 18  # bytes
_WINDOW_S = 60
_SLOWEST = 1000  # bytes in a second, in the middle of that time
_LONGEST_ERROR = 1 << 16  # bytes of a body that says what went wrong
# What OpenSSL calls the alert of a server that got no client certificate, or not one it knows.
_WANTS_CLIENT = re.compile(
    r"certificate required|alert (?:bad|unknown) certificate|alert unknown ca", re.I
)
_ANY_METHOD = (307, 308)
_READING = (301, 302, 303, 307, 308)


class PassingError(RegistryError):
    """What may be better at the next try."""

    after_s: float = 0  # that the server wants us to wait


class RefusedError(RegistryError):
    """What the registry will say the next time as well."""


class Settings(Record):
    """How patient we are, and who is told what."""

    connect_timeout_s: float = 30
    read_timeout_s: float = 60  # without a byte
    pause: Callable[[float], None] | None = None  # between tries; None: sleep
    tell: Callable[[str], None] | None = None  # of the registry's warnings, each once


class Authorization(Record):
    """The header of that name, and the one server that it is for."""

    origin: str
    header: str

    def __repr__(self) -> str:
        return f"Authorization(for {self.origin})"


class Wire:
    """Connections to one registry, and to where it sends us; many threads may use it."""

    def __init__(
        self,
        base_url: str,
        settings: Settings,
        *,
        host: str = "",
        certificates: Certificates | None = None,
        verified: bool = True,
    ) -> None:
        """`host` is what the registry is called in names of images. Raises RegistryError."""
        self.origin = origin_of(base_url)
        self._host = host
        self._verified = verified
        self._timeout = (settings.connect_timeout_s, settings.read_timeout_s)
        self._session = requests.Session()
        self._session.trust_env = False
        agent = {"User-Agent": f"pybuild/{VERSION}", "Accept-Encoding": "identity"}
        self._session.headers.clear()
        self._session.headers.update(agent)
        nothing = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        self._session.cookies.set_policy(nothing)
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(AT_ONCE, AT_ONCE, max_retries=0)
            self._session.mount(scheme, adapter)
        if certificates is not None and self.origin.startswith("https:"):
            # For the registry alone: nobody else is to trust them, or to see who we are.
            ours = _OurAdapter(make_context(certificates, verified=verified))
            self._session.mount(f"{base_url.partition('/v2/')[0]}/", ours)
            self._session.mount(f"{self.origin}/", ours)
        if not verified:
            # urllib3's, of each request: whoever asked for it knows.
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")

    def close(self) -> None:
        """End all connections."""
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        authorization: Authorization | None = None,
    ) -> requests.Response:
        """Ask, and follow redirects; the answer's body is not read yet.

        A body that is a file must be seekable. Raises PassingError or RegistryError, for what is
        no answer at all.
        """
        start = body.tell() if body is not None and not isinstance(body, bytes) else 0
        for _ in range(_REDIRECTS):
            self.check(url)
            if body is not None and not isinstance(body, bytes):
                body.seek(start)
            response = self._exchange(method, url, headers or {}, body, authorization)
            follow = _READING if method in ("GET", "HEAD") else _ANY_METHOD
            location = response.headers.get("Location", "")
            if response.status_code not in follow or not location:
                return response
            finish(response)
            url = joined(url, location)
        raise RegistryError(f"{method} {shown(url)}: more than {_REDIRECTS} redirects")

    def check(self, url: str) -> None:
        """Refuse a place that a registry must not send us to; raises RegistryError."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            parts, host = urlsplit(""), ""
        refused = ""
        plain = self.origin.startswith("http:")
        near = plain or is_loopback(urlsplit(self.origin).hostname or "")
        if parts.scheme not in ("http", "https") or not host:
            refused = "is not an http or https URL"
        elif parts.username is not None:
            refused = "has a user in it"
        elif parts.scheme == "http" and not plain:
            refused = "is not encrypted, as the registry itself is"
        elif not near and is_loopback(host):
            refused = "is on this machine"
        elif _is_link_local(host):
            refused = "has a link-local address, as have the metadata servers of clouds"
        if refused:
            raise RegistryError(f"{self.origin} sends us to {shown(url)}, which {refused}")

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        authorization: Authorization | None,
    ) -> requests.Response:
        where = f"{method} {shown(url)}"
        headers = dict(headers)
        if authorization is not None and authorization.origin == origin_of(url):
            headers["Authorization"] = authorization.header
        try:
            asked = requests.Request(method, url, headers=headers, data=body)
            # Not Session.send, which looks at redirects and reads their bodies.
            return self._session.get_adapter(url).send(
                self._session.prepare_request(asked),
                stream=True,
                timeout=self._timeout,
                verify=_authorities() if self._verified or not self._is_ours(url) else False,
                proxies=_proxies(url),
            )
        except (requests.RequestException, OSError) as error:
            raise self._failure(error, where, url) from error
        except requests.exceptions.BaseHTTPError as error:  # type: ignore[attr-defined]
            raise PassingError(f"{where}: {_reason(error)}") from error

    def _is_ours(self, url: str) -> bool:
        return origin_of(url) == self.origin

    def _failure(self, error: Exception, where: str, url: str) -> RegistryError:
        """What an exception of requests means to us."""
        message = f"{where}: {_reason(error)}"
        if _WANTS_CLIENT.search(str(error)) and self._is_ours(url):
            hint = f"it wants a certificate of ours: {who_we_are(self._host)}"
            return RegistryError(message, hint=hint)
        if isinstance(error, requests.exceptions.SSLError):
            hint = "SSL_CERT_FILE names the certificates that are to be trusted"
            if self._is_ours(url) and self._host:
                hint = f"{where_to_put(self._host)}; or {hint}"
            if "WRONG_VERSION_NUMBER" in str(error) or "record layer failure" in str(error):
                hint = "it does not speak TLS; only this machine's own registries may do without"
            return RegistryError(message, hint=hint)
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return PassingError(f"{where}: no connection in {self._timeout[0]:g} seconds")
        if isinstance(error, requests.exceptions.Timeout):
            return PassingError(f"{where}: no answer in {self._timeout[1]:g} seconds")
        if isinstance(error, requests.exceptions.ProxyError):
            hint = "https_proxy and no_proxy say what goes by which proxy"
            return PassingError(message, hint=hint)
        if "Name or service not known" in str(error):
            return RegistryError(message)
        if isinstance(error, requests.exceptions.ConnectionError):
            return PassingError(message)
        return RegistryError(message)


class _OurAdapter(requests.adapters.HTTPAdapter):
    """Connections with certificates of their own, also through a proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(AT_ONCE, AT_ONCE, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **words: Any) -> None:
        super().init_poolmanager(*arguments, **words, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **words: Any) -> Any:
        return super().proxy_manager_for(proxy, **words, ssl_context=self._context)


def pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it came; raises PassingError where it breaks off."""
    where = f"{response.request.method} {shown(response.url)}"
    # read1 does not wait for a whole piece. It came with urllib3 2.2; before, trickles go unseen.
    read = getattr(response.raw, "read1", response.raw.read)
    have, since = 0, time.monotonic()
    try:
        while piece := read(_CHUNK, decode_content=False):
            yield piece
            have += len(piece)
            now = time.monotonic()
            if now - since >= _WINDOW_S:
                if have < _SLOWEST * _WINDOW_S:
                    message = f"{where}: the answer trickles: {have} bytes in {_WINDOW_S} seconds"
                    raise PassingError(message)
                have, since = 0, now
    except (requests.exceptions.BaseHTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise PassingError(f"{where}: the answer broke off: {_reason(error)}") from error


def finish(response: requests.Response) -> bytes:
    """The body of an answer that is not long, as far as it can be had; the connection is free."""
    try:
        return bytes(response.raw.read(_LONGEST_ERROR, decode_content=False) or b"")
    except (requests.exceptions.BaseHTTPError, OSError):  # type: ignore[attr-defined]
        return b""  # what counted was its head
    finally:
        response.close()


def joined(url: str, location: str) -> str:
    """Where a Location leads; what is no URL is left as it is, for `Wire.check`."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def origin_of(url: str) -> str:
    """Scheme, host and port: what an Authorization is for."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    port = {"http": 80, "https": 443}.get(parts.scheme, -1) if port is None else port
    host = (parts.hostname or "").lower()
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def shown(url: str) -> str:
    """A URL as it may be shown: without user, and without a query, which may hold signatures."""
    plain = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = plain.partition("://")
    host, slash, path = rest.partition("/")
    found = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in found)


def _authorities() -> str | bool:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name, ""):
            return path
    return True


def _proxies(url: str) -> dict[str, str]:
    if is_loopback(urlsplit(url).hostname or ""):
        return {}
    return dict(requests.utils.get_environ_proxies(url))


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    """The innermost words of an exception of requests, without its object dumps."""
    text = str(error)
    found = re.search(
        r"(\[Errno -?\d+\] [^'\")]+|certificate verify failed: [^()]+?(?= \()|"
        r"Tunnel connection failed: [^'\")]+|Remote end closed connection[^'\")]*|"
        r"\[(?:SSL|X509)[^]]*\] [^()]+?(?= \()|IncompleteRead\([^)]*\)|Read timed out)",
        text,
    )
    if found:
        return found[1].strip()
    if isinstance(error, OSError) and ("TLS CA" in text or "SOCKS" in text):
        return text
    return type(error).__name__
