"""`-o` that writes no file: the image goes into the store, and from there to registries.

buildx's `type=image`, `registry` and `cacheonly`, on a command line and in bake files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildkit.errors import UsageError
from runtime.record import Record

KINDS = ("image", "registry", "cacheonly")
PUSHED = "gzip"  # what every registry and engine takes
# Of docker's own storage; and layers of a base image stay as they are.
_NO_MATTER = ("unpack", "store", "force-compression", "dangling-name-prefix")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class StoredOutput(Record):
    """What one of them says."""

    names: tuple[str, ...] = ()
    pushes: bool = False
    compression: str = ""  # as --compression has it


def read_word(word: str) -> StoredOutput | None:
    """What `-o WORD` says; None for one that writes something. Raises UsageError."""
    if not any(f"type={kind}" in word.split(",") for kind in KINDS):
        return None
    import csv  # which loads `re`: most builds have none of these

    fields: dict[str, str] = {}
    for item in next(csv.reader([word]), []):
        key, equals, value = item.partition("=")
        if not equals or key in fields:
            raise UsageError(f"-o {word!r}: KEY=VALUE expected, each once")
        fields[key] = value
    return read_fields(fields, f"-o {word!r}")


def read_fields(given: Mapping[str, str], option: str) -> StoredOutput:
    """The same of its keys; raises UsageError."""
    fields = dict(given)
    kind = fields.pop("type")
    names = tuple(name for name in fields.pop("name", "").split(",") if name)
    push = fields.pop("push", "true" if kind == "registry" else "false")
    if push not in _FLAGS:
        raise UsageError(f"{option}: push={push}: true or false")
    compression = fields.pop("compression", "").replace("uncompressed", "none")
    if level := fields.pop("compression-level", ""):
        compression = f"{compression or PUSHED}:{level}"
    if not _FLAGS.get(fields.pop("oci-mediatypes", "true"), True):
        raise UsageError(f"{option}: oci-mediatypes=false: --format docker has docker's")
    for key in _NO_MATTER:
        fields.pop(key, "")
    if fields:
        raise UsageError(f"{option}: {min(fields)!r} is not known")
    return StoredOutput(names=names, pushes=_FLAGS[push], compression=compression)


def joined(several: Iterable[StoredOutput]) -> StoredOutput:
    """All that is asked of one image; what is pushed is compressed, unless somebody says how."""
    found = StoredOutput()
    for one in several:
        found = StoredOutput(
            names=tuple(dict.fromkeys((*found.names, *one.names))),
            pushes=found.pushes or one.pushes,
            compression=found.compression or one.compression,
        )
    if found.pushes and not found.compression:
        return found.replace(compression=PUSHED)
    return found
