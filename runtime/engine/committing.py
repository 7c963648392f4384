"""A container as an image: its image's layers, and one of what it has written (`commit`)."""

from __future__ import annotations

import hashlib
import json
import os
from time import time_ns

from runtime.engine.containers import Seen
from runtime.engine.logfile import timestamp
from runtime.engine.trees import TarWriter, walk
from runtime.errors import UsageError
from runtime.image.source import described_image, open_image
from runtime.image.whiteouts import OPAQUE, WHITEOUT, is_opaque, is_whiteout
from runtime.oci.digest import DiffID, Digest, digest_of
from runtime.oci.image import (
    CONFIG,
    LAYER,
    MANIFEST,
    Descriptor,
    ExecutionParameters,
    History,
    Manifest,
)
from runtime.oci.json_text import to_text
from runtime.record import Record
from runtime.store.store import write_atomically
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.store.store import Store

_CHUNK = 1 << 20


class Commit(Record):
    """What is asked for."""

    name: str
    message: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()  # instructions, as `changed` takes them


def commit(store: Store, seen: Seen, asked: Commit) -> Digest:
    """Make an image out of a container, and give it a name; the digest of its manifest.

    Volumes and what else is mounted are no part of it. Raises PyrunError.
    """
    record = seen.record
    if record.descriptor is None:
        image = open_image(store, record.image, record.platform)
    else:
        descriptor = Descriptor.from_json(record.descriptor, f"{seen.path}/record.json")
        image = described_image(store, descriptor, record.image, record.platform)
    parameters = changed(image.config.config, asked.changes)
    _take_layers(store, image)
    with Workspace(store) as room:
        layer, size = _layer(f"{seen.path}/upper", f"{room.path}/layer")
        os.rename(f"{room.path}/layer", store.blob(layer))
    created = timestamp(time_ns())
    history = History(
        created=created,
        created_by=" ".join(record.command),
        author=asked.author,
        comment=asked.message,
    )
    config = image.config.replace(
        created=created,
        author=asked.author or image.config.author,
        config=parameters,
        diff_ids=(*image.config.diff_ids, DiffID(layer)),
        history=(*image.config.history, history),
    )
    manifest = Manifest(
        config=_document(store, config.to_json(), CONFIG),
        layers=(
            *image.manifest.layers,
            Descriptor(media_type=LAYER, digest=layer, size=size),
        ),
    )
    made = _document(store, manifest.to_json(), MANIFEST)
    write_atomically(store.image_name(asked.name), to_text(made.to_json()).encode())
    return made.digest


def _document(store: Store, table: dict[str, object], media_type: str) -> Descriptor:
    content = to_text(table).encode()
    digest = digest_of(content)
    write_atomically(store.blob(digest), content)
    return Descriptor(media_type=media_type, digest=digest, size=len(content))


def _take_layers(store: Store, image: Image) -> None:
    """Have in the store what an archive holds."""
    for layer, blob in zip(image.manifest.layers, image.blobs, strict=True):
        place = store.blob(layer.digest)
        if os.path.exists(place):
            continue
        with Workspace(store) as room, open(blob.path, "rb") as source:
            source.seek(blob.offset)
            left = blob.size
            with open(f"{room.path}/layer", "wb") as file:
                while left and (chunk := source.read(min(left, _CHUNK))):
                    file.write(chunk)
                    left -= len(chunk)
            os.rename(f"{room.path}/layer", place)


def _layer(upper: str, place: str) -> tuple[Digest, int]:
    """Write what overlayfs keeps as a layer (image-spec layer.md); its digest and size."""
    top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with open(place, "wb") as file:
        tar = TarWriter(file)
        for found in walk(top):
            name = found.path.removeprefix("./")
            folder, _, last = name.rpartition("/")
            if is_whiteout(found.status):
                tar.add_empty(os.path.join(folder, WHITEOUT + last))
                continue
            tar.add(found, name)
            if found.is_directory and is_opaque(f"/proc/self/fd/{found.folder}/{found.name}"):
                tar.add_empty(f"{name}/{OPAQUE}")
        tar.close()
    os.close(top)
    with open(place, "rb") as file:
        found_digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Digest.parse(f"sha256:{found_digest}", place), os.stat(place).st_size


def changed(parameters: ExecutionParameters, changes: tuple[str, ...]) -> ExecutionParameters:
    """An image's configuration after instructions; raises UsageError.

    These are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR.
    """
    for text in changes:
        word, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if not rest:
            raise UsageError(f"--change {text!r}: an instruction and its value expected")
        match word.upper():
            case "CMD":
                parameters = parameters.replace(cmd=_command(rest))
            case "ENTRYPOINT":
                parameters = parameters.replace(entrypoint=_command(rest))
            case "ENV":
                env = dict(item.split("=", 1) for item in parameters.env if "=" in item)
                env |= dict((_pair(rest, text),))
                items = tuple(f"{name}={value}" for name, value in env.items())
                parameters = parameters.replace(env=items)
            case "LABEL":
                labels = dict(parameters.labels) | dict((_pair(rest, text),))
                parameters = parameters.replace(labels=tuple(labels.items()))
            case "EXPOSE":
                ports = (port if "/" in port else f"{port}/tcp" for port in rest.split())
                parameters = parameters.replace(
                    exposed_ports=tuple(dict.fromkeys((*parameters.exposed_ports, *ports)))
                )
            case "VOLUME":
                paths = _command(rest) if rest.startswith("[") else tuple(rest.split())
                parameters = parameters.replace(
                    volumes=tuple(dict.fromkeys((*parameters.volumes, *paths)))
                )
            case "USER":
                parameters = parameters.replace(user=rest)
            case "WORKDIR":
                parameters = parameters.replace(
                    working_dir=os.path.join(parameters.working_dir or "/", rest)
                )
            case "STOPSIGNAL":
                parameters = parameters.replace(stop_signal=rest)
            case _:
                raise UsageError(f"--change {text!r}: {word} cannot be changed")
    return parameters


def _command(text: str) -> tuple[str, ...]:
    """`["a", "b"]`, or a line for a shell."""
    if not text.startswith("["):
        return ("/bin/sh", "-c", text)
    try:
        words = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--change: {text!r}: {error}") from error
    if not all(isinstance(word, str) for word in words):
        raise UsageError(f"--change: {text!r}: a list of strings expected")
    return tuple(words)


def _pair(text: str, shown: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--change {shown!r}: NAME=VALUE expected")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return name, value
