"""An SBOM in CycloneDX 1.6, as JSON (https://cyclonedx.org/docs/1.6/json/)."""

from __future__ import annotations

from buildkit.sbom.actors import Actor, is_url
from buildkit.sbom.licences import References
from buildkit.sbom.package import DEB, Package
from buildkit.sbom.spdx_ids import LICENSES
from runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.sbom.installed import Installed
    from buildkit.sbom.subject import Subject

_DECLARED = {"acknowledgement": "declared"}


def cyclonedx_document(subject: Subject, installed: Installed) -> dict[str, object]:
    """The document of an image; raises ImageError."""
    image = f"image@{subject.digest}"
    components = [_package(package) for package in installed.packages]
    if installed.release.id:
        components.insert(0, _system(installed))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{subject.identity('cyclonedx')}",
        "version": 1,
        "metadata": {
            "timestamp": subject.time,
            "tools": {
                "components": [{"type": "application", "name": "pybuild", "version": VERSION}]
            },
            "component": {
                "bom-ref": image,
                "type": "container",
                "name": subject.name,
                "version": str(subject.digest),
                "hashes": [{"alg": "SHA-256", "content": subject.digest.hex}],
                "properties": _properties({"platform": subject.platform}),
            },
        },
        "components": components,
        "dependencies": [
            {"ref": image, "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }


def _system(installed: Installed) -> dict[str, object]:
    release = installed.release
    table: dict[str, object] = {
        "bom-ref": f"os@{release.distro}",
        "type": "operating-system",
        "name": release.id,
    }
    if release.version_id:
        table["version"] = release.version_id
    if release.pretty_name:
        table["description"] = release.pretty_name
    return table


def _package(package: Package) -> dict[str, object]:
    table: dict[str, object] = {
        "bom-ref": package.purl,
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.supplier:
        actor = Actor.read(package.supplier)
        table["supplier"] = {"name": actor.name}
        if actor.address:
            table["supplier"] = {"name": actor.name, "contact": [{"email": actor.address}]}
    if package.packager:
        table["publisher"] = package.packager
    if package.summary:
        table["description"] = package.summary
    if package.licences:
        table["licenses"] = _licences(package)
    if is_url(package.url):
        table["externalReferences"] = [{"type": "website", "url": package.url}]
    source = package.source
    if source is not None and source.purl:
        # What this is built from, and nothing that the image holds.
        ancestor = {
            "bom-ref": f"source-of:{package.purl}",
            "type": "library",
            "name": source.name,
            "version": source.version,
            "purl": source.purl,
        }
        table["pedigree"] = {"ancestors": [ancestor]}
    digests = {f"{what}:{algorithm}": value for what, algorithm, value in package.digests}
    label = "" if source is None else source.label
    table["properties"] = _properties({"database": package.database, "source": label, **digests})
    return table


def _licences(package: Package) -> list[dict[str, object]]:
    """One expression if SPDX knows all of it; else each as it is called."""
    references, debian = References(), package.kind == DEB
    whole = references.expression(package.licences, debian=debian)
    if whole.is_listed and whole.text.lower() not in LICENSES:
        return [{"expression": whole.text, **_DECLARED}]
    found: list[dict[str, object]] = []
    for name in package.licences:
        one = references.expression((name,), debian=debian)
        known = one.is_listed and one.text.lower() in LICENSES
        found.append(
            {"license": {"id" if known else "name": one.text if known else name} | _DECLARED}
        )
    return found


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    given = sorted((name, value) for name, value in values.items() if value)
    return [{"name": f"pybuild:{name}", "value": value} for name, value in given]
