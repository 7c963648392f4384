"""In-toto statements (in-toto attestation framework, spec/v1/statement.md), and what holds them.

BuildKit's docs/attestations/attestation-storage.md says how they are beside an image: a manifest
of their own in its index, whose layers are the statements.
"""

from __future__ import annotations

import json
import os

from buildkit.cache import Layer
from buildkit.documents import Documents, to_json
from buildkit.sbom.purl import package_url
from runtime.image.names import familiar_name, tagged
from runtime.oci.digest import DiffID, digest_of
from runtime.oci.image import CONFIG, MANIFEST, Descriptor, Manifest
from runtime.record import Record
from runtime.store.store import Store, write_atomically

STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"  # media type of a statement
_UNKNOWN = "unknown"


class Statement(Record):
    """What is said of an image."""

    predicate_type: str  # a URI
    predicate: dict[str, object]


def attestation_manifest(
    store: Store, image: Documents, names: tuple[str, ...], statements: tuple[Statement, ...]
) -> Documents:
    """The manifest that an index lists beside an image; the statements are in the store then.

    Raises OSError.
    """
    layers = []
    for statement in statements:
        content = _statement(image, names, statement)
        digest = digest_of(content)
        if not os.path.exists(store.blob(digest)):
            write_atomically(store.blob(digest), content)
        descriptor = Descriptor(
            media_type=IN_TOTO,
            digest=digest,
            size=len(content),
            annotations=(("in-toto.io/predicate-type", statement.predicate_type),),
        )
        layers.append(Layer(descriptor=descriptor, diff_id=DiffID(digest)))
    config = to_json(
        {
            "architecture": _UNKNOWN,
            "os": _UNKNOWN,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )
    config_descriptor = Descriptor(media_type=CONFIG, digest=digest_of(config), size=len(config))
    described = tuple(layer.descriptor for layer in layers)
    manifest = to_json(Manifest(config=config_descriptor, layers=described).to_json())
    return Documents(
        config=config,
        manifest=manifest,
        descriptor=Descriptor(
            media_type=MANIFEST,
            digest=digest_of(manifest),
            size=len(manifest),
            annotations=(
                ("vnd.docker.reference.digest", str(image.descriptor.digest)),
                ("vnd.docker.reference.type", "attestation-manifest"),
            ),
        ),
        config_descriptor=config_descriptor,
        layers=tuple(layers),
        platform=f"{_UNKNOWN}/{_UNKNOWN}",
    )


def _statement(image: Documents, names: tuple[str, ...], statement: Statement) -> bytes:
    digest = {"sha256": image.descriptor.digest.hex}
    # "If the name is not meaningful, leave the field unset or use "_"."
    subjects = [image_url(name, image.platform) for name in names] or ["_"]
    document = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": digest} for name in subjects],
        "predicateType": statement.predicate_type,
        "predicate": statement.predicate,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")


def image_url(name: str, platform: str) -> str:
    """The package URL of an image, in the form that BuildKit gives it."""
    named, _, digest = familiar_name(name).partition("@")
    path, _, tag = tagged(named).rpartition(":")
    namespace, _, last = path.rpartition("/")
    return package_url("docker", namespace, last, digest or tag, {"platform": platform})
