"""Bringing images into the store: verified while they are copied, and there all at once.

Blobs are copied into a workspace, compared with their digests there (layers also with the
uncompressed ones that configurations promise), and given their names when all are right; names of
images come last. Who is interrupted before that leaves nothing.
"""

from __future__ import annotations

import hashlib
import os

from buildkit.errors import BuildError, DiskError
from buildkit.file_copy import copy_bytes
from buildkit.holdings import Holding, Part
from runtime.image.blob import BlobRange
from runtime.store.known import trust
from runtime.store.store import write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runtime.image.blob import StoredLayer
    from runtime.oci.digest import Digest
    from runtime.oci.image import Descriptor
    from runtime.store.store import Store
    from runtime.store.workspace import Workspace


def load(store: Store, work: Workspace, holdings: tuple[Holding, ...]) -> tuple[Holding, ...]:
    """Bring them and their names into the store; returns them as they are there.

    Raises BuildError, ImageError for what is not as promised, and DiskError.
    """
    try:
        made: dict[Digest, str] = {}
        for holding in holdings:
            for part in holding.parts:
                _bring_layers(store, work, part, made)
            name = holding.parts[0].image.name
            for descriptor, blob in holding.further:
                if _is_new(store, descriptor.digest, made):
                    _bring(work, descriptor, blob, name, made)
        for digest, path in made.items():
            os.rename(path, store.blob(digest))
            trust(store, store.blob(digest))
        keep_documents(store, holdings)
        for holding in holdings:
            for name in holding.names:
                _name(store, name, holding.descriptor)
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    return tuple(_in_store(store, holding) for holding in holdings)


def _name(store: Store, name: str, descriptor: Descriptor) -> None:
    from buildkit.documents import to_json

    write_atomically(store.image_name(name), to_json(descriptor.to_json()))


def keep_documents(store: Store, holdings: Iterable[Holding]) -> None:
    """Put manifests, configurations and indexes into the store; raises OSError."""
    for descriptor, document in _documents(holdings):
        if not os.path.exists(store.blob(descriptor.digest)):
            write_atomically(store.blob(descriptor.digest), document)


def _documents(holdings: Iterable[Holding]) -> Iterator[tuple[Descriptor, bytes]]:
    """Those that others name before these."""
    for holding in holdings:
        for part in holding.parts:
            yield part.image.manifest.config, part.config
            yield part.descriptor, part.manifest
        yield from holding.indexes


def _is_new(store: Store, digest: Digest, made: dict[Digest, str]) -> bool:
    return digest not in made and not os.path.exists(store.blob(digest))


def _bring_layers(store: Store, work: Workspace, part: Part, made: dict[Digest, str]) -> None:
    # An image whose manifest is there was verified when it came.
    is_known = os.path.exists(store.blob(part.descriptor.digest))
    for layer in part.image.layers:
        digest = layer.descriptor.digest
        if _is_new(store, digest, made):
            _copy(work, digest, layer.blob, layer.where, made)
            _at(layer, made[digest]).verify()
        elif not is_known:
            # Its bytes are right, what the configuration says of them need not be.
            _check_content(_at(layer, made.get(digest) or store.blob(digest)))


def _at(layer: StoredLayer, path: str) -> StoredLayer:
    return layer.replace(blob=layer.blob.replace(path=path, offset=0))


def _check_content(layer: StoredLayer) -> None:
    if not layer.descriptor.is_plain_layer:
        layer.verify()
    elif layer.descriptor.digest != layer.diff_id:
        raise BuildError(
            f"{layer.where}: diff_id is {layer.descriptor.digest}, config says {layer.diff_id}"
        )


def _bring(
    work: Workspace, descriptor: Descriptor, blob: BlobRange, name: str, made: dict[Digest, str]
) -> None:
    """Copy a blob that is no layer."""
    where = f"{name}: blob {descriptor.digest}"
    _copy(work, descriptor.digest, blob, where, made)
    with open(made[descriptor.digest], "rb", buffering=0) as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != descriptor.digest:
        raise BuildError(f"{where}: its digest is {found}")


def _copy(
    work: Workspace, digest: Digest, blob: BlobRange, where: str, made: dict[Digest, str]
) -> None:
    aside = f"{work.path}/blob-{digest.hex}"
    with open(blob.path, "rb", buffering=0) as source, open(aside, "xb", buffering=0) as target:
        source.seek(blob.offset)
        if copy_bytes(source.fileno(), target.fileno(), blob.size) < blob.size:
            raise BuildError(f"{where}: truncated")
        os.fsync(target.fileno())
    made[digest] = aside


def _in_store(store: Store, holding: Holding) -> Holding:
    """The same with its blobs where they are now."""

    def there(descriptor: Descriptor) -> BlobRange:
        return BlobRange(path=store.blob(descriptor.digest), offset=0, size=descriptor.size)

    parts = tuple(
        part.replace(image=part.image.replace(blobs=tuple(map(there, part.image.manifest.layers))))
        for part in holding.parts
    )
    further = tuple((descriptor, there(descriptor)) for descriptor, _ in holding.further)
    return holding.replace(parts=parts, further=further)
