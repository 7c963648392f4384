"""An SBOM as bytes, and how it is written."""

from __future__ import annotations

import json
import os

from buildkit.errors import DiskError
from buildkit.replacement import Replacement
from buildkit.sbom.options import SPDX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.sbom.installed import Installed
    from buildkit.sbom.subject import Subject

NOTHING_FOUND = "has no package database, so its SBOM lists no packages"


def sbom_document(kind: str, subject: Subject, installed: Installed) -> bytes:
    """The document of a kind, the same bytes each time; raises ImageError."""
    if kind == SPDX:
        from buildkit.sbom.spdx import spdx_document

        table = spdx_document(subject, installed)
    else:
        from buildkit.sbom.cyclonedx import cyclonedx_document

        table = cyclonedx_document(subject, installed)
    return json.dumps(table, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def write_document(path: str, document: bytes) -> None:
    """Write a file, in the place of what was there; raises DiskError."""
    try:
        with Replacement(path) as fd:
            left = memoryview(document)
            while left:
                left = left[os.write(fd, left) :]
    except OSError as error:
        raise DiskError(f"{path}: {error.strerror}") from error
