"""Image-spec types, with the fields in the spec's order and under its names.

One trap of names: specs-go calls the `config` member `ImageConfig` and the whole document `Image`.
Here `ImageConfig` is the document (config.md) and `ExecutionParameters`, in the spec's own words,
its `config` member.
"""

from __future__ import annotations

from runtime.errors import ImageError
from runtime.oci.digest import DiffID, Digest
from runtime.oci.reader import member, optional, parse_json, strings, unambiguous
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
LAYER_ZSTD = LAYER + "+zstd"

# Docker's names for the same documents (image-spec, media-types.md "Compatibility Matrix").
_SAME_AS = {
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar": LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": LAYER_GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": LAYER_ZSTD,
}


def canonical_media_type(media_type: str) -> str:
    """The OCI name of a media type, for one of docker's too."""
    return _SAME_AS.get(media_type, media_type)


def docker_media_type(media_type: str) -> str:
    """Docker's name of a media type; KeyError for what it has none for."""
    names = {oci: docker for docker, oci in _SAME_AS.items() if ".docker." in docker}
    return names[canonical_media_type(media_type)]


class Descriptor(Record):
    """Reference to a blob (descriptor.md)."""

    media_type: str
    digest: Digest
    size: int  # bytes as stored, i.e. compressed
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def is_plain_layer(self) -> bool:
        """Whether it is a layer that is not compressed."""
        return canonical_media_type(self.media_type) == LAYER

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str) -> Descriptor:
        """Check one descriptor; raises ImageError naming `where`."""
        unambiguous(table, where)
        size = member(table, "size", int, where)
        if not 0 <= size < 1 << 62:
            raise ImageError(f"{where}: size is {size}")
        annotations = optional(table, "annotations", dict, where) or {}
        return cls(
            media_type=member(table, "mediaType", str, where),
            digest=Digest.parse(table.get("digest"), where),
            size=size,
            annotations=tuple((str(k), str(v)) for k, v in annotations.items()),
        )

    def to_json(self) -> dict[str, Any]:
        """The descriptor as a JSON object."""
        table: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            table["annotations"] = dict(self.annotations)
        return table


class Manifest(Record):
    """An image manifest (manifest.md)."""

    config: Descriptor
    layers: tuple[Descriptor, ...]  # lowest first

    @classmethod
    def from_json(cls, document: bytes, where: str) -> Manifest:
        """Parse and check a manifest; raises ImageError naming `where`."""
        table = parse_json(document, where)
        unambiguous(table, where)
        if member(table, "schemaVersion", int, where) != 2:
            raise ImageError(f"{where}: schemaVersion is {table['schemaVersion']}, 2 expected")
        layers = member(table, "layers", list, where)
        return cls(
            config=Descriptor.from_json(member(table, "config", dict, where), f"{where}: config"),
            layers=tuple(
                Descriptor.from_json(
                    _object(layer, f"{where}: layers[{i}]"), f"{where}: layers[{i}]"
                )
                for i, layer in enumerate(layers)
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object."""
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }


class ExecutionParameters(Record):
    """The `config` member: how to run the image (config.md "Properties").

    `None` means that the member is absent, which is not the same as empty for what inherits it.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    # Docker's extensions (config.md "Properties" reserves the names); kept as they came.
    healthcheck: tuple[tuple[str, Any], ...] | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str) -> ExecutionParameters:
        """Check the `config` member of an image configuration."""
        unambiguous(table, where)
        healthcheck = optional(table, "Healthcheck", dict, where)
        labels = optional(table, "Labels", dict, where) or {}
        user = optional(table, "User", str, where) or ""
        working_dir = optional(table, "WorkingDir", str, where) or ""
        env = _words(table, "Env", where) or ()
        for text in (user, working_dir):
            _check_word(text, where)
        for item in env:
            if item.startswith("="):
                raise ImageError(f"{where}: Env holds {item!r}, a variable without a name")
        return cls(
            user=user,
            exposed_ports=tuple(optional(table, "ExposedPorts", dict, where) or ()),
            env=env,
            entrypoint=_words(table, "Entrypoint", where),
            cmd=_words(table, "Cmd", where),
            volumes=tuple(optional(table, "Volumes", dict, where) or ()),
            working_dir=working_dir,
            labels=tuple((str(k), str(v)) for k, v in labels.items()),
            stop_signal=optional(table, "StopSignal", str, where) or "",
            healthcheck=None if healthcheck is None else tuple(healthcheck.items()),
            on_build=strings(table, "OnBuild", where) or (),
            shell=strings(table, "Shell", where),
        )

    def to_json(self) -> dict[str, Any]:
        """The member as a JSON object, without what is not set."""
        members: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "Cmd": None if self.cmd is None else list(self.cmd),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": None if self.healthcheck is None else dict(self.healthcheck),
            "OnBuild": list(self.on_build),
            "Shell": None if self.shell is None else list(self.shell),
        }
        explicit = ("Entrypoint", "Cmd")  # [] is a statement there: no command
        return {
            name: value
            for name, value in members.items()
            if value or (name in explicit and value is not None)
        }


class History(Record):
    """What made a layer, or changed only the configuration (config.md "history")."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str) -> History:
        """Check one entry."""
        return cls(
            created=optional(table, "created", str, where) or "",
            created_by=optional(table, "created_by", str, where) or "",
            author=optional(table, "author", str, where) or "",
            comment=optional(table, "comment", str, where) or "",
            empty_layer=optional(table, "empty_layer", bool, where) or False,
        )

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {f: value for f in type(self)._fields if (value := getattr(self, f))}


class ImageConfig(Record):
    """An image configuration document (config.md)."""

    created: str = ""  # RFC 3339
    author: str = ""
    architecture: str
    variant: str = ""
    os: str = "linux"
    config: ExecutionParameters = ExecutionParameters()
    diff_ids: tuple[DiffID, ...] = ()
    history: tuple[History, ...] = ()

    @classmethod
    def from_json(cls, document: bytes, where: str) -> ImageConfig:
        """Parse and check a configuration; raises ImageError naming `where`."""
        table = parse_json(document, where)
        rootfs = member(table, "rootfs", dict, where)
        unambiguous(table, where)
        unambiguous(rootfs, f"{where}: rootfs")
        diff_ids = strings(rootfs, "diff_ids", f"{where}: rootfs") or ()
        config = optional(table, "config", dict, where) or {}
        history = optional(table, "history", list, where) or []
        return cls(
            created=optional(table, "created", str, where) or "",
            author=optional(table, "author", str, where) or "",
            architecture=optional(table, "architecture", str, where) or "",
            variant=optional(table, "variant", str, where) or "",
            os=optional(table, "os", str, where) or "linux",
            config=ExecutionParameters.from_json(config, f"{where}: config"),
            diff_ids=tuple(DiffID(Digest.parse(d, f"{where}: rootfs")) for d in diff_ids),
            history=tuple(
                History.from_json(_object(h, f"{where}: history[{i}]"), f"{where}: history[{i}]")
                for i, h in enumerate(history)
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The document as a JSON object."""
        optional_members = {
            "created": self.created,
            "author": self.author,
            "variant": self.variant,
        }
        return {name: value for name, value in optional_members.items() if value} | {
            "architecture": self.architecture,
            "os": self.os,
            "config": self.config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(d) for d in self.diff_ids]},
            "history": [entry.to_json() for entry in self.history],
        }


def _words(table: Mapping[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    words = strings(table, name, where)
    for word in words or ():
        _check_word(word, f"{where}: {name}")
    return words


def _check_word(text: str, where: str) -> None:
    """Refuse what JSON can say and execve(2) cannot: a NUL, or half of a UTF-16 pair."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ImageError(f"{where}: {text!r} is no text that a process can be given")


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ImageError(f"{where}: is {value!r}, an object expected")
    return value
