"""`pybuild --sbom`, and the attestation: the documents of what was built.

What is installed is read before anything is written, so a database that cannot be read leaves no
image without its SBOM. The layers are in the store, where they were verified.
"""

from __future__ import annotations

import os

from buildkit.applying import stored_layer
from buildkit.compressing import compressed
from buildkit.documents import Documents, make_documents
from buildkit.outputs import DOCKER, STDOUT
from buildkit.replacement import write_document
from buildkit.sbom.documents import NOTHING_FOUND, sbom_document
from buildkit.sbom.installed import read_installed
from buildkit.sbom.spdx import spdx_document
from buildkit.sbom.subject import Subject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buildkit.outcomes import Built
    from buildkit.outputs import Output
    from buildkit.request import Request
    from buildkit.sbom.options import SbomFile
    from buildkit.shaping import Shape
    from runtime.image.blob import StoredLayer
    from runtime.oci.digest import Digest
    from runtime.store.store import Store


class Sboms:
    """The documents that a build was asked for."""

    def __init__(
        self,
        store: Store,
        results: Sequence[Built],
        request: Request,
        note: Callable[[str], None],
    ) -> None:
        """Read what is installed in each image; raises BuildError, ImageError."""
        self._store, self._results, self._request, self._note = store, results, request, note
        self._installed = [
            read_installed(_layers(store, built), verify=False) for built in results
        ]
        if not any(installed.databases for installed in self._installed):
            note(f"warning: the image {NOTHING_FOUND}")

    def write(self, shape_of: Callable[[Output, Shape], Shape]) -> None:
        """Write them; `shape_of` is how an image is in an archive. Raises DiskError."""
        for file in self._request.sboms:
            output = self._request.outputs[file.output] if file.output >= 0 else None
            shape = self._request.shape
            if output is not None:
                shape = shape_of(output, shape)
            self._write(file, output, shape)
            self._note(f"{file.dest}: written")

    def predicate(self, number: int, image: Documents) -> dict[str, object]:
        """The SPDX document of an image for its attestation; raises ImageError."""
        subject = Subject(
            name=self._name(None),
            digest=image.descriptor.digest,
            created=self._results[number].config.created,
            platform=image.platform,
        )
        return spdx_document(subject, self._installed[number])

    def _write(self, file: SbomFile, output: Output | None, shape: Shape) -> None:
        built = self._results[file.platform]
        layers = (compressed(self._store, la, shape.compression) for la in built.layers)
        image = make_documents(built.config, tuple(layers), shape)
        is_docker = output is not None and output.kind == DOCKER
        subject = Subject(
            name=self._name(output),
            digest=_digest(image, is_docker=is_docker),
            created=built.config.created,
            platform=image.platform,
        )
        document = sbom_document(file.format, subject, self._installed[file.platform])
        write_document(file.dest, document)

    def _name(self, output: Output | None) -> str:
        """As `pybuild sbom` calls the image in that place."""
        if output is None or output.dest == STDOUT:
            return self._request.tags[0] if self._request.tags else "image"
        return os.path.basename(os.path.abspath(output.dest))


def _digest(image: Documents, *, is_docker: bool) -> Digest:
    # docker's own archives have no manifest.
    return (image.config_descriptor if is_docker else image.descriptor).digest


def _layers(store: Store, built: Built) -> tuple[StoredLayer, ...]:
    stored = (stored_layer(store, layer) for layer in built.layers)
    return tuple(
        layer.replace(where=f"the image: layer {number} ({layer.descriptor.digest})")
        for number, layer in enumerate(stored, 1)
    )
