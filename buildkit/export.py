"""Writing archives of images.

They are OCI layouts (image-layout.md) and docker archives (`docker save`) at once, both views made
from the same values: every client that reads either takes it. They are deterministic: fixed times
and owners, members in an order that a reader can stream.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from buildkit.archive_writer import ArchiveWriter
from buildkit.documents import Documents, Product, to_json
from buildkit.errors import DiskError
from buildkit.outputs import DOCKER, OCI, STDOUT, Output
from buildkit.replacement import Replacement
from runtime.image import tar
from runtime.image.blob import BlobRange
from runtime.image.names import FULL_NAME, REF_NAME, full_name, tagged
from runtime.oci.digest import Digest
from runtime.oci.image import INDEX, Descriptor
from runtime.oci.platform import this_platform
from runtime.record import Record
from runtime.store.known import trust
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Writer(Protocol):
        """What members are written by."""

        def add(self, entry: tar.Entry, content: bytes = b"") -> None: ...
        def add_blob(self, entry: tar.Entry, fd: int) -> None: ...
        def finish(self) -> None: ...


_MTIME = 0  # of the archive's members; those of the image's files are in its layers


class Exported(Record):
    """What is written of one image, or of those for several platforms below an index."""

    listed: Mapping[str, object]  # what index.json says of it, but for names
    listed_names: tuple[str, ...]  # each gets an entry in index.json
    names: tuple[str, ...]  # the docker view's
    documents: tuple[tuple[Descriptor, bytes], ...]
    docker: tuple[Descriptor, tuple[Descriptor, ...]]  # the one image of the docker view
    blobs: Mapping[Digest, tuple[Descriptor, BlobRange]]


def write_archive(store: Store, product: Product, output: Output, names: tuple[str, ...]) -> None:
    """Write the image archive that was asked for.

    What was at its place before is replaced only once the archive is complete. Raises DiskError.
    """
    write_exported([_exported(store, product, names)], output)
    if output.is_file:
        trust(store, output.dest)


def write_exported(exports: Iterable[Exported], output: Output) -> None:
    """The same for any number of images."""
    try:
        if output.dest == STDOUT:
            write_members(ArchiveWriter(1), exports, output.kind)
            return
        with Replacement(output.dest) as fd:
            write_members(ArchiveWriter(fd), exports, output.kind)
    except OSError as error:
        raise DiskError(f"{output.dest}: {error.strerror}") from error


def write_members(writer: Writer, exports: Iterable[Exported], kind: str) -> None:
    """Write the members of an archive of one kind; what images share is there once."""
    exports = list(exports)
    if kind != DOCKER:
        _add(writer, "oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
        _add(writer, "index.json", _index(exports))
    if kind != OCI:
        _add(writer, "manifest.json", to_json(list(map(_docker_entry, exports))))
    # containers/image gives directories that are only implied to root: a user may not.
    for folder in ("blobs", "blobs/sha256"):
        writer.add(_entry(folder, 0).replace(kind=tar.DIRECTORY, mode=0o755))
    written = set()
    for export in exports:
        for descriptor, document in export.documents:
            needed = kind != DOCKER or descriptor.digest == export.docker[0].digest
            if needed and descriptor.digest not in written:
                written.add(descriptor.digest)
                _add(writer, _member(descriptor), document)
    for export in exports:
        of_docker = {layer.digest for layer in export.docker[1]}
        for descriptor, blob in export.blobs.values():
            needed = kind != DOCKER or descriptor.digest in of_docker
            if needed and descriptor.digest not in written:
                written.add(descriptor.digest)
                _add_blob(writer, descriptor, blob)
    writer.finish()


def _add(writer: Writer, name: str, content: bytes) -> None:
    writer.add(_entry(name, len(content)), content)


def _add_blob(writer: Writer, descriptor: Descriptor, blob: BlobRange) -> None:
    fd = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.lseek(fd, blob.offset, os.SEEK_SET)
        writer.add_blob(_entry(_member(descriptor), descriptor.size), fd)
    finally:
        os.close(fd)


def _exported(store: Store, product: Product, names: tuple[str, ...]) -> Exported:
    layers = {la.descriptor.digest: la.descriptor for m in product.manifests for la in m.layers}
    shown = _docker_view(product)
    return Exported(
        listed=product.descriptor.to_json() if product.index else product.images[0].listed,
        listed_names=names[:1],  # several clients take an index of one entry only
        names=names,
        documents=tuple(_documents(product)),
        docker=(shown.config_descriptor, tuple(layer.descriptor for layer in shown.layers)),
        blobs={
            digest: (layer, BlobRange(path=store.blob(digest), offset=0, size=layer.size))
            for digest, layer in layers.items()
        },
    )


def _documents(product: Product) -> Iterator[tuple[Descriptor, bytes]]:
    for image in product.manifests:
        yield image.config_descriptor, image.config
        yield image.descriptor, image.manifest
    if product.index:
        yield product.descriptor, product.index


def _index(exports: Iterable[Exported]) -> bytes:
    """index.json: for each image an entry, one for each name that is to be listed."""
    exports = list(exports)
    tags = [_tag(name) for export in exports for name in export.listed_names]
    tables = []
    for export in exports:
        for name in export.listed_names or ("",):
            table = dict(export.listed)
            if name:
                # containerd reads the full name, everybody else takes the tag (image-spec
                # annotations.md), which must tell images apart.
                short = _tag(name) if tags.count(_tag(name)) == 1 else tagged(name)
                table["annotations"] = {FULL_NAME: full_name(name), REF_NAME: short}
            tables.append(table)
    return to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": tables})


def _tag(name: str) -> str:
    return tagged(name).rpartition(":")[2]


def _docker_entry(export: Exported) -> dict[str, object]:
    config, layers = export.docker
    return {
        "Config": _member(config),
        "RepoTags": [tagged(name) for name in export.names] or None,
        "Layers": [_member(layer) for layer in layers],
    }


def _docker_view(product: Product) -> Documents:
    """The one image that a docker archive holds: this machine's, if it is there."""
    here = this_platform()
    return next((im for im in product.images if im.platform == here), product.images[0])


def _member(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.hex}"


def _entry(name: str, size: int) -> tar.Entry:
    return tar.Entry(
        name=name, kind=tar.REGULAR, mode=0o644, uid=0, gid=0, size=size, mtime=_MTIME
    )
