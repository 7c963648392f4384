"""`--metadata-file`: what a build led to, for scripts."""

from __future__ import annotations

import json
import os

from buildkit.errors import DiskError
from runtime.store.store import write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.recorded import Recorded


def metadata_of(found: Recorded, tags: tuple[str, ...]) -> dict[str, object]:
    """What buildx says of an image, under its keys."""
    table: dict[str, object] = {
        "containerimage.descriptor": found.manifest,
        "containerimage.digest": found.digest,
    }
    if found.config_digest:  # else it is an index of several images
        table["containerimage.config.digest"] = found.config_digest
    if tags:
        table["image.name"] = ",".join(tags)
    return table


def write_metadata(path: str, document: object) -> None:
    """Write the file; raises DiskError."""
    try:
        write_atomically(
            os.path.abspath(path), json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
        )
    except OSError as error:
        raise DiskError(f"--metadata-file {path}: {error.strerror}") from error
