"""From what was asked for to a container: made once, started as often as somebody wants."""

from __future__ import annotations

import os
from contextlib import nullcontext
from time import time_ns

from runtime.bundle import asks_for_limits, entry_of, to_spec
from runtime.cgroup.unasked import PIDS_LIMIT
from runtime.engine.containers import folder, free_name, take_name
from runtime.engine.events import note
from runtime.engine.extras import add_mounts, with_extras
from runtime.engine.image_facts import image_facts
from runtime.engine.logfile import timestamp
from runtime.engine.names import made_up_name
from runtime.engine.record import ContainerRecord, write_file
from runtime.errors import ContainerError
from runtime.oci.packed import pack, unpack
from runtime.sandbox.rootfs import Overlay
from runtime.sandbox.userns import in_user_namespace
from runtime.store.known import AUTO, are_there, know, pack_lowers, unpack_lowers
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from runtime.engine.mount_words import VolumeUse
    from runtime.engine.run_line import RunLine
    from runtime.erofs.lower import Index
    from runtime.oci.spec import Spec
    from runtime.store.known import KnownImage
    from runtime.store.store import Store

_SPEC, _LOWERS = "spec", "lowers"
_TRIES = 8


def make_container(store: Store, line: RunLine) -> tuple[str, ContainerRecord]:
    """Make a container that does not run yet; its directory, and its record.

    Raises PyrunError; nothing is left behind then.
    """
    identity = os.urandom(32).hex()
    image = know(store, line.image, line.platform, rootfs=line.rootfs, verify=line.verify)
    is_archive = os.path.exists(line.image)
    facts = image_facts(
        store,
        line.image,
        line.platform,
        archive=is_archive,
        healthcheck=line.health is not None,
    )
    spec = to_spec(image, line.options.replace(hostname=line.options.hostname or identity[:12]))
    spec = with_extras(store, _limited(spec, line), line.extras)
    uses = line.extras.volumes
    record = ContainerRecord(
        id=identity,
        name=line.name,
        image=os.path.abspath(line.image) if is_archive else line.image,
        platform=line.platform,
        descriptor=facts["descriptor"],
        created=timestamp(time_ns()),
        command=spec.process.args,
        entrypoint=_entrypoint(line, image),
        labels=line.labels,
        auto_remove=line.auto_remove,
        interactive=line.options.interactive,
        terminal=line.options.terminal,
        init=line.options.init,
        stop_signal=line.stop_signal,
        stop_timeout_s=line.stop_timeout_s,
        log_size=line.log_size,
        log_files=line.log_files,
        seccomp=line.options.seccomp,
        landlock=line.options.landlock,
        asked_pids=bool(line.options.pids_limit),
        health=_health(line, facts["healthcheck"]),
        secrets=_secrets(store, line),
    )
    record = _named(store, record)
    try:
        with _volumes_locked(store) if uses else nullcontext(), Workspace(store) as room:
            aside = f"{room.path}/container"
            os.mkdir(aside, 0o700)
            if uses:
                spec = _with_volumes(store, aside, spec, uses, image)
            _fill_directory(aside, record, spec, image)
            os.rename(aside, f"{folder(store)}/{identity}")
    except BaseException:
        free_name(store, record.name, identity)
        raise
    note(store, "create", record)
    return f"{folder(store)}/{identity}", record


def start_container(
    store: Store, path: str, record: ContainerRecord, client: socket.socket | None = None
) -> None:
    """Start a container; `client` is attached from the beginning. Raises PyrunError."""
    from runtime.engine.monitor import begin
    from runtime.engine.setting_up import Job

    spec = spec_of(path)
    lowers = present_lowers(store, path, record)
    begin(
        Job(
            store=store,
            path=path,
            record=record,
            spec=spec,
            rootfs=Overlay(lowers=lowers, upper=f"{path}/upper", work=f"{path}/work"),
            entry=_entry(spec, record, store),
        ),
        client,
    )


def spec_of(path: str) -> Spec:
    """The configuration of a container's directory; raises ContainerError."""
    try:
        with open(f"{path}/{_SPEC}", "rb") as file:
            spec: Spec = unpack(file.read())[0]
    except (OSError, ValueError) as error:
        raise ContainerError(
            f"{path}/{_SPEC}: cannot be read ({error})",
            hint="it may be of another version; `pyrun rm` removes the container",
        ) from error
    return spec


def write_spec(path: str, spec: Spec) -> None:
    """Change the configuration that the next start has."""
    aside = f"{path}/.{_SPEC}.{os.getpid()}"
    with open(aside, "wb") as file:
        file.write(pack((spec,)))
    os.rename(aside, f"{path}/{_SPEC}")


def lowers_of(path: str) -> tuple[str | Index, ...]:
    """The layers that a container was made with; raises ContainerError."""
    try:
        with open(f"{path}/{_LOWERS}", "rb") as file:
            return unpack_lowers(file.read())
    except (OSError, ValueError) as error:
        raise ContainerError(f"{path}/{_LOWERS}: cannot be read ({error})") from error


def present_lowers(store: Store, path: str, record: ContainerRecord) -> tuple[str | Index, ...]:
    """The layers of a container: those that it was made with, whatever has their name by now."""
    lowers = lowers_of(path)
    if are_there(lowers):
        return lowers
    if record.descriptor is None:
        again = know(store, record.image, record.platform).lowers
    else:
        from runtime.image.source import described_image
        from runtime.oci.image import Descriptor
        from runtime.store.preparation import prepare

        descriptor = Descriptor.from_json(record.descriptor, f"{path}/record.json")
        image = described_image(store, descriptor, record.image, record.platform)
        again = prepare(store, image, rootfs=AUTO, verify=AUTO)
    if pack_lowers(again) != pack_lowers(lowers):
        raise ContainerError(
            f"container {record.name}: {record.image} is another image by now",
            hint="what the container has written belongs to the old one",
        )
    return again


def _entry(spec: Spec, record: ContainerRecord, store: Store):  # type: ignore[no-untyped-def]
    from runtime.bundle import Options

    options = Options(seccomp=record.seccomp, landlock=record.landlock, init=record.init)
    return entry_of(spec, options, store.root)


def _limited(spec: Spec, line: RunLine) -> Spec:
    """With the limits that were asked for and, as root, those that every container has."""
    from runtime.oci.resources import Resources

    wanted = Resources()
    if asks_for_limits(line.options):
        from runtime.limits import asked_resources

        wanted = asked_resources(line.options)
    if not in_user_namespace():
        # Who may make device nodes, or mount /dev's filesystem anew, has the host's disk.
        if spec.process.capabilities.bounding & {"MKNOD", "SYS_ADMIN"}:
            from runtime.cgroup.devices import DEFAULT_RULES

            wanted = wanted.replace(devices=DEFAULT_RULES)
        if wanted.pids_limit is None and _can_limit_processes():
            wanted = wanted.replace(pids_limit=PIDS_LIMIT)
    return spec if wanted == Resources() else spec.replace(resources=wanted)


def _can_limit_processes() -> bool:
    from runtime.cgroup.layout import find_layout

    hierarchy = find_layout().hierarchy_of("pids")
    return hierarchy is not None and hierarchy.own is not None and hierarchy.writable


def _entrypoint(line: RunLine, image: KnownImage) -> tuple[str, ...]:
    asked = line.options.entrypoint
    return asked if asked is not None else tuple(image.entrypoint or ())


def _health(line: RunLine, image: Mapping[str, object] | None) -> dict[str, object] | None:
    """What it is asked whether it is well."""
    if line.health is None or not (image or line.health):
        return None
    from runtime.engine.health import combined

    return combined(image or {}, line.health)


def _secrets(store: Store, line: RunLine) -> tuple[dict[str, object], ...]:
    """References to secrets that are there; raises ContainerError."""
    if not line.secrets:
        return ()
    from runtime.engine.secrets import find_secret

    return tuple(
        use.replace(name=find_secret(store, use.name).name).to_json() for use in line.secrets
    )


def _named(store: Store, record: ContainerRecord) -> ContainerRecord:
    os.makedirs(folder(store), mode=0o700, exist_ok=True)
    if record.name:
        take_name(store, record.name, record.id)
        return record
    for _ in range(_TRIES):
        name = made_up_name(os.urandom(4))
        try:
            take_name(store, name, record.id)
            return record.replace(name=name)
        except ContainerError:
            continue
    take_name(store, record.id[:12], record.id)
    return record.replace(name=record.id[:12])


def _volumes_locked(store: Store) -> AbstractContextManager[None]:
    from runtime.engine.volumes import locked

    return locked(store)


def _with_volumes(
    store: Store, path: str, spec: Spec, uses: tuple[VolumeUse, ...], image: KnownImage
) -> Spec:
    from runtime.engine.volumes import take_into_use

    return add_mounts(spec, take_into_use(store, path, uses, image))


def _fill_directory(path: str, record: ContainerRecord, spec: Spec, image: KnownImage) -> None:
    os.mkdir(f"{path}/work", 0o700)
    os.mkdir(f"{path}/upper", 0o755)
    if image.lowers and isinstance(image.lowers[0], str):
        # The root directory of an overlay is the upper one: it must look as the image's does.
        status = os.stat(image.lowers[0])
        os.chown(f"{path}/upper", status.st_uid, status.st_gid)
        os.chmod(f"{path}/upper", status.st_mode & 0o7777)
    with open(f"{path}/{_LOWERS}", "wb") as file:
        file.write(pack_lowers(image.lowers))
    with open(f"{path}/{_SPEC}", "wb") as file:
        file.write(pack((spec,)))
    write_file(path, "record.json", record.to_json())
