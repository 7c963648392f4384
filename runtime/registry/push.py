"""Bringing an image into a registry: blobs, manifests, indexes, and the tag last.

Where the bytes are is the caller's to say: in the store, in an archive, in a layout.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError, StoreError, UsageError
from runtime.image.blob import BlobRange
from runtime.oci.digest import digest_of
from runtime.oci.image import INDEX, Descriptor, Manifest
from runtime.oci.image import canonical_media_type as canonical
from runtime.oci.reader import MAX_DOCUMENT, member, parse_json
from runtime.registry.blob_upload import BlobUpload
from runtime.registry.manifests import ACCEPT, Document, document_of, put_manifest
from runtime.registry.referrers import record_referrer
from runtime.registry.transfers import Progress, at_once
from runtime.registry.transport import DEFAULT_SETTINGS, PUSH, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.oci.digest import Digest
    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference
    from runtime.registry.transfers import Count
    from runtime.registry.wire import Settings
    from runtime.store.store import Store

    Source = Callable[[Digest], BlobRange | None]
    Neighbours = Callable[[Digest], Reference | None]

_DEEPEST = 4  # indexes in indexes, as in runtime.image.index


def push(
    descriptor: Descriptor,
    source: Source,
    reference: Reference,
    *,
    credentials: Credentials | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    count: Count | None = None,
    mount_from: Neighbours = lambda digest: None,
    tags: tuple[str, ...] = (),
) -> tuple[Digest, ...]:
    """Push a manifest or an index with all that it needs; a tag is moved when all is there.

    Returns the digests of all that the repository has of it now. `source` says where blobs are;
    what it does not know the registry must have. `mount_from` names a repository that is known to
    have a blob: one of the same registry is made use of.
    `tags` are more tags that the image gets.
    Threads are at work until it returns, so whoever forks does this in a child. Raises
    RegistryError, ImageError or UsageError.
    """
    if reference.digest not in (None, descriptor.digest):
        raise UsageError(f"{reference}: the image has the digest {descriptor.digest}")
    with Transport(reference, credentials=credentials, settings=settings) as transport:
        return _Push(transport, source, count, mount_from).run(descriptor, tags)


def in_store(store: Store) -> Source:
    """Blobs of a store; raises StoreError for those that cannot be looked at."""

    def find(digest: Digest) -> BlobRange | None:
        path = store.blob(digest)
        try:
            return BlobRange(path=path, offset=0, size=os.stat(path).st_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    return find


class _Push:
    def __init__(
        self,
        transport: Transport,
        source: Source,
        count: Count | None,
        mount_from: Neighbours,
    ) -> None:
        self._transport = transport
        self._source = source
        self._count = count
        self._mount_from = mount_from
        self._documents: dict[Digest, Document] = {}  # what is needed first comes first
        self._blobs: dict[Digest, Descriptor] = {}
        self._elsewhere: dict[Digest, Descriptor] = {}  # manifests that only the registry has

    def run(self, top: Descriptor, tags: tuple[str, ...]) -> tuple[Digest, ...]:
        self._collect(top, 0)
        for descriptor in self._elsewhere.values():
            self._check_elsewhere(descriptor)
        self._send_blobs()
        reference = self._transport.reference
        for digest, document in self._documents.items():
            if digest != top.digest:
                self._put(document, digest)
        for target in dict.fromkeys((reference.tag or top.digest, *tags)):
            self._put(self._documents[top.digest], target)
        return (*self._documents, *self._blobs)

    def _put(self, document: Document, target: str) -> None:
        answer = put_manifest(self._transport, document, target)
        if "OCI-Subject" not in answer.headers:
            record_referrer(self._transport, document)

    def _collect(self, descriptor: Descriptor, depth: int) -> None:
        """Find out what there is to push."""
        if descriptor.digest in self._documents:
            return
        where = f"{self._transport.reference}: manifest {descriptor.digest}"
        content = self._read(descriptor, where)
        if content is None:
            if not depth:
                raise ImageError(f"{where}: missing")
            self._elsewhere[descriptor.digest] = descriptor
            return
        document = document_of(content, where)
        if canonical(document.descriptor.media_type) == INDEX:
            if depth > _DEEPEST:
                raise ImageError(f"{where}: indexes nested too deeply")
            for number, table in enumerate(
                member(parse_json(content, where), "manifests", list, where)
            ):
                place = f"{where}: manifests[{number}]"
                if not isinstance(table, dict):
                    raise ImageError(f"{place}: an object expected")
                self._collect(Descriptor.from_json(table, place), depth + 1)
        else:
            manifest = Manifest.from_json(content, where)
            for blob in (manifest.config, *manifest.layers):
                self._blobs[blob.digest] = blob
        self._documents[descriptor.digest] = document

    def _read(self, descriptor: Descriptor, where: str) -> bytes | None:
        """A document, verified; None if it is not here."""
        found = self._source(descriptor.digest)
        if found is None:
            return None
        if found.size != descriptor.size or found.size > MAX_DOCUMENT:
            raise ImageError(f"{where}: {found.size} bytes, {descriptor.size} expected")
        try:
            with open(found.path, "rb") as file:
                file.seek(found.offset)
                content = file.read(found.size)
        except OSError as error:
            raise ImageError(f"{where}: {found.path}: {error.strerror}") from error
        if digest_of(content) != descriptor.digest:
            raise ImageError(f"{where}: its bytes have the digest {digest_of(content)}")
        return content

    def _check_elsewhere(self, descriptor: Descriptor) -> None:
        url = self._transport.url(f"manifests/{descriptor.digest}")
        answer = self._transport.request(
            "HEAD", url, accept=(200, 404), headers=ACCEPT, actions=PUSH
        )
        if answer.status_code == 404:
            name = self._transport.reference.name
            raise ImageError(
                f"{self._transport.reference}: manifest {descriptor.digest}: "
                f"neither here nor in {name}",
                hint="of an image for several platforms one alone was brought here",
            )

    def _send_blobs(self) -> None:
        blobs = sorted(self._blobs.values(), key=lambda one: -one.size)
        progress = Progress(self._count, sum(one.size for one in blobs))
        jobs = [self._job(descriptor, progress) for descriptor in blobs]
        at_once(jobs, self._transport.stop)

    def _job(self, descriptor: Descriptor, progress: Progress) -> Callable[[], None]:
        found = self._source(descriptor.digest)
        if found is not None and found.size != descriptor.size:
            raise ImageError(
                f"{self._transport.reference}: blob {descriptor.digest}: "
                f"{found.size} bytes, manifest says {descriptor.size}"
            )
        neighbour = self._mount_from(descriptor.digest)
        ours = self._transport.reference
        mount = ""
        if neighbour and neighbour.host == ours.host and neighbour.repository != ours.repository:
            mount = neighbour.repository

        def show(size: int) -> None:
            progress.set(descriptor.digest, size)

        def do() -> None:
            BlobUpload(self._transport, descriptor, found, show, mount_from=mount).run()

        return self._transport.stop.set_by(do)
