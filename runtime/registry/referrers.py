"""What is about an image: SBOMs, provenance, signatures (distribution-spec "Referrers").

Such an artifact is a manifest with a `subject`. A registry that knows of subjects says so
(OCI-Subject) and lists them; for one that does not, the client keeps the list itself, as an index
under the tag `sha256-<hex>` of the subject.
"""

from __future__ import annotations

from runtime.errors import ImageError, RegistryError
from runtime.oci.digest import digest_of
from runtime.oci.image import INDEX, MANIFEST, Descriptor, canonical_media_type
from runtime.oci.reader import member, optional, parse_json
from runtime.record import Record
from runtime.registry.manifests import (
    Document,
    document_of,
    fetch_document,
    put_manifest,
    read_document,
)
from runtime.registry.retrying import retrying
from runtime.registry.transport import DEFAULT_SETTINGS, Transport
from runtime.registry.wire import RefusedError, joined, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.oci.digest import Digest
    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference
    from runtime.registry.wire import Settings

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_MOST_PAGES = 100
_TRIES = 3  # where somebody else keeps the same list at the same time


class Referrer(Record):
    """An artifact that is about something."""

    descriptor: Descriptor
    artifact_type: str


def artifact_manifest(
    subject: Descriptor,
    artifact_type: str,
    layers: tuple[Descriptor, ...],
    annotations: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """The manifest of an artifact; its configuration is the blob `EMPTY`."""
    import json

    config = Descriptor(media_type=EMPTY_TYPE, digest=digest_of(EMPTY), size=len(EMPTY))
    table: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "subject": subject.replace(annotations=()).to_json(),
    }
    if annotations:
        table["annotations"] = dict(annotations)
    return json.dumps(table, separators=(",", ":")).encode()


def referrers(
    reference: Reference,
    subject: Digest,
    artifact_type: str = "",
    *,
    credentials: Credentials | None = None,
    settings: Settings = DEFAULT_SETTINGS,
) -> tuple[Referrer, ...]:
    """What is about a manifest of a repository, of one type or of all; raises RegistryError."""
    with Transport(reference, credentials=credentials, settings=settings) as transport:
        tables = _listed(transport, subject)
        if tables is None:
            found = _kept(transport, subject)
            tables = found if found is not None else []
        where = f"{reference.name}: referrers of {subject}"
        try:
            listed = [
                Referrer(
                    descriptor=Descriptor.from_json(table, where),
                    artifact_type=optional(table, "artifactType", str, where) or "",
                )
                for table in tables
            ]
        except ImageError as error:
            raise RegistryError(error.message) from error
    return tuple(one for one in listed if artifact_type in ("", one.artifact_type))


def record_referrer(transport: Transport, document: Document) -> None:
    """Keep the list for a registry that does not; a manifest without a subject needs none.

    Raises RegistryError.
    """
    where = f"{transport.reference.name}: manifest {document.descriptor.digest}"
    table = parse_json(document.content, where)
    if not table.get("subject"):
        return
    subject = Descriptor.from_json(member(table, "subject", dict, where), f"{where}: subject")
    entry = _entry(document.descriptor, table, where)
    for _ in range(_TRIES):
        kept = _kept(transport, subject.digest)
        if kept is not None and any(one.get("digest") == entry["digest"] for one in kept):
            return
        index = _index([*(kept or ()), entry])
        put_manifest(transport, index, _tag(subject.digest))
        # Somebody else may have put a list without ours: it is looked at once more.
    kept = _kept(transport, subject.digest)
    if not any(one.get("digest") == entry["digest"] for one in kept or ()):
        tag = _tag(subject.digest)
        message = f"{where}: not in the list {tag} of referrers, which somebody else writes too"
        raise RegistryError(message)


def _tag(subject: Digest) -> str:
    return subject.replace(":", "-")


def _entry(descriptor: Descriptor, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """How a list of referrers has an artifact."""
    kind = optional(table, "artifactType", str, where) or ""
    if not kind and isinstance(table.get("config"), dict):
        kind = str(table["config"].get("mediaType", ""))
    entry = descriptor.to_json()
    if kind:
        entry["artifactType"] = kind
    if annotations := optional(table, "annotations", dict, where):
        entry["annotations"] = annotations
    return entry


def _index(tables: list[Mapping[str, Any]]) -> Document:
    import json

    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": tables}
    content = json.dumps(document, separators=(",", ":")).encode()
    return document_of(content, "the list of referrers")


def _kept(transport: Transport, subject: Digest) -> list[Mapping[str, Any]] | None:
    """The list under the subject's tag; None if there is none."""
    where = f"{transport.reference.name}:{_tag(subject)}"
    try:
        found = fetch_document(transport, _tag(subject))
    except RefusedError as error:
        if error.code == 404:
            return None
        raise
    if canonical_media_type(found.descriptor.media_type) != INDEX:
        raise RegistryError(f"{where}: an index of referrers was expected")
    return _tables(found.content, where)


def _listed(transport: Transport, subject: Digest) -> list[Mapping[str, Any]] | None:
    """What the registry lists; None if it does not know of subjects."""
    url = transport.url(f"referrers/{subject}")
    tables: list[Mapping[str, Any]] = []
    for _ in range(_MOST_PAGES):
        try:
            content, link = retrying(
                lambda url=url: read_document(transport, url),  # type: ignore[misc]
                transport.pause,
            )
        except RefusedError as error:
            if error.code == 404 and not tables:
                return None
            raise
        tables += _tables(content, f"GET {shown(url)}")
        if not link:
            return tables
        url = joined(url, link)
        transport.check(url)
    raise RegistryError(f"GET {shown(url)}: more than {_MOST_PAGES} pages")


def _tables(content: bytes, where: str) -> list[Mapping[str, Any]]:
    try:
        tables = member(parse_json(content, where), "manifests", list, where)
    except ImageError as error:
        raise RegistryError(error.message) from error
    if not all(isinstance(table, dict) for table in tables):
        raise RegistryError(f"{where}: manifests holds what is no object")
    return tables
