"""What the command line makes of a built image before it is written: squashed, labelled, dated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.cache import Layer, Result, cache_key, look_up, record
from buildkit.compressing import Compression
from buildkit.merging import LayerTree, merge_layers
from buildkit.outcomes import Built
from buildkit.tarwriter import write_file
from runtime.image.blob import BlobRange, LayerReader
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, Descriptor
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

NEW, ALL = "new", "all"
_CHUNK = 1 << 20


class Shape(Record):
    """What is asked of an image as a whole."""

    docker: bool = False  # media types of docker, not of OCI
    squash: str = ""  # NEW: what was built becomes one layer; ALL: the base too
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()  # of the manifest
    compression: Compression = Compression()
    members: tuple[tuple[str, object], ...] = ()  # further ones of the configuration


def shaped(store: Store, built: Built, shape: Shape) -> Built:
    """Squash and label; raises BuildError, OSError."""
    config, layers = built.config, built.layers
    labels = dict(config.config.labels) | dict(shape.labels)
    config = config.replace(config=config.config.replace(labels=tuple(labels.items())))
    keep = built.inherited if shape.squash == NEW else 0
    if not shape.squash or len(layers) - keep < 2:
        return built.replace(config=config)
    one = squashed(store, layers[keep:], onto_base=keep > 0)
    layers = (*layers[:keep], one)
    history = list(config.history)
    made = [n for n, entry in enumerate(history) if not entry.empty_layer][keep:]
    for number in made[:-1]:
        history[number] = history[number].replace(empty_layer=True)
    diff_ids = tuple(layer.diff_id for layer in layers)
    config = config.replace(diff_ids=diff_ids, history=tuple(history))
    return built.replace(config=config, layers=layers)


def squashed(store: Store, layers: tuple[Layer, ...], *, onto_base: bool) -> Layer:
    """One layer instead of several, kept in the store."""
    parts = {"kind": "squash", "layers": [str(la.diff_id) for la in layers], "base": onto_base}
    key = cache_key(parts)
    found = look_up(store, key)
    if found is not None and found.layer is not None:
        return found.layer
    with Workspace(store) as work, layer_tree(store, work, layers, onto_base=onto_base) as tree:
        written: list[tuple[str, int]] = []
        path = f"{work.path}/squashed"
        write_file(path, lambda fd: written.append(tree.write(fd)))
        [(digest, size)] = written
        os.rename(path, store.blob(Digest.parse(digest)))
    descriptor = Descriptor(media_type=LAYER, digest=Digest.parse(digest), size=size)
    layer = Layer(descriptor=descriptor, diff_id=DiffID(descriptor.digest))
    record(store, key, parts, Result(layer=layer, epoch=0))
    return layer


@contextmanager
def layer_tree(
    store: Store, work: Workspace, layers: tuple[Layer, ...], *, onto_base: bool = False
) -> Iterator[LayerTree]:
    """Layers of the store as one tree; what is compressed is unpacked for the time."""
    directory = work.directory("layers")
    tars = [
        (_plain(store, layer, f"{directory}/{number}"), f"layer {layer.descriptor.digest}")
        for number, layer in enumerate(layers)
    ]
    yield merge_layers(tars, onto_base=onto_base)


def _plain(store: Store, layer: Layer, path: str) -> str:
    """The path of the layer's uncompressed tar: its blob, or a new file at `path`."""
    descriptor = layer.descriptor
    blob = store.blob(descriptor.digest)
    if descriptor.is_plain_layer:
        return blob
    where = f"layer {descriptor.digest}"
    whole = BlobRange(path=blob, offset=0, size=descriptor.size)
    with LayerReader(whole, descriptor, layer.diff_id, where) as source, open(path, "xb") as made:
        while piece := source.read(_CHUNK):
            made.write(piece)
        source.finish()
    return path
