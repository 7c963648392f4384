"""An SBOM as bytes, and how it is written."""

from __future__ import annotations

import json

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
