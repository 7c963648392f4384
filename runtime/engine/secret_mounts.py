"""Secrets in a container: files of a tmpfs that only it has, and variables.

The tmpfs is mounted in a mount namespace of the monitor's, filled, bound into the container, and
unmounted there again: what the secrets say is on no disk and in no configuration that is kept.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from runtime.engine.extras import add_mounts
from runtime.engine.secret_words import ENV, FOLDER, SecretUse
from runtime.engine.secrets import content_of
from runtime.errors import ContainerError
from runtime.oci.spec import Mount
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.engine.record import ContainerRecord
    from runtime.oci.spec import Process, Spec
    from runtime.store.store import Store

_OPTIONS = ("rbind", "ro", "nosuid", "nodev", "noexec")


def with_variables(store: Store, record: ContainerRecord, process: Process) -> Process:
    """A process with the secrets that are variables; raises ContainerError."""
    env = {item.partition("=")[0]: item for item in process.env}
    for use in map(SecretUse.from_json, record.secrets):
        if use.type == ENV:
            value = os.fsdecode(content_of(store, use.name))
            if "\0" in value:
                raise ContainerError(f"secret {use.name!r}: a variable cannot hold a NUL")
            env[use.target] = f"{use.target}={value}"
    return process.replace(env=tuple(env.values()))


@contextmanager
def with_secrets(store: Store, path: str, record: ContainerRecord, spec: Spec) -> Iterator[Spec]:
    """A configuration to start a container with meanwhile; the caller's mounts become private.

    Raises ContainerError.
    """
    uses = [use for use in map(SecretUse.from_json, record.secrets) if use.type != ENV]
    spec = spec.replace(process=with_variables(store, record, spec.process))
    if not uses:
        yield spec
        return
    place = f"{path}/secrets"
    os.makedirs(place, exist_ok=True)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
    syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_NODEV, "mode=0755")
    try:
        yield add_mounts(spec, _filled(store, place, uses))
    finally:
        syscalls.umount2(place, syscalls.MNT_DETACH)
        os.rmdir(place)


def _filled(store: Store, place: str, uses: list[SecretUse]) -> tuple[Mount, ...]:
    """Write the files; the mounts of them."""
    mounts = []
    for folder in ("common", "others"):
        os.mkdir(f"{place}/{folder}")
        os.chmod(f"{place}/{folder}", 0o755)
    for number, use in enumerate(uses):
        is_common = use.target.startswith(f"{FOLDER}/")
        inside = use.target.removeprefix(f"{FOLDER}/")
        file = f"{place}/common/{inside}" if is_common else f"{place}/others/{number}"
        _write(file, content_of(store, use.name), use)
        if not is_common:
            mounts.append(_bind(file, use.target))
    if os.listdir(f"{place}/common"):
        mounts.append(_bind(f"{place}/common", FOLDER))
    return tuple(mounts)


def _bind(source: str, destination: str) -> Mount:
    return Mount(destination=destination, type="bind", source=source, options=_OPTIONS)


def _write(path: str, content: bytes, use: SecretUse) -> None:
    umask = os.umask(0o022)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(content)
            os.fchown(file.fileno(), use.uid, use.gid)
            os.fchmod(file.fileno(), use.mode)
    except OSError as error:
        hint = None
        if error.errno == 22:  # EINVAL: not in our user namespace
            hint = "without root there are only the ids that /etc/subuid and /etc/subgid give"
        raise ContainerError(
            f"secret {use.name!r} at {use.target}: {error.strerror}", hint=hint
        ) from error
    finally:
        os.umask(umask)
