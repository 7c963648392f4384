"""The documents of an image, and of an index of images for several platforms, as bytes."""

from __future__ import annotations

import json
import os

from buildkit.cache import Layer
from buildkit.errors import UsageError
from buildkit.platforms import parts_of
from buildkit.shaping import Shape
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
from runtime.oci.platform import platform_text
from runtime.record import Record
from runtime.store.store import Store, write_atomically


class Documents(Record):
    """An image's manifest and configuration, as bytes and by digest."""

    config: bytes
    manifest: bytes
    descriptor: Descriptor  # of the manifest
    config_descriptor: Descriptor
    layers: tuple[Layer, ...]
    platform: str

    @property
    def listed(self) -> dict[str, object]:
        """What an index says of the image (image-index.md "manifests")."""
        table = self.descriptor.to_json()
        system, architecture, variant = parts_of(self.platform)
        table["platform"] = {"architecture": architecture, "os": system}
        if variant:
            table["platform"]["variant"] = variant
        return table


class Product(Record):
    """What a build made: one image; or those for several platforms, and what is attested of them,
    below an index.
    """

    images: tuple[Documents, ...]
    attestations: tuple[Documents, ...] = ()
    index: bytes = b""  # empty for a single image without attestations
    descriptor: Descriptor  # of the manifest, or of the index

    @property
    def manifests(self) -> tuple[Documents, ...]:
        """All of them: "after all the original runnable manifests" are BuildKit's others."""
        return *self.images, *self.attestations


def make_product(
    images: tuple[Documents, ...],
    attestations: tuple[Documents, ...] = (),
    *,
    as_index: bool,
    docker: bool,
) -> Product:
    """One image, or all of them below an index; what platforms have in common is there once.

    Attestations need an index.
    """
    if not (as_index or attestations):
        return Product(images=images, descriptor=images[0].descriptor)
    images, attestations = _once(images), _once(attestations)
    media_type = docker_media_type(INDEX) if docker else INDEX
    index = to_json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [one.listed for one in (*images, *attestations)],
        }
    )
    descriptor = Descriptor(media_type=media_type, digest=digest_of(index), size=len(index))
    return Product(images=images, attestations=attestations, index=index, descriptor=descriptor)


def _once(documents: tuple[Documents, ...]) -> tuple[Documents, ...]:
    return tuple({one.descriptor.digest: one for one in documents}.values())


def make_documents(
    config: ImageConfig, layers: tuple[Layer, ...], shape: Shape | None = None
) -> Documents:
    """Serialise an image's documents canonically; raises UsageError for what docker has not."""
    shape = shape or Shape()
    name_of = docker_media_type if shape.docker else canonical_media_type
    config_bytes = to_json(config.to_json() | dict(shape.members))
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
    manifest_bytes = to_json(table)
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
        platform=platform_text(config.os, config.architecture, config.variant),
    )


def name_product(store: Store, product: Product, names: tuple[str, ...]) -> None:
    """Put the documents into the store, and the image under its names."""
    documents = [(product.descriptor, product.index)] if product.index else []
    for image in product.manifests:
        documents.append((image.config_descriptor, image.config))
        documents.append((image.descriptor, image.manifest))
    for descriptor, document in documents:
        if not os.path.exists(store.blob(descriptor.digest)):
            write_atomically(store.blob(descriptor.digest), document)
    for name in names:
        write_atomically(store.image_name(name), name_record(product))


def name_record(product: Product) -> bytes:
    """What the store keeps under an image's name: the descriptor of its manifest or index."""
    return to_json(product.descriptor.to_json())


def to_json(document: object) -> bytes:
    """A document as the same bytes each time."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )
