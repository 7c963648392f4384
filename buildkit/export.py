"""Writing an image: its documents, the name in the store, and the archive.

The archive is an OCI layout (image-layout.md) and a docker archive (`docker save`) at once, both
views made from the same values: every client that reads either takes it. It is deterministic:
fixed times and owners, members in an order that a reader can stream.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass

from buildkit.cache import Layer
from buildkit.errors import DiskError, UsageError
from buildkit.outputs import DOCKER, OCI, STDOUT, Output
from buildkit.shaping import Shape
from buildkit.tarwriter import TarWriter
from runtime.image import tar
from runtime.oci.digest import digest_of
from runtime.oci.image import (
    CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
    canonical_media_type,
    docker_media_type,
)
from runtime.store.store import Store, write_atomically

_MTIME = 0  # of the archive's members; those of the image's files are in its layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """An image's manifest and configuration, as bytes and by digest."""

    config: bytes
    manifest: bytes
    descriptor: Descriptor  # of the manifest
    config_descriptor: Descriptor
    layers: tuple[Layer, ...]
    architecture: str


def make_documents(
    config: ImageConfig, layers: tuple[Layer, ...], shape: Shape | None = None
) -> Documents:
    """Serialise an image's documents canonically; raises UsageError for what docker has not."""
    shape = shape or Shape()
    name_of = docker_media_type if shape.docker else canonical_media_type
    config_bytes = _json(config.to_json())
    config_descriptor = Descriptor(
        media_type=name_of(CONFIG), digest=digest_of(config_bytes), size=len(config_bytes)
    )
    try:
        described = tuple(
            layer.descriptor.replace(media_type=name_of(layer.descriptor.media_type))
            for layer in layers
        )
    except KeyError:
        raise UsageError("docker's format has no zstd: use gzip, or --format oci") from None
    manifest = Manifest(config=config_descriptor, layers=described)
    table = manifest.to_json()
    table["mediaType"] = name_of(MANIFEST)
    if shape.annotations:
        table["annotations"] = dict(shape.annotations)
    manifest_bytes = _json(table)
    layers = tuple(
        Layer(descriptor=descriptor, diff_id=layer.diff_id)
        for descriptor, layer in zip(described, layers, strict=True)
    )
    return Documents(
        config=config_bytes,
        manifest=manifest_bytes,
        descriptor=Descriptor(
            media_type=name_of(MANIFEST),
            digest=digest_of(manifest_bytes),
            size=len(manifest_bytes),
        ),
        config_descriptor=config_descriptor,
        layers=layers,
        architecture=config.architecture,
    )


def name_image(store: Store, documents: Documents, names: tuple[str, ...]) -> None:
    """Put the documents into the store, and the image under its names."""
    for descriptor, document in (
        (documents.config_descriptor, documents.config),
        (documents.descriptor, documents.manifest),
    ):
        if not os.path.exists(store.blob(descriptor.digest)):
            write_atomically(store.blob(descriptor.digest), document)
    for name in names:
        write_atomically(store.image_name(name), name_record(documents))


def name_record(documents: Documents) -> bytes:
    """What the store keeps under an image's name: the descriptor of its manifest."""
    return _json(documents.descriptor.to_json())


def write_archive(
    store: Store, documents: Documents, output: Output, names: tuple[str, ...]
) -> None:
    """Write the image archive that was asked for.

    What was at its place before is replaced only once the archive is complete. Raises DiskError.
    """
    try:
        if output.dest == STDOUT:
            _write(TarWriter(1), store, documents, names, output.kind)
            return
        with Replacement(output.dest) as fd:
            _write(TarWriter(fd), store, documents, names, output.kind)
    except OSError as error:
        raise DiskError(f"{output.dest}: {error.strerror}") from error


def _write(
    writer: TarWriter, store: Store, documents: Documents, names: tuple[str, ...], kind: str
) -> None:
    config, manifest = documents.config_descriptor, documents.descriptor
    members: list[tuple[str, bytes]] = []
    if kind != DOCKER:
        members.append(("oci-layout", _json({"imageLayoutVersion": "1.0.0"})))
        members.append(("index.json", _index(documents, names)))
    if kind != OCI:
        members.append(("manifest.json", _docker_manifest(documents, names)))
    members.append((_member(config), documents.config))
    if kind != DOCKER:
        members.append((_member(manifest), documents.manifest))
    for name, content in members:
        if name == _member(config):
            # containers/image gives directories that are only implied to root: a user may not.
            for folder in ("blobs", "blobs/sha256"):
                writer.add(_entry(folder, 0).replace(kind=tar.DIRECTORY, mode=0o755))
        writer.add(_entry(name, len(content)), content)
    written: set[str] = set()
    for layer in documents.layers:
        descriptor = layer.descriptor
        if descriptor.digest not in written:
            written.add(descriptor.digest)
            fd = os.open(store.blob(descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
            try:
                writer.add_file(_entry(_member(descriptor), descriptor.size), fd)
            finally:
                os.close(fd)
    writer.finish()


def _index(documents: Documents, names: tuple[str, ...]) -> bytes:
    """index.json with exactly one descriptor: several clients take no other."""
    table = documents.descriptor.to_json()
    table["platform"] = {"architecture": documents.architecture, "os": "linux"}
    if names:
        # containerd reads the full name; everybody else takes the tag (image-spec annotations.md).
        table["annotations"] = {
            "io.containerd.image.name": _full_name(names[0]),
            "org.opencontainers.image.ref.name": tagged(names[0]).rpartition(":")[2],
        }
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [table]})


def _docker_manifest(documents: Documents, names: tuple[str, ...]) -> bytes:
    return _json(
        [
            {
                "Config": _member(documents.config_descriptor),
                "RepoTags": [tagged(name) for name in names] or None,
                "Layers": [_member(layer.descriptor) for layer in documents.layers],
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


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


class Replacement:
    """A file that takes another's place when it is complete, and else was never there.

    Until then it has no name where the filesystem allows that (O_TMPFILE): nothing is left behind
    even by kill -9.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory = os.path.dirname(path) or "."
        self._aside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        self._named = False
        self._fd = -1

    def __enter__(self) -> int:
        try:
            self._fd = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except OSError:  # not every filesystem has it
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._aside, flags, 0o644)
            self._named = True
        return self._fd

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                os.fsync(self._fd)
                if not self._named:
                    # linkat(2): how a file without a name gets one; it cannot replace another.
                    # Given a descriptor (which an absolute path ignores) os.link follows links.
                    self._named = True
                    os.link(f"/proc/self/fd/{self._fd}", self._aside, src_dir_fd=self._fd)
                os.rename(self._aside, self._path)
                self._named = False
        finally:
            os.close(self._fd)
            if self._named:
                with suppress(FileNotFoundError):  # a signal may come between any two lines
                    os.unlink(self._aside)
