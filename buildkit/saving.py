"""Writing what is held somewhere as an archive, or as the directory of an OCI layout."""

from __future__ import annotations

import os

from buildkit.cache import Layer
from buildkit.compressing import Compression, compressed
from buildkit.documents import to_json
from buildkit.errors import BuildError, DiskError, UsageError
from buildkit.export import Exported, write_exported, write_members
from buildkit.file_copy import copy_bytes
from buildkit.holdings import Holding, Part, holding_of
from buildkit.outputs import OCI, OCI_DIRECTORY, Output
from buildkit.platforms import parts_of
from runtime.image.blob import BlobRange, StoredLayer
from runtime.image.tar import DIRECTORY, Entry
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import (
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    Descriptor,
    Manifest,
    canonical_media_type,
    docker_media_type,
)
from runtime.oci.platform import this_platform
from runtime.oci.reader import parse_json
from runtime.store.inflating import plain_layer
from runtime.store.known import is_trusted, trust
from runtime.store.workspace import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.store.store import Store

_MEDIA_TYPES = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


def write_holdings(store: Store, holdings: tuple[Holding, ...], output: Output) -> None:
    """Write images as an archive of the kind that is asked for, or as a layout.

    What was at its place before is replaced only once everything is there. Raises BuildError,
    ImageError, DiskError.
    """
    for holding in holdings:
        verify_layers(store, holding)
    exports = [exported(holding) for holding in holdings]
    if output.kind == OCI_DIRECTORY:
        _write_directory(exports, output.dest)
        return
    write_exported(exports, output)
    if output.is_file:
        trust(store, output.dest)


def verify_layers(store: Store, holding: Holding) -> None:
    """Compare layers with their digests, unless this store made them; raises ImageError."""
    seen: set[Digest] = set()
    for part in holding.parts:
        for layer in part.image.layers:
            if layer.descriptor.digest not in seen and not is_trusted(store, layer.blob.path):
                layer.verify()
            seen.add(layer.descriptor.digest)


def exported(holding: Holding) -> Exported:
    """What of it goes into an archive."""
    part = docker_part(holding)
    documents: list[tuple[Descriptor, bytes]] = []
    for image in holding.parts:
        documents.append((image.image.manifest.config, image.config))
        documents.append((image.descriptor, image.manifest))
    documents += holding.indexes
    return Exported(
        listed=holding.descriptor.to_json() if holding.indexes else _listed(holding.parts[0]),
        listed_names=holding.names,
        names=holding.names,
        documents=tuple(documents),
        docker=(part.image.manifest.config, part.image.manifest.layers),
        blobs=holding.blobs,
    )


def docker_part(holding: Holding) -> Part:
    """The one image of the docker view: this machine's, if it is there."""
    here = this_platform()
    return next((p for p in holding.parts if p.image.platform == here), holding.parts[0])


def _listed(part: Part) -> dict[str, object]:
    """What an index says of an image (image-index.md "manifests")."""
    table = part.descriptor.replace(annotations=()).to_json()
    if part.image.platform:
        system, architecture, variant = parts_of(part.image.platform)
        table["platform"] = {"architecture": architecture, "os": system}
        if variant:
            table["platform"]["variant"] = variant
    return table


# --- other compression


def recompressed(store: Store, holding: Holding, how: Compression) -> Holding:
    """The same image, which is in the store, with layers of that compression.

    Raises BuildError, ImageError, StoreError, OSError.
    """
    parts = tuple(_recompressed_part(store, part, how) for part in holding.parts)
    if [part.descriptor for part in parts] == [part.descriptor for part in holding.parts]:
        return holding
    # What was attested is another image's.
    return holding_of(holding.names, parts, as_index=bool(holding.indexes))


def _recompressed_part(store: Store, part: Part, how: Compression) -> Part:
    layers = [_recompressed_layer(store, layer, how) for layer in part.image.layers]
    if all(a.descriptor == b.descriptor for a, b in zip(layers, part.image.layers, strict=True)):
        return part
    table = dict(parse_json(part.manifest, f"manifest {part.descriptor.digest}"))
    is_docker = canonical_media_type(part.descriptor.media_type) != part.descriptor.media_type
    described = []
    for old, layer in zip(table["layers"], layers, strict=True):
        media_type = layer.descriptor.media_type
        if is_docker:
            media_type = _docker_type(media_type)
        new = {"mediaType": media_type, "digest": str(layer.descriptor.digest)}
        described.append(dict(old) | new | {"size": layer.descriptor.size})
    manifest = to_json(table | {"layers": described})
    descriptor = Descriptor(
        media_type=part.descriptor.media_type, digest=digest_of(manifest), size=len(manifest)
    )
    image = part.image.replace(
        manifest=Manifest.from_json(manifest, f"manifest {descriptor.digest}"),
        blobs=tuple(layer.blob for layer in layers),
        digest=descriptor.digest,
    )
    return part.replace(image=image, descriptor=descriptor, manifest=manifest)


def _docker_type(media_type: str) -> str:
    try:
        return docker_media_type(media_type)
    except KeyError:
        raise UsageError("docker's format has no zstd: use gzip") from None


def _recompressed_layer(store: Store, layer: StoredLayer, how: Compression) -> StoredLayer:
    wanted = _MEDIA_TYPES[how.kind]
    if canonical_media_type(layer.descriptor.media_type) == wanted:
        return layer
    plain = plain_layer(store, layer)
    if how.kind == "none":
        return plain
    assert plain.blob.path == store.blob(plain.descriptor.digest), layer.where
    made = compressed(store, Layer(descriptor=plain.descriptor, diff_id=plain.diff_id), how)
    path = store.blob(made.descriptor.digest)
    blob = BlobRange(path=path, offset=0, size=made.descriptor.size)
    return layer.replace(blob=blob, descriptor=made.descriptor)


# --- a directory


class _LayoutWriter:
    """Writes members as files below a directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def add(self, entry: Entry, content: bytes = b"") -> None:
        path = f"{self._root}/{entry.name}"
        if entry.kind == DIRECTORY:
            os.mkdir(path, 0o755)
            return
        with open(path, "xb") as file:
            file.write(content)

    def add_blob(self, entry: Entry, fd: int) -> None:
        with open(f"{self._root}/{entry.name}", "xb", buffering=0) as file:
            if copy_bytes(fd, file.fileno(), entry.size) < entry.size:
                raise BuildError(f"{entry.name}: became shorter while it was read")

    def finish(self) -> None:
        """There is no end marker."""


def _write_directory(exports: list[Exported], dest: str) -> None:
    """Write beside the place, then move there."""
    dest = os.path.abspath(dest)
    aside = f"{dest}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        os.mkdir(aside, 0o755)
        write_members(_LayoutWriter(aside), exports, OCI)
        if os.path.isdir(dest):
            os.rmdir(dest)  # which is empty, or this fails
        os.rename(aside, dest)
    except OSError as error:
        raise DiskError(f"{dest}: {error.strerror}") from error
    finally:
        remove_tree(aside)
