"""Writing an image's archive.

It is an OCI layout (image-layout.md) and a docker archive (`docker save`) at once, both views made
from the same values: every client that reads either takes it. It is deterministic: fixed times and
owners, members in an order that a reader can stream.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from buildkit.archive_writer import ArchiveWriter
from buildkit.documents import Documents, Product, to_json
from buildkit.errors import DiskError
from buildkit.outputs import DOCKER, OCI, STDOUT, Output
from buildkit.replacement import Replacement
from runtime.image import tar
from runtime.oci.image import INDEX, Descriptor
from runtime.oci.platform import this_platform
from runtime.store.known import trust
from runtime.store.store import Store

_MTIME = 0  # of the archive's members; those of the image's files are in its layers


def write_archive(store: Store, product: Product, output: Output, names: tuple[str, ...]) -> None:
    """Write the image archive that was asked for.

    What was at its place before is replaced only once the archive is complete. Raises DiskError.
    """
    try:
        if output.dest == STDOUT:
            _write(ArchiveWriter(1), store, product, names, output.kind)
            return
        with Replacement(output.dest) as fd:
            _write(ArchiveWriter(fd), store, product, names, output.kind)
        if output.is_file:
            trust(store, output.dest)
    except OSError as error:
        raise DiskError(f"{output.dest}: {error.strerror}") from error


def _write(
    writer: ArchiveWriter, store: Store, product: Product, names: tuple[str, ...], kind: str
) -> None:
    if kind != DOCKER:
        _add(writer, "oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
        _add(writer, "index.json", _index(product, names))
    if kind != OCI:
        _add(writer, "manifest.json", _docker_manifest(_docker_view(product), names))
    # containers/image gives directories that are only implied to root: a user may not.
    for folder in ("blobs", "blobs/sha256"):
        writer.add(_entry(folder, 0).replace(kind=tar.DIRECTORY, mode=0o755))
    for name, document in _documents(product, manifests=kind != DOCKER):
        _add(writer, name, document)
    layers = {la.descriptor.digest: la.descriptor for m in product.manifests for la in m.layers}
    for descriptor in layers.values():
        fd = os.open(store.blob(descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            writer.add_blob(_entry(_member(descriptor), descriptor.size), fd)
        finally:
            os.close(fd)
    writer.finish()


def _documents(product: Product, *, manifests: bool) -> Iterator[tuple[str, bytes]]:
    for image in product.manifests:
        yield _member(image.config_descriptor), image.config
        if manifests:
            yield _member(image.descriptor), image.manifest
    if product.index:
        yield _member(product.descriptor), product.index


def _add(writer: ArchiveWriter, name: str, content: bytes) -> None:
    writer.add(_entry(name, len(content)), content)


def _index(product: Product, names: tuple[str, ...]) -> bytes:
    """index.json with exactly one descriptor: several clients take no other."""
    table = product.descriptor.to_json() if product.index else product.images[0].listed
    if names:
        # containerd reads the full name; everybody else takes the tag (image-spec annotations.md).
        table["annotations"] = {
            "io.containerd.image.name": _full_name(names[0]),
            "org.opencontainers.image.ref.name": tagged(names[0]).rpartition(":")[2],
        }
    return to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [table]})


def _docker_view(product: Product) -> Documents:
    """The one image that a docker archive holds: this machine's, if it is there."""
    here = this_platform()
    return next((im for im in product.images if im.platform == here), product.images[0])


def _docker_manifest(image: Documents, names: tuple[str, ...]) -> bytes:
    return to_json(
        [
            {
                "Config": _member(image.config_descriptor),
                "RepoTags": [tagged(name) for name in names] or None,
                "Layers": [_member(layer.descriptor) for layer in image.layers],
            }
        ]
    )


def tagged(name: str) -> str:
    """A name with its tag, `latest` where none is given."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _full_name(name: str) -> str:
    """The name as docker completes it: registry, namespace and tag."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return tagged(name)
    return tagged(f"docker.io/{name}" if slash else f"docker.io/library/{name}")


def _member(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.hex}"


def _entry(name: str, size: int) -> tar.Entry:
    return tar.Entry(
        name=name, kind=tar.REGULAR, mode=0o644, uid=0, gid=0, size=size, mtime=_MTIME
    )
