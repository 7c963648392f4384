"""Image indexes: which of the manifests that they list is meant (image-index.md)."""

from __future__ import annotations

from runtime.errors import ImageError
from runtime.image.names import listed_names, means
from runtime.oci.image import INDEX, Descriptor, canonical_media_type
from runtime.oci.platform import read_platform, served_by, this_platform
from runtime.oci.reader import member, parse_json, unambiguous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from runtime.oci.digest import Digest

SEVERAL = "ARCHIVE:NAME takes one of them, by its name or its tag"
_DEEPEST = 4  # indexes in indexes


def choose_manifest(
    document: bytes,
    where: str,
    read: Callable[[Descriptor], bytes],
    *,
    reference: str = "",
    platform: str = "",
) -> Descriptor:
    """The descriptor of the manifest for a platform, or else for this machine.

    `read` gives a document that a descriptor stands for, verified. `reference` is the tag or the
    digest of one of the outermost descriptors. Where there is only one it is taken, whatever it is
    for: its configuration tells. Raises ImageError.
    """
    tables = _images(document, where)
    if reference:
        tables = [table for table in tables if _is_called(table, reference)]
        if not tables:
            raise ImageError(f"{where}: nothing is called {reference}")
    # An image with two names is there twice.
    tables = list({str(table.get("digest")): table for table in tables}.values())
    _check_one(tables, where)
    for _ in range(_DEEPEST + 1):
        descriptor = Descriptor.from_json(_fitting(tables, where, platform), where)
        if canonical_media_type(descriptor.media_type) != INDEX:
            return descriptor
        where = f"{where}: index {descriptor.digest}"
        tables = _images(read(descriptor), where)
    raise ImageError(f"{where}: indexes nested too deeply")


def all_manifests(
    document: bytes,
    where: str,
    read: Callable[[Descriptor], bytes],
    depth: int = 0,
    *,
    reference: str = "",
    has: Callable[[Digest], bool] = lambda _: True,
) -> Iterator[Descriptor]:
    """The descriptors of all manifests, those in nested indexes too; raises ImageError.

    Those whose documents are not there, as `has` says, are left out: an archive need not have the
    images for all platforms that an index lists (image-layout.md "Blobs"). `reference` leaves
    only what the outermost descriptors of that name, tag or digest stand for.
    """
    for table in _images(document, where):
        if reference and not _is_called(table, reference):
            continue
        descriptor = Descriptor.from_json(table, where)
        if not has(descriptor.digest):
            continue
        if canonical_media_type(descriptor.media_type) != INDEX:
            yield descriptor
        elif depth == _DEEPEST:
            raise ImageError(f"{where}: indexes nested too deeply")
        else:
            nested = f"{where}: index {descriptor.digest}"
            yield from all_manifests(read(descriptor), nested, read, depth + 1, has=has)


def attestation_manifests(document: bytes, where: str) -> tuple[Descriptor, ...]:
    """The descriptors of what an index attests of its images, as BuildKit lists it there.

    Raises ImageError.
    """
    tables = [table for table in _tables(document, where) if is_attestation(table)]
    return tuple(Descriptor.from_json(table, where) for table in tables)


def _images(document: bytes, where: str) -> list[Mapping[str, Any]]:
    return [table for table in _tables(document, where) if not is_attestation(table)]


def _tables(document: bytes, where: str) -> list[Mapping[str, Any]]:
    index = parse_json(document, where)
    unambiguous(index, where)
    tables = member(index, "manifests", list, where)
    return [table for table in tables if isinstance(table, dict)]


def _fitting(tables: list[Mapping[str, Any]], where: str, platform: str) -> Mapping[str, Any]:
    if len(tables) == 1:
        return tables[0]
    wanted = platform or this_platform()
    offered = [_platform(table) for table in tables]
    for name in served_by(wanted):
        if name in offered:
            if offered.count(name) > 1:
                raise ImageError(f"{where}: {offered.count(name)} images for {name}, one expected")
            return tables[offered.index(name)]
    if not tables:
        raise ImageError(f"{where}: it lists no image")
    names = ", ".join(sorted({name or "an unnamed platform" for name in offered}))
    raise ImageError(f"{where}: no image for {wanted}, only for {names}")


def _platform(table: Mapping[str, Any]) -> str:
    platform = table.get("platform")
    return read_platform(platform) if isinstance(platform, dict) else ""


def _check_one(tables: list[Mapping[str, Any]], where: str) -> None:
    """Refuse several images; one for several platforms may stand there in its parts."""
    names = [" ".join(filter(None, listed_names(table))) for table in tables]
    if len(set(names)) > 1:
        shown = ", ".join(
            next(filter(None, listed_names(table)), str(table.get("digest"))) for table in tables
        )
        raise ImageError(f"{where}: holds several images: {shown}", hint=SEVERAL)


def is_attestation(table: Mapping[str, Any]) -> bool:
    """Whether a descriptor stands for what BuildKit attests of an image."""
    annotations = table.get("annotations")
    return isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations


def _is_called(table: Mapping[str, Any], reference: str) -> bool:
    full, name = listed_names(table)
    return reference == table.get("digest") or means(reference, full) or means(reference, name)


def check_platform(found: str, wanted: str, where: str) -> None:
    """Refuse an image for another platform than the one that was asked for (empty: any)."""
    if wanted and found and found not in served_by(wanted):
        raise ImageError(f"{where}: the image is for {found}, not for {wanted}")
