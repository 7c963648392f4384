"""Bringing an image from a registry into the store: documents, configuration, layers.

What the store has is not asked for again. Nothing gets a name here.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError, StoreError
from runtime.image.index import check_platform, choose_manifest
from runtime.oci.digest import digest_of
from runtime.oci.image import CONFIG, INDEX, MANIFEST, Descriptor, ImageConfig, Manifest
from runtime.oci.image import canonical_media_type as canonical
from runtime.oci.platform import platform_text
from runtime.oci.reader import MAX_DOCUMENT
from runtime.registry.blob_download import BlobDownload
from runtime.registry.manifests import Document, document_of, fetch_document
from runtime.registry.origins import remember
from runtime.registry.transfers import Progress, at_once
from runtime.registry.transport import DEFAULT_SETTINGS, Transport
from runtime.store.known import trust
from runtime.store.wholeness import is_whole
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.oci.digest import Digest
    from runtime.registry.credentials import Credentials
    from runtime.registry.reference import Reference
    from runtime.registry.transfers import Count
    from runtime.registry.wire import Settings
    from runtime.store.store import Store


def pull(
    store: Store,
    reference: Reference,
    platform: str = "",
    *,
    credentials: Credentials | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    count: Count | None = None,
    damaged: Callable[[Digest], None] = lambda digest: None,
) -> Descriptor:
    """Bring an image into the store; returns the descriptor of its manifest.

    What is damaged there is fetched again, and `damaged` is told. Of one for several platforms
    this machine's is taken, or that for `platform`; its indexes are in the store too. By its
    digest an image that is there is found without a registry. Threads are at work until it
    returns, so whoever forks does this in a child. Raises RegistryError, ImageError or StoreError.
    """
    try:
        with (
            Workspace(store) as work,
            Transport(reference, credentials=credentials, settings=settings) as transport,
        ):
            return _Pull(store, work, transport, platform, count, damaged).run()
    except OSError as error:
        raise StoreError(f"{error.filename or store.root}: {error.strerror}") from error


def pull_again(
    store: Store,
    reference: Reference,
    descriptor: Descriptor,
    *,
    credentials: Credentials | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    count: Count | None = None,
) -> None:
    """Fetch one document or blob in place of what the store has under its digest.

    Raises as `pull`.
    """
    try:
        with (
            Workspace(store) as work,
            Transport(reference, credentials=credentials, settings=settings) as transport,
        ):
            _Pull(store, work, transport, "", count).again(descriptor)
    except OSError as error:
        raise StoreError(f"{error.filename or store.root}: {error.strerror}") from error


class _Pull:
    def __init__(
        self,
        store: Store,
        work: Workspace,
        transport: Transport,
        platform: str,
        count: Count | None,
        damaged: Callable[[Digest], None] = lambda digest: None,
    ) -> None:
        self._store = store
        self._work = work
        self._transport = transport
        self._platform = platform
        self._count = count
        self._damaged = damaged
        self._name = str(transport.reference)
        self._documents: dict[Digest, None] = {}  # that the image needs

    def run(self) -> Descriptor:
        document = self._document(self._transport.reference.target)
        if canonical(document.descriptor.media_type) == INDEX:
            where = f"{self._name}: index {document.descriptor.digest}"
            chosen = choose_manifest(document.content, where, self._read, platform=self._platform)
            document = self._document(chosen.digest, chosen)
        where = f"{self._name}: manifest {document.descriptor.digest}"
        manifest = Manifest.from_json(document.content, where)
        if canonical(manifest.config.media_type) != CONFIG:
            kind = manifest.config.media_type
            raise ImageError(f"{where}: not an image: its configuration is {kind!r}")
        if manifest.config.size > MAX_DOCUMENT:
            raise ImageError(f"{where}: a configuration of {manifest.config.size} bytes")
        self._fetch_blobs(manifest)
        return document.descriptor

    def again(self, descriptor: Descriptor) -> None:
        """Fetch a document or a blob anew."""
        if canonical(descriptor.media_type) in (MANIFEST, INDEX):
            found = fetch_document(self._transport, descriptor.digest, descriptor)
            self._save(found.descriptor.digest, found.content)
            return
        self._remove(descriptor.digest)
        self._fetch_blob(descriptor, Progress(self._count, descriptor.size))
        self._sync()

    def _read(self, descriptor: Descriptor) -> bytes:
        return self._document(descriptor.digest, descriptor).content

    def _document(self, target: str, expected: Descriptor | None = None) -> Document:
        """A manifest or index, which is in the store afterwards."""
        reference = self._transport.reference
        digest = expected.digest if expected is not None else reference.digest
        if digest is not None and (content := self._stored(digest)) is not None:
            self._documents[digest] = None
            return document_of(content, f"{self._name}: {digest}")
        found = fetch_document(self._transport, target, expected)
        if digest is not None and os.path.exists(self._store.blob(digest)):
            self._damaged(digest)
        self._documents[found.descriptor.digest] = None
        self._save(found.descriptor.digest, found.content)
        return found

    def _stored(self, digest: Digest) -> bytes | None:
        """A document of the store; None if it is not there, or damaged."""
        try:
            with open(self._store.blob(digest), "rb") as file:
                content = file.read(MAX_DOCUMENT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._store.blob(digest)}: {error.strerror}") from error
        return content if digest_of(content) == digest else None

    def _save(self, digest: Digest, content: bytes) -> None:
        aside = f"{self._work.path}/{digest.hex}"
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(aside, self._store.blob(digest))
        except OSError as error:
            raise StoreError(f"{aside}: {error.strerror}") from error

    def _fetch_blobs(self, manifest: Manifest) -> None:
        # The configuration first, the large ones next; an empty layer is often there twice.
        layers = sorted(set(manifest.layers), key=lambda layer: -layer.size)
        wanted = {one.digest: one for one in (manifest.config, *layers)}
        missing = [one for one in wanted.values() if not is_whole(self._store, one)]
        for one in missing:
            # Not if another process has brought it in the meantime.
            if os.path.exists(self._store.blob(one.digest)) and not is_whole(self._store, one):
                self._damaged(one.digest)
                self._remove(one.digest)
        stop = self._transport.stop
        progress = Progress(self._count, sum(one.size for one in missing))

        def job(descriptor: Descriptor) -> Callable[[], None]:
            def do() -> None:
                self._fetch_blob(descriptor, progress)
                if descriptor is manifest.config:
                    self._check_config(manifest)

            return stop.set_by(do)

        if missing:
            at_once([job(descriptor) for descriptor in missing], stop)
            self._sync()
        self._check_config(manifest)
        remember(self._store, self._transport.reference, (*self._documents, *wanted))

    def _fetch_blob(self, descriptor: Descriptor, progress: Progress) -> None:
        def show(size: int) -> None:
            progress.set(descriptor.digest, size)

        BlobDownload(self._transport, self._store, descriptor, show).run()
        if canonical(descriptor.media_type) != CONFIG:
            trust(self._store, self._store.blob(descriptor.digest))

    def _remove(self, digest: Digest) -> None:
        try:
            os.unlink(self._store.blob(digest))
        except FileNotFoundError:  # somebody else has seen it too
            pass

    def _check_config(self, manifest: Manifest) -> None:
        """Whether the configuration is for the layers, and for the platform."""
        where = f"{self._name}: config {manifest.config.digest}"
        content = self._stored(manifest.config.digest)
        if content is None:
            raise StoreError(f"{self._store.blob(manifest.config.digest)}: damaged")
        config = ImageConfig.from_json(content, where)
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageError(
                f"{where}: {len(config.diff_ids)} diff_ids for {len(manifest.layers)} layers"
            )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layer.is_plain_layer and layer.digest != diff_id:
                raise ImageError(
                    f"{self._name}: layer {layer.digest}: diff_id is {layer.digest}, "
                    f"config says {diff_id}"
                )
        found = platform_text(config.os, config.architecture, config.variant)
        check_platform(found, self._platform, self._name)

    def _sync(self) -> None:
        """Let the names of blobs outlast a power cut."""
        directory = os.open(f"{self._store.root}/blobs/sha256", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
