"""Manifests and indexes of a registry (distribution-spec "Pulling manifests").

A document is what its digest says, byte for byte, and of the type that both its head and its
`mediaType` say: what one reader takes for an index and another for a manifest is refused
(CVE-2021-41190).
"""

from __future__ import annotations

from runtime.errors import ImageError, RegistryError
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import INDEX, MANIFEST, Descriptor, canonical_media_type
from runtime.oci.image import docker_media_type as docker
from runtime.oci.reader import MAX_DOCUMENT, parse_json
from runtime.record import Record
from runtime.registry.retrying import retrying
from runtime.registry.transport import DEFAULT_SETTINGS, PUSH, Transport
from runtime.registry.wire import PassingError, pieces, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import requests

    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference
    from runtime.registry.wire import Settings

TYPES = (MANIFEST, INDEX, docker(MANIFEST), docker(INDEX))
ACCEPT = {"Accept": ", ".join(TYPES)}
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"


class Document(Record):
    """A manifest or an index, verified."""

    descriptor: Descriptor
    content: bytes


class WrongDigestError(RegistryError):
    """What came is not what was promised; it may have been damaged on its way."""


def resolve(
    reference: Reference,
    *,
    credentials: Credentials | None = None,
    settings: Settings = DEFAULT_SETTINGS,
) -> Descriptor:
    """What a name stands for just now: a manifest or an index, in one round trip.

    It is not fetched if the registry says all of it in the answer's head. Raises RegistryError.
    """
    with Transport(reference, credentials=credentials, settings=settings) as transport:
        url = transport.url(f"manifests/{reference.target}")
        answer = transport.request("HEAD", url, accept=(200, 405, 501), headers=ACCEPT)
        found = _of_head(answer) if answer.status_code == 200 else None
        if found is None:
            return fetch_document(transport, reference.target).descriptor
        if reference.digest not in (None, found.digest):
            raise RegistryError(f"{shown(url)}: the registry calls it {found.digest}")
        return found


def fetch_document(
    transport: Transport, target: str, expected: Descriptor | None = None
) -> Document:
    """A manifest or an index by tag or digest; `expected` is what an index says of it.

    Raises RegistryError.
    """

    def fetch() -> Document:
        return _fetch(transport, target, expected)

    try:
        return retrying(fetch, transport.pause)
    except WrongDigestError:
        return retrying(fetch, transport.pause)  # once


def put_manifest(transport: Transport, document: Document, target: str) -> requests.Response:
    """Put a manifest or an index under a tag or its digest; raises RegistryError."""
    url = transport.url(f"manifests/{target}")
    answer = transport.request(
        "PUT",
        url,
        accept=(200, 201, 202),
        headers={"Content-Type": document.descriptor.media_type},
        body=document.content,
        actions=PUSH,
    )
    said = answer.headers.get("Docker-Content-Digest", "")
    if said.startswith("sha256:") and said != document.descriptor.digest:
        expected = document.descriptor.digest
        raise RegistryError(f"PUT {shown(url)}: the registry took {expected} for {said}")
    return answer


def read_document(transport: Transport, url: str) -> tuple[bytes, str]:
    """A JSON document of the registry that is no manifest, and where the next page is, if any."""
    with transport.ask("GET", url, accept=(200,), stream=True) as response:
        refuse_encoding(response)
        content = _read(response, f"GET {shown(url)}", content_length(response))
        return content, response.links.get("next", {}).get("url", "")


def document_of(content: bytes, where: str) -> Document:
    """A document that lies in a store or an archive; raises ImageError."""
    table = parse_json(content, where)
    media_type = table.get("mediaType") or (INDEX if "manifests" in table else MANIFEST)
    _check_shape(content, str(media_type), where)
    return Document(
        descriptor=Descriptor(
            media_type=str(media_type), digest=digest_of(content), size=len(content)
        ),
        content=content,
    )


def content_length(response: requests.Response) -> int | None:
    """The size that an answer says its body has."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def refuse_encoding(response: requests.Response) -> None:
    """Raise RegistryError for a body that is not sent as it is; nobody asked for another."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", ""):
        where = f"{response.request.method} {shown(response.url)}"
        raise RegistryError(f"{where}: sent with Content-Encoding {encoding!r}, unasked")


def _of_head(response: requests.Response) -> Descriptor | None:
    """What the head says, if it says all."""
    media_type, size = _content_type(response), content_length(response)
    try:
        digest = Digest.parse(response.headers.get("Docker-Content-Digest"))
    except ImageError:
        return None
    if media_type not in TYPES or size is None:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=size)


def _content_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _fetch(transport: Transport, target: str, expected: Descriptor | None) -> Document:
    url = transport.url(f"manifests/{target}")
    where = f"GET {shown(url)}"
    with transport.ask("GET", url, accept=(200,), headers=ACCEPT, stream=True) as response:
        refuse_encoding(response)
        promised = content_length(response)
        content = _read(response, where, promised)
        media_type = _content_type(response)
        said = response.headers.get("Docker-Content-Digest", "")
    found = digest_of(content)
    if expected is not None and len(content) < expected.size:
        message = f"{where}: the answer ended after {len(content)} of {expected.size} bytes"
        raise PassingError(message)
    for digest in filter(None, (target if ":" in target else "", said)):
        # Of digests that are not of SHA-256 nothing can be said, nor need be.
        if digest.startswith("sha256:") and digest != found:
            raise WrongDigestError(f"{where}: its digest is {found}, not {digest}")
    if expected is not None and expected.size != len(content):
        message = f"{where}: {len(content)} bytes, the index says {expected.size}"
        raise RegistryError(message)
    if expected is not None and expected.media_type != media_type:
        message = f"{where}: its type is {media_type!r}, the index says {expected.media_type!r}"
        raise RegistryError(message)
    try:
        _check_shape(content, media_type, where)
    except ImageError as error:
        raise RegistryError(error.message, hint=error.hint) from error
    descriptor = Descriptor(media_type=media_type, digest=found, size=len(content))
    return Document(descriptor=descriptor, content=content)


def _read(response: requests.Response, where: str, promised: int | None) -> bytes:
    content = bytearray()
    too_large = f"{where}: more than {MAX_DOCUMENT} bytes, too large for a manifest"
    if promised is not None and promised > MAX_DOCUMENT:
        raise RegistryError(too_large)
    for piece in pieces(response):
        content += piece
        if len(content) > MAX_DOCUMENT:
            raise RegistryError(too_large)
    if promised is not None and len(content) < promised:
        raise PassingError(f"{where}: the answer ended after {len(content)} of {promised} bytes")
    return bytes(content)


def _check_shape(content: bytes, media_type: str, where: str) -> None:
    """Whether a document is of the type that it was sent as; raises ImageError."""
    if media_type.startswith(_SCHEMA_1):
        hint = "pulled and pushed again by any newer docker it has today's form"
        raise ImageError(f"{where}: an image of docker's schema 1, of before 2017", hint=hint)
    if media_type not in TYPES:
        raise ImageError(f"{where}: neither manifest nor index, but {media_type!r}")
    table = parse_json(content, where)
    inside = table.get("mediaType", media_type)
    if inside != media_type:
        raise ImageError(f"{where}: sent as {media_type!r}, but it says it is {inside!r}")
    is_index = canonical_media_type(media_type) == INDEX
    foreign = ("layers", "config") if is_index else ("manifests",)
    for name in (*foreign, "fsLayers"):
        if name in table:
            kind = "an index" if is_index else "a manifest"
            raise ImageError(f"{where}: it has {name!r}, which {kind} has not")
