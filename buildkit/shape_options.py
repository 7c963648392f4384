"""What a command line asks of an image as a whole."""

from __future__ import annotations

from buildkit.compressing import read_compression
from buildkit.errors import UsageError
from buildkit.history import readable
from buildkit.shaping import ALL, NEW, Shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.command_line import CommandLine


def read_shape(line: CommandLine) -> Shape:
    """Labels, annotations, format, compression; raises UsageError."""
    squash = NEW if line.squash else ""
    compression = read_compression(line.compression or "none")
    if line.format == "docker" and compression.kind == "zstd":
        raise UsageError("docker's format has no zstd: use gzip, or --format oci")
    return Shape(
        docker=line.format == "docker",
        squash=ALL if line.squash_all else squash,
        labels=_pairs(line.labels, "--label"),
        annotations=tuple(
            (_manifests(name), value) for name, value in _pairs(line.annotations, "--annotation")
        ),
        compression=compression,
    )


def _pairs(words: tuple[str, ...], option: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise UsageError(f"{option} {word!r}: NAME=VALUE expected")
        if readable(word) != word:
            raise UsageError(f"{option} {readable(word)!r}: it is not UTF-8")
        pairs.append((name, value))
    return tuple(pairs)


def _manifests(name: str) -> str:
    """The name of an annotation without buildx's prefix for the manifest, its default."""
    kind, colon, rest = name.partition(":")
    if colon and kind in ("index", "index-descriptor", "manifest-descriptor"):
        raise UsageError(f"--annotation {name}: only the manifest is annotated by this version")
    return rest if kind == "manifest" and colon else name
