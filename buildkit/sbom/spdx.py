"""An SBOM in SPDX 2.3, as JSON (https://spdx.github.io/spdx-spec/v2.3/)."""

from __future__ import annotations

import hashlib
import re

from buildkit.sbom.actors import Actor, is_url
from buildkit.sbom.licences import NOASSERTION, References
from buildkit.sbom.package import DEB, Package
from buildkit.sbom.spdx_ids import VERSION as LICENSE_LIST
from buildkit.sbom.subject import utc
from runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.sbom.installed import Installed
    from buildkit.sbom.subject import Subject

_DOCUMENT, _IMAGE, _SYSTEM = "SPDXRef-DOCUMENT", "SPDXRef-Image", "SPDXRef-OperatingSystem"


def spdx_document(subject: Subject, installed: Installed) -> dict[str, object]:
    """The document of an image; raises ImageError."""
    references = References()
    packages = [_image(subject)]
    relations = [(_DOCUMENT, "DESCRIBES", _IMAGE)]
    if installed.release.id:
        packages.append(_system(installed))
        relations.append((_IMAGE, "CONTAINS", _SYSTEM))
    for package in installed.packages:
        packages.append(_package(package, references))
        relations.append((_IMAGE, "CONTAINS", _id(package)))
    table: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": subject.name,
        "documentNamespace": f"urn:uuid:{subject.identity('spdx')}",
        "creationInfo": {
            "created": subject.time,
            "creators": [f"Tool: pybuild-{VERSION}"],
            "licenseListVersion": LICENSE_LIST,
        },
        "packages": packages,
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in relations
        ],
    }
    if references.names:
        table["hasExtractedLicensingInfos"] = [
            {
                "licenseId": reference,
                "name": name,
                "extractedText": f"The package database says of the licence only: {name}",
            }
            for reference, name in sorted(references.names.items())
        ]
    return table


def _image(subject: Subject) -> dict[str, object]:
    table = _unpacked(_IMAGE, subject.name, str(subject.digest), "CONTAINER")
    algorithm = subject.digest.partition(":")[0].upper()
    table["checksums"] = [{"algorithm": algorithm, "checksumValue": subject.digest.hex}]
    if subject.platform:
        table["comment"] = f"for {subject.platform}"
    return table


def _system(installed: Installed) -> dict[str, object]:
    release = installed.release
    table = _unpacked(_SYSTEM, release.id, release.version_id, "OPERATING-SYSTEM")
    if release.pretty_name:
        table["summary"] = release.pretty_name
    return table


def _package(package: Package, references: References) -> dict[str, object]:
    table = _unpacked(_id(package), package.name, package.version, "")
    expression = references.expression(package.licences, debian=package.kind == DEB)
    table["licenseDeclared"] = expression.text
    table["supplier"] = Actor.read(package.supplier).spdx
    optional = {
        "originator": package.packager and Actor.read(package.packager).spdx,
        "summary": package.summary,
        "homepage": package.url if is_url(package.url) else "",
        "sourceInfo": package.source and f"built from source package: {package.source.label}",
        "builtDate": "" if package.built is None else utc(package.built),
        "comment": "; ".join(f"{kind} of its {what}: {h}" for what, kind, h in package.digests),
    }
    table |= {name: value for name, value in optional.items() if value}
    table["externalRefs"] = [
        {
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl,
        }
    ]
    return table


def _unpacked(identity: str, name: str, version: str, purpose: str) -> dict[str, object]:
    """What every package has; its files are not listed."""
    table: dict[str, object] = {"SPDXID": identity, "name": name}
    if version:
        table["versionInfo"] = version
    table |= {
        "downloadLocation": NOASSERTION,
        "filesAnalyzed": False,
        "licenseConcluded": NOASSERTION,
        "licenseDeclared": NOASSERTION,
        "copyrightText": NOASSERTION,
        "supplier": NOASSERTION,
    }
    if purpose:
        table["primaryPackagePurpose"] = purpose
    return table


def _id(package: Package) -> str:
    """Unique, as package URLs are; of letters, digits, dots and hyphens."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", package.name)
    unique = hashlib.sha256(package.purl.encode()).hexdigest()[:16]
    return f"SPDXRef-Package-{package.kind}-{name}-{unique}"
