"""Where two builds of the same file differ: the layer, the instruction, the path, the byte."""

from __future__ import annotations

import os
from itertools import zip_longest

from buildkit.outcomes import Built
from runtime.image import tar
from runtime.oci.image import ImageConfig
from runtime.store.store import Store

_CHUNK = 1 << 20
_SHOWN = 16  # bytes of each side
_FIELDS = ("kind", "mode", "uid", "gid", "mtime", "link", "device", "xattrs", "size")


def first_difference(store: Store, one: Built, two: Built) -> str:
    """The first difference in words; empty if there is none.

    Layers of the store are compared; those of base images are the same.
    """
    made = [entry.created_by for entry in one.config.history if not entry.empty_layer]
    for number, (a, b) in enumerate(zip_longest(one.layers, two.layers)):
        step = made[number] if number < len(made) else "?"
        if a is None or b is None:
            which = "first" if b is None else "second"
            return f"layer {number + 1} ({step}) is in the {which} build only"
        if a.descriptor.digest != b.descriptor.digest:
            paths = [store.blob(layer.descriptor.digest) for layer in (a, b)]
            return f"layer {number + 1} ({step}): {_in_layers(paths[0], paths[1])}"
    for field in ImageConfig._fields:
        if getattr(one.config, field) != getattr(two.config, field):
            return f"the configuration's {field} differs"
    return ""


def _in_layers(one: str, two: str) -> str:
    with open(one, "rb") as first, open(two, "rb") as second:
        a, b = _entries(first.fileno()), _entries(second.fileno())
        for name in sorted(a.keys() | b.keys(), key=os.fsencode):
            if name not in a or name not in b:
                return f"{name}: in the {'first' if name in a else 'second'} build only"
            (entry, start), (other, begin) = a[name], b[name]
            for field in _FIELDS:
                before, after = getattr(entry, field), getattr(other, field)
                if before != after and field != "size":
                    return f"{name}: {field} is {_said(field, before)}, then {_said(field, after)}"
            size = max(entry.size, other.size)
            for offset in range(0, size, _CHUNK):
                here = _read(first.fileno(), start, entry.size, offset)
                there = _read(second.fileno(), begin, other.size, offset)
                if here != there:
                    return f"{name}: {_bytes(here, there, offset)}"
    return "the order of its entries differs"


def _entries(fd: int) -> dict[str, tuple[tar.Entry, int]]:
    """Each entry, and where its content begins."""
    stream = tar.FileStream(fd, "layer")
    found = {}
    for entry in tar.entries(stream, "layer"):
        found[entry.name] = (entry, stream.position)
        stream.skip(entry.size + tar.padding(entry.size))
    return found


def _read(fd: int, start: int, size: int, offset: int) -> bytes:
    return os.pread(fd, max(0, min(_CHUNK, size - offset)), start + offset)


def _bytes(here: bytes, there: bytes, offset: int) -> str:
    both = min(len(here), len(there))
    at = next((n for n in range(both) if here[n] != there[n]), both)
    return (
        f"byte {offset + at + 1} differs: {here[at : at + _SHOWN]!r}, "
        f"then {there[at : at + _SHOWN]!r}"
    )


def _said(field: str, value: object) -> str:
    return f"{value:o}" if field == "mode" and isinstance(value, int) else f"{value}"
