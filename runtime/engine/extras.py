"""What `pyrun run` and `create` put into a container beside what `pyrun IMAGE` can."""

from __future__ import annotations

import os

from runtime.cgroup.devices import DEFAULT_RULES
from runtime.engine.mount_words import (
    ImageUse,
    VolumeUse,
    destination_of,
    parse_mount,
    parse_tmpfs,
    parse_volume,
)
from runtime.errors import UsageError
from runtime.oci.resources import DeviceRule, Resources
from runtime.oci.spec import Device, Mount
from runtime.record import Record
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.oci.spec import Spec
    from runtime.store.store import Store


class Extras(Record):
    """The mounts and devices of a command line."""

    mounts: tuple[Mount, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()
    images: tuple[ImageUse, ...] = ()
    devices: tuple[Device, ...] = ()
    device_rules: tuple[DeviceRule, ...] = ()
    shm_bytes: int = 0  # 0: the default

    @property
    def destinations(self) -> frozenset[str]:
        """Where something is mounted."""
        return frozenset(
            [
                *(mount.destination for mount in self.mounts),
                *(use.destination for use in self.volumes),
                *(use.destination for use in self.images),
            ]
        )


def take_extras(fields: dict[str, Any]) -> Extras:
    """Take them out of parsed fields; raises UsageError."""
    wanted = [
        *map(parse_volume, fields.pop("volumes", ())),
        *map(parse_mount, fields.pop("mounts", ())),
        *map(parse_tmpfs, fields.pop("tmpfs", ())),
    ]
    seen = set()
    for item in wanted:
        if item.destination in seen:
            raise UsageError(f"two mounts at {item.destination}")
        seen.add(item.destination)
    devices = tuple(map(_device, fields.pop("devices", ())))
    return Extras(
        mounts=tuple(item for item in wanted if isinstance(item, Mount)),
        volumes=tuple(item for item in wanted if isinstance(item, VolumeUse)),
        images=tuple(item for item in wanted if isinstance(item, ImageUse)),
        devices=tuple(device for device, _ in devices),
        device_rules=tuple(rule for _, rule in devices),
        shm_bytes=_shm_bytes(fields.pop("shm_size", "")),
    )


def _shm_bytes(text: str) -> int:
    if not text:
        return 0
    from runtime.limits import size

    found = size(text, "--shm-size")
    if found < 1:
        raise UsageError(f"--shm-size {text!r}: at least one byte")
    return found


def _device(text: str) -> tuple[Device, DeviceRule]:
    where = f"--device {text!r}"
    parts = text.split(":")
    access = "rwm"
    if len(parts) > 1 and not parts[-1].startswith("/"):
        access = parts.pop()
    if len(parts) > 2 or not parts[0].startswith("/") or not access or set(access) - set("rwm"):
        raise UsageError(f"{where}: PATH[:DEST[:rwm]] expected")
    destination = destination_of(parts[-1], where)
    try:
        status = os.stat(parts[0])
    except OSError as error:
        raise UsageError(f"{where}: {parts[0]}: {error.strerror}") from error
    kind = {0o020000: "c", 0o060000: "b"}.get(status.st_mode & 0o170000)
    if kind is None:
        raise UsageError(f"{where}: {parts[0]} is no device")
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    device = Device(
        path=destination,
        type=kind,
        major=major,
        minor=minor,
        file_mode=status.st_mode & 0o777,
        uid=status.st_uid,
        gid=status.st_gid,
    )
    return device, DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)


def with_extras(store: Store, spec: Spec, extras: Extras) -> Spec:
    """A container's configuration with these, but for its volumes; raises PyrunError."""
    mounts = extras.mounts
    if extras.images:
        from runtime.engine.image_mounts import image_mount

        mounts += tuple(image_mount(store, use) for use in extras.images)
    if extras.shm_bytes:
        spec = spec.replace(
            mounts=tuple(
                _sized(mount, extras.shm_bytes) if mount.destination == "/dev/shm" else mount
                for mount in spec.mounts
            )
        )
    if extras.devices:
        spec = spec.replace(devices=extras.devices)
    if extras.device_rules and not in_user_namespace():
        resources = spec.resources or Resources()
        rules = (*DEFAULT_RULES, *extras.device_rules)
        spec = spec.replace(resources=resources.replace(devices=rules))
    return add_mounts(spec, mounts)


def _sized(mount: Mount, size: int) -> Mount:
    options = tuple(word for word in mount.options if not word.startswith("size="))
    return mount.replace(options=(*options, f"size={size}"))


def add_mounts(spec: Spec, mounts: tuple[Mount, ...]) -> Spec:
    """More mounts, in place of those at the same destinations; deeper ones come last."""
    if not mounts:
        return spec
    places = {mount.destination for mount in mounts}
    kept = tuple(mount for mount in spec.mounts if mount.destination not in places)
    ours = sorted(mounts, key=lambda mount: mount.destination.count("/"))
    return spec.replace(mounts=kept + tuple(ours))
