"""Names of images in registries, as docker and podman write them.

    [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]

The first word is a host if it has a dot or a colon or is `localhost`; without one it is Docker
Hub. The grammar is that of distribution/reference, which distribution-spec ("Pulling manifests")
narrows down to what is checked here.
"""

from __future__ import annotations

import ipaddress
import re

from runtime.errors import ImageError, UsageError
from runtime.oci.digest import Digest
from runtime.record import Record

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_SERVER = "registry-1.docker.io"
_TRANSPORT = "docker://"  # skopeo's and podman's word for a registry

_WORD = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_WORD}(?:/{_WORD})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_NAME}(?:\.{_NAME})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?")
_LONGEST = 255  # characters of host and repository together


class Reference(Record):
    """A repository, and what is meant of it: a digest, else a tag."""

    host: str  # with its port if one is named; Docker Hub is `docker.io`
    repository: str
    tag: str = ""
    digest: Digest | None = None
    plain_http: bool = False  # registries.conf says that there need not be TLS
    tls: bool = False  # also if it is on this machine
    verified: bool = True  # whether its certificate must be right

    @property
    def target(self) -> str:
        """What a manifest is asked for by: the digest if there is one."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def server(self) -> str:
        """Where the registry is: Docker Hub has another name there."""
        return _DOCKER_HUB_SERVER if self.host == DOCKER_HUB else self.host

    @property
    def base_url(self) -> str:
        """The beginning of all URLs; this machine is spoken to without TLS, unless `tls`."""
        plain = self.plain_http or (is_loopback(host_name(self.host)) and not self.tls)
        scheme = "http" if plain else "https"
        return f"{scheme}://{self.server}/v2/"

    def at(self, digest: Digest) -> Reference:
        """The same, pinned to what its tag stood for."""
        return self.replace(digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def unverified(places: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """The same without asking for certificates: by TLS, and where there is none, without."""
    found = []
    for place in places:
        found.append(place.replace(plain_http=False, tls=True, verified=False))
        found.append(place.replace(plain_http=True))
    return tuple(dict.fromkeys(found))


def parse_reference(text: str) -> Reference:
    """Read a name; raises UsageError that says what is wrong with it.

    Without tag and digest it is `:latest`; `docker://` may stand before it.
    """
    rest, at, digest_text = text.removeprefix(_TRANSPORT).partition("@")
    digest = _digest(text, digest_text) if at else None
    tag = ""
    if ":" in rest.rpartition("/")[2]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            hint = "at most 128 letters, digits, dots, dashes and underscores, not a dot first"
            raise _wrong(text, f"{tag!r} is not a tag", hint)
    host, repository = _split_host(rest)
    if not (port := _HOST.fullmatch(host)) or int(port[1] or 0) > 65535:
        raise _wrong(text, f"{host!r} is not a host")
    _check_repository(text, repository)
    if host in _DOCKER_HUB_NAMES:
        host = DOCKER_HUB
        if "/" not in repository:
            repository = f"library/{repository}"
    if len(host) + len(repository) >= _LONGEST:
        raise _wrong(text, f"more than {_LONGEST} characters")
    if not tag and digest is None:
        tag = "latest"
    return Reference(host=host, repository=repository, tag=tag, digest=digest)


def is_short(text: str) -> bool:
    """Whether a name says no host."""
    rest = text.removeprefix(_TRANSPORT).partition("@")[0]
    first, slash, _ = rest.partition("/")
    return not slash or _split_host(f"{first}/x")[0] == DOCKER_HUB != first


def _digest(text: str, digest_text: str) -> Digest:
    try:
        return Digest.parse(digest_text)
    except ImageError as error:
        raise _wrong(text, error.message) from error


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # Capitals cannot be in a repository, so what has some before a slash is a host.
    if slash and (first == "localhost" or set(".:") & set(first) or first != first.lower()):
        return first.lower(), rest
    return DOCKER_HUB, name


def _check_repository(text: str, repository: str) -> None:
    if _REPOSITORY.fullmatch(repository):
        return
    if not repository:
        raise _wrong(text, "no repository is named")
    if _REPOSITORY.fullmatch(repository.lower()):
        raise _wrong(text, f"the repository {repository!r} must be in lower case")
    hint = "lower case letters and digits, with `.`, `_`, `__` or dashes between them, and slashes"
    raise _wrong(text, f"{repository!r} is not a repository", hint)


def _wrong(text: str, what: str, hint: str | None = None) -> UsageError:
    return UsageError(f"image name {text!r}: {what}", hint=hint)


def host_name(host: str) -> str:
    """A host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Whether a host, without port, is this machine by its name."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
