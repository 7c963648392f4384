"""What is shown of images: rows of lists, and the document of `inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buildkit.errors import UsageError
from buildkit.human import age_text, size_text
from runtime import templates
from runtime.errors import UsageError as OptionError
from runtime.oci.image import canonical_media_type
from runtime.record import Record
from runtime.templates import aligned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buildkit.known_images import KnownImage
    from runtime.image.archive import Image

_SHORT = 12  # characters of an id
_CREATED_BY = 45  # characters, as in docker


class HistoryRow(Record):
    """One entry of an image's history."""

    layer: str  # digest; empty for one without a layer
    created: str
    created_by: str
    size: int  # bytes of the layer as it is stored
    comment: str

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {name: getattr(self, name) for name in type(self)._fields}


def list_rows(images: Iterable[KnownImage]) -> list[dict[str, Any]]:
    """One object for each name."""
    return [
        {
            "name": name,
            "repository": name.rpartition(":")[0],
            "tag": name.rpartition(":")[2],
            "id": str(known.id),
            "digest": str(known.descriptor.digest),
            "platforms": [image.platform for image in known.images],
            "created": known.images[0].config.created,
            "size": known.size,
        }
        for known in images
        for name in known.names
    ]


def list_table(rows: Sequence[dict[str, Any]], *, now: float, digests: bool, full: bool) -> str:
    """The same as docker shows it."""
    table = [("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "PLATFORM")]
    for row in rows:
        platforms = ", ".join(filter(None, row["platforms"])) or "-"
        age, size = age_text(row["created"], now), size_text(row["size"])
        id = row["id"] if full else row["id"].removeprefix("sha256:")[:_SHORT]
        table.append((row["repository"], row["tag"], id, age, size, platforms))
    if digests:
        shown = ["DIGEST", *(row["digest"] for row in rows)]
        pairs = zip(table, shown, strict=True)
        return aligned([(*line[:2], digest, *line[2:]) for line, digest in pairs])
    return aligned(table)


def history_rows(image: Image) -> list[HistoryRow]:
    """The history of an image, newest first; layers that it does not tell of come last."""
    layers = list(image.manifest.layers)
    rows = []
    for entry in image.config.history:
        layer = None if entry.empty_layer or not layers else layers.pop(0)
        rows.append(
            HistoryRow(
                layer="" if layer is None else str(layer.digest),
                created=entry.created,
                created_by=entry.created_by,
                size=0 if layer is None else layer.size,
                comment=entry.comment,
            )
        )
    for layer in layers:
        row = HistoryRow(
            layer=str(layer.digest), created="", created_by="", size=layer.size, comment=""
        )
        rows.append(row)
    return rows[::-1]


def history_table(rows: Iterable[HistoryRow], *, now: float, full: bool) -> str:
    """The same as docker shows it."""
    table = [("LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT")]
    for row in rows:
        by = " ".join(row.created_by.split())
        layer = row.layer or "-"
        if not full:
            layer = layer.removeprefix("sha256:")[:_SHORT]
            by = by if len(by) <= _CREATED_BY else f"{by[: _CREATED_BY - 1]}…"
        table.append((layer, age_text(row.created, now), by, size_text(row.size), row.comment))
    return aligned(table)


def inspection(image: Image, names: Sequence[str], id: str, media_type: str) -> dict[str, Any]:
    """What docker's `image inspect` tells, under its names, and what the manifest says."""
    config = image.config
    return {
        "Id": id,
        "RepoTags": list(names),
        "Digest": str(image.digest),
        "MediaType": media_type,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": sum(layer.size for layer in image.manifest.layers),
        "Config": config.config.to_json(),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Layers": [
            {
                "MediaType": layer.media_type,
                "CanonicalMediaType": canonical_media_type(layer.media_type),
                "Digest": str(layer.digest),
                "Size": layer.size,
            }
            for layer in image.manifest.layers
        ],
        "History": [entry.to_json() for entry in config.history],
    }


def filled_in(template: str, document: dict[str, Any]) -> str:
    """A template of docker's (`runtime.templates`); raises UsageError."""
    try:
        return templates.filled_in(template, document)
    except OptionError as error:
        raise UsageError(error.message) from None
