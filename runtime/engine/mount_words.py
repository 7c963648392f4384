"""`--mount`, `--tmpfs`, `-v` and `mount -o`: mounts as docker's and podman's users write them."""

from __future__ import annotations

import os

from runtime.errors import UsageError
from runtime.oci.spec import IDMapping, Mount
from runtime.record import Record

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_OTHERS = _FIRST | frozenset("_.-")
_PLAIN = frozenset(
    "ro rw nosuid suid nodev dev noexec exec noatime nodiratime relatime nosymfollow".split()
)
_TMPFS_SAFE = ("nosuid", "nodev")


class VolumeUse(Record):
    """A volume of the store in a container."""

    name: str  # empty: one without a name, made for this container
    destination: str
    options: tuple[str, ...] = ()
    copy: bool = True  # what the image has there goes into an empty one


class ImageUse(Record):
    """An image of the store in a container, read-only."""

    image: str
    destination: str


Wanted = Mount | VolumeUse | ImageUse


def is_volume_name(text: str) -> bool:
    """Whether a text can be the name of a volume, and is no path."""
    return len(text) <= 128 and text[:1] in _FIRST and _OTHERS.issuperset(text)


def destination_of(text: str, where: str) -> str:
    """A place in a container, absolute and without `..`; raises UsageError."""
    if not text.startswith("/"):
        raise UsageError(f"{where}: {text!r}: the destination must be an absolute path")
    if ".." in text.split("/"):
        raise UsageError(f"{where}: {text!r}: the destination may lead outside")
    path = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if path == "/":
        raise UsageError(f"{where}: the destination is the root itself")
    return path


def source_of(text: str, where: str) -> str:
    """A file or directory of the host, which must be there; raises UsageError."""
    if not text:
        raise UsageError(f"{where}: a source is missing")
    path = os.path.abspath(text)
    if not os.path.exists(path):
        raise UsageError(
            f"{where}: {path} does not exist", hint="make it first; pyrun does not guess"
        )
    return path


def bind(source: str, destination: str, words: tuple[str, ...], where: str) -> Mount:
    """A bind with what `-o` or the third part of `-v` says; raises UsageError."""
    options = ["rbind"]
    users: tuple[IDMapping, ...] = ()
    groups: tuple[IDMapping, ...] = ()
    for word in words:
        key, equals, value = word.partition("=")
        if word == "rw":
            continue  # as it is on the host
        if word in _PLAIN:
            # Also what is mounted below: a writable corner in it would be no read-only mount.
            options.append(f"r{word}")
        elif key == "idmap" and equals:
            users, groups = _maps(value, where)
            options.append("idmap")
        else:
            raise UsageError(
                f"{where}: {word!r} is no option",
                hint=f"{', '.join(sorted(_PLAIN))}, idmap=uids=FILE-HERE-N#gids=FILE-HERE-N",
            )
    return Mount(
        destination=destination,
        type="bind",
        source=source,
        options=tuple(options),
        uid_mappings=users,
        gid_mappings=groups,
    )


def _maps(text: str, where: str) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    found: dict[str, tuple[IDMapping, ...]] = {}
    for part in text.split("#"):
        kind, _, numbers = part.partition("=")
        fields = numbers.split("-")
        if kind not in ("uids", "gids") or len(fields) != 3 or not all(map(str.isdigit, fields)):
            raise UsageError(
                f"{where}: {text!r}: uids=FILE-HERE-N#gids=FILE-HERE-N expected, N ids from FILE "
                "on the disk seen as from HERE"
            )
        first, here, size = map(int, fields)
        found[kind] = (IDMapping(container_id=first, host_id=here, size=size),)
    if len(found) != 2:
        raise UsageError(f"{where}: {text!r}: uids and gids are both needed")
    return found["uids"], found["gids"]


def parse_volume(text: str) -> Wanted:
    """`-v SOURCE:DEST[:OPTIONS]`, `NAME:DEST[:OPTIONS]` or `DEST`; raises UsageError."""
    where = f"-v {text!r}"
    parts = text.split(":")
    if len(parts) == 1 and text.startswith("/"):
        return VolumeUse(name="", destination=destination_of(text, where))
    if len(parts) not in (2, 3) or not parts[0]:
        raise UsageError(f"{where}: SOURCE:DESTINATION[:OPTIONS] expected")
    destination = destination_of(parts[1], where)
    words = tuple(parts[2].split(",")) if len(parts) == 3 else ()
    if is_volume_name(parts[0]):
        copy = "nocopy" not in words
        words = tuple(word for word in words if word != "nocopy")
        made = bind("/", destination, words, where)
        return VolumeUse(name=parts[0], destination=destination, options=made.options, copy=copy)
    return bind(source_of(parts[0], where), destination, words, where)


def parse_mount(text: str) -> Wanted:
    """`--mount type=bind|volume|tmpfs|image,KEY=VALUE,...`; raises UsageError."""
    where = f"--mount {text!r}"
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        fields[_KEYS.get(key, key)] = value if equals else "true"
    kind = fields.pop("type", "volume")
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise UsageError(f"{where}: type is bind, volume, tmpfs or image")
    destination = destination_of(fields.pop("destination", ""), where)
    source = fields.pop("source", "")
    words = _read_only(fields, where)
    made: Wanted
    if kind == "tmpfs":
        words += tuple(
            f"{name}={fields.pop(key)}"
            for key, name in (("tmpfs-size", "size"), ("tmpfs-mode", "mode"))
            if key in fields
        )
        made = _tmpfs(destination, words, where)
    elif kind == "bind":
        if "idmap" in fields:
            words += (f"idmap={fields.pop('idmap')}",)
        made = bind(source_of(source, where), destination, words, where)
    elif kind == "image":
        if not source:
            raise UsageError(f"{where}: a source is missing")
        made = ImageUse(image=source, destination=destination)
    else:
        if source and not is_volume_name(source):
            raise UsageError(f"{where}: {source!r} is no name of a volume")
        copy = fields.pop("volume-nocopy", "false") == "false"
        options = bind("/", destination, words, where).options
        made = VolumeUse(name=source, destination=destination, options=options, copy=copy)
    if fields:
        raise UsageError(f"{where}: {next(iter(fields))!r} means nothing for type={kind}")
    return made


_KEYS = {
    "src": "source",
    "dst": "destination",
    "target": "destination",
    "ro": "readonly",
}


def _read_only(fields: dict[str, str], where: str) -> tuple[str, ...]:
    value = fields.pop("readonly", "false")
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"{where}: readonly is true or false")
    return ("ro",) if value in ("true", "1") else ()


def parse_tmpfs(text: str) -> Mount:
    """`--tmpfs DEST[:OPTIONS]`; raises UsageError."""
    where = f"--tmpfs {text!r}"
    path, _, words = text.partition(":")
    return _tmpfs(destination_of(path, where), tuple(words.split(",")) if words else (), where)


def _tmpfs(destination: str, words: tuple[str, ...], where: str) -> Mount:
    options = list(_TMPFS_SAFE)
    for word in words:
        key, _, value = word.partition("=")
        if key == "size":
            from runtime.limits import size

            options.append(f"size={size(value, where)}")
        elif word in _PLAIN or key in ("mode", "uid", "gid", "nr_inodes"):
            options.append(word)
        else:
            raise UsageError(f"{where}: {word!r} is no option of a tmpfs")
    if not any(word.startswith("mode=") for word in options):
        options.append("mode=1777")
    return Mount(destination=destination, type="tmpfs", source="tmpfs", options=tuple(options))
