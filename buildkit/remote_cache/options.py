"""`--cache-from` and `--cache-to`, as buildx writes them."""

from __future__ import annotations

import csv
import os

from buildkit.compressing import Compression, read_compression
from buildkit.errors import UsageError
from runtime.errors import ImageError
from runtime.errors import UsageError as NameProblem
from runtime.oci.digest import Digest
from runtime.record import Record
from runtime.registry.reference import parse_reference

REGISTRY, LOCAL, INLINE = "registry", "local", "inline"
MIN, MAX = "min", "max"
_TAG = "latest"  # of a local cache
_HINTS = {
    "gha": "type=local, and actions/cache carries the directory",
    "s3": "type=local or type=registry",
    "azblob": "type=local or type=registry",
}
_COMPRESSIONS = {"uncompressed": "none", "gzip": "gzip", "zstd": "zstd"}


class CacheSource(Record):
    """Where results of steps may be: the name of an image or a cache, or a directory."""

    kind: str  # REGISTRY or LOCAL
    place: str  # a name, or an absolute path
    tag: str = _TAG  # LOCAL: which one of the directory's
    digest: Digest | None = None  # LOCAL: instead of the tag

    def __str__(self) -> str:
        return self.place


class CacheTarget(Record):
    """Where results of steps are written."""

    kind: str  # REGISTRY, LOCAL or INLINE
    place: str = ""  # as in CacheSource; INLINE: the image itself
    tag: str = _TAG
    mode: str = MIN  # the layers of the image; MAX: of all steps
    compression: Compression | None  # None: the image's, or else zstd
    force: bool = False  # whether layers that are there in another compression are written anew
    ignore_error: bool = False

    def __str__(self) -> str:
        return self.place


def read_sources(words: tuple[str, ...]) -> tuple[CacheSource, ...]:
    """The --cache-from options; raises UsageError."""
    found = []
    for word in words:
        option = f"--cache-from {word}"
        for fields in _fields(word, option):
            kind = fields.pop("type")
            if kind == REGISTRY:
                source = CacheSource(kind=kind, place=_name(fields, option))
            elif kind == LOCAL:
                source = CacheSource(
                    kind=kind,
                    place=_directory(fields, "src", option),
                    tag=fields.pop("tag", _TAG),
                    digest=_digest(fields, option),
                )
            else:
                raise _unknown(kind, option, "registry or local")
            _refuse_rest(fields, option)
            found.append(source)
    return tuple(dict.fromkeys(found))


def read_targets(words: tuple[str, ...]) -> tuple[CacheTarget, ...]:
    """The --cache-to options; raises UsageError."""
    found = []
    for word in words:
        option = f"--cache-to {word}"
        for fields in _fields(word, option):
            kind = fields.pop("type")
            target = CacheTarget(
                kind=kind,
                mode=_one_of(fields, "mode", (MIN, MAX), option),
                compression=_compression(fields, option),
                force=_flag(fields, "force-compression", option),
                ignore_error=_flag(fields, "ignore-error", option),
            )
            if kind == REGISTRY:
                target = target.replace(place=_name(fields, option))
            elif kind == LOCAL:
                place = _directory(fields, "dest", option)
                target = target.replace(place=place, tag=fields.pop("tag", _TAG))
            elif kind != INLINE:
                raise _unknown(kind, option, "registry, local or inline")
            elif target.mode == MAX:
                hint = "an image has no other layers than its own: type=registry has mode=max"
                raise UsageError(f"{option}: mode=min", hint=hint)
            for name in ("oci-mediatypes", "image-manifest"):
                if not _flag(fields, name, option, default=True):
                    raise UsageError(f"{option}: {name}=true is the only form there is")
            _refuse_rest(fields, option)
            found.append(target)
    places = [(target.kind, target.place, target.tag) for target in found]
    for one in places:
        if places.count(one) > 1:
            raise UsageError(f"--cache-to: {one[1] or INLINE} is written twice")
    return tuple(found)


def _fields(word: str, option: str) -> list[dict[str, str]]:
    """What one option says; names of images may stand without a type."""
    try:
        items = next(csv.reader([word], strict=True), [])
    except csv.Error as error:
        raise UsageError(f"{option}: {error}") from None
    if not items or not all(items):
        raise UsageError(f"{option}: a name or type=registry|local,… expected")
    if "=" not in word:
        return [{"type": REGISTRY, "ref": item} for item in items]
    fields: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        if not equals or key in fields:
            raise UsageError(f"{option}: KEY=VALUE expected, each once, not {item!r}")
        fields[key] = value
    if not fields.get("type"):
        raise UsageError(f"{option}: type= expected")
    return [fields]


def _name(fields: dict[str, str], option: str) -> str:
    name = fields.pop("ref", "")
    if not name:
        raise UsageError(f"{option}: ref=NAME expected")
    try:
        parse_reference(name)
    except NameProblem as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from error
    return name


def _directory(fields: dict[str, str], key: str, option: str) -> str:
    path = fields.pop(key, "")
    if not path:
        raise UsageError(f"{option}: {key}=DIRECTORY expected")
    return os.path.abspath(path)


def _digest(fields: dict[str, str], option: str) -> Digest | None:
    text = fields.pop("digest", "")
    if not text:
        return None
    try:
        return Digest.parse(text, option)
    except ImageError as error:
        raise UsageError(error.message) from error


def _compression(fields: dict[str, str], option: str) -> Compression | None:
    if "compression" not in fields and "compression-level" not in fields:
        return None
    name = fields.pop("compression", "zstd")
    level = fields.pop("compression-level", "")
    if name not in _COMPRESSIONS:
        raise UsageError(f"{option}: compression={name}: {', '.join(_COMPRESSIONS)}")
    return read_compression(_COMPRESSIONS[name] + (f":{level}" if level else ""), option)


def _one_of(fields: dict[str, str], key: str, values: tuple[str, ...], option: str) -> str:
    value = fields.pop(key, values[0])
    if value not in values:
        raise UsageError(f"{option}: {key}={value}: {' or '.join(values)}")
    return value


def _flag(fields: dict[str, str], key: str, option: str, *, default: bool = False) -> bool:
    value = fields.pop(key, "true" if default else "false")
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"{option}: {key}={value}: true or false")
    return value in ("true", "1")


def _unknown(kind: str, option: str, known: str) -> UsageError:
    return UsageError(f"{option}: type={kind}: {known}", hint=_HINTS.get(kind))


def _refuse_rest(fields: dict[str, str], option: str) -> None:
    if fields:
        raise UsageError(f"{option}: {min(fields)!r} is not known")
