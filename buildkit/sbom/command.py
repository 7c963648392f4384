"""`pybuild sbom`: the SBOM of an image that is there."""

from __future__ import annotations

import os
import sys

from buildkit.errors import DiskError, UsageError
from buildkit.printing import complain
from buildkit.replacement import write_document
from buildkit.sbom.documents import NOTHING_FOUND, sbom_document
from buildkit.sbom.installed import read_installed
from buildkit.sbom.options import SPDX, check_format
from buildkit.sbom.subject import Subject
from runtime.errors import UsageError as OptionError
from runtime.image.archive import Image, open_archive
from runtime.image.source import LAYOUT, open_image
from runtime.options import OptionTable
from runtime.store.store import Store, default_root

HELP = """\
usage: pybuild sbom [OPTIONS] IMAGE

Write what the package databases of an image, rpm's and dpkg's, say is installed in it, with
versions, licences, sources and package URLs. IMAGE is an archive, the directory of an OCI
layout, oci-layout://DIR[:TAG], or a name in the store. Its layers are verified and not unpacked.
The same image gives the same bytes. An image without a database gives a document without
packages, and a warning.

      --format spdx|cyclonedx
                      SPDX 2.3 (default) or CycloneDX 1.6, both as JSON
  -o, --output FILE   where to (default: standard output)
      --platform OS/ARCH[/VARIANT]
                      which image of an index (default: this machine's)
      --root DIR      the store (default: $PYBUILD_ROOT, /var/lib/pybuild)

Exit status: 0; 1 the image or a database in it cannot be read; 2 the command line is wrong; 5 the
document cannot be written.
"""
TABLE = OptionTable(
    "pybuild sbom",
    values={
        "--format": "format",
        "-o": "output",
        "--output": "output",
        "--platform": "platform",
        "--root": "root",
    },
    lists={},
    flags={"--help": "help"},
)
_HINT = "pybuild sbom --help"


def run_sbom(arguments: list[str]) -> int:
    """Run the command; returns the exit status. Raises BuildError, ImageError, StoreError."""
    try:
        fields, operands = TABLE.parse(arguments, operands_end_options=False)
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint or _HINT) from None
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    if len(operands) != 1:
        given = " ".join(operands) or "none"
        raise UsageError(f"pybuild sbom: one image expected, not {given}", hint=_HINT)
    kind = check_format(str(fields.get("format", SPDX)), "--format")
    root = str(fields.get("root") or default_root())
    image = _opened(operands[0], root, str(fields.get("platform", "")))
    installed = read_installed(image.layers, verify=True)
    document = sbom_document(kind, _subject(image), installed)
    if not installed.databases:
        complain(f"pybuild: warning: {image.name} {NOTHING_FOUND}")
    output = str(fields.get("output", "-"))
    if output != "-":
        write_document(output, document)
        return 0
    try:
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise DiskError(f"standard output: {error.strerror}") from error
    return 0


def _opened(name: str, root: str, platform: str) -> Image:
    """Open an image; a file needs no store, so it is found where none can be made."""
    if os.path.exists(name):
        return open_archive(name, platform=platform)
    return open_image(Store(root), name, platform)


def _subject(image: Image) -> Subject:
    name = image.name
    if name.startswith(LAYOUT) or os.path.exists(name):
        name = os.path.basename(os.path.abspath(name.removeprefix(LAYOUT)))
    return Subject(
        name=name, digest=image.digest, created=image.config.created, platform=image.platform
    )
