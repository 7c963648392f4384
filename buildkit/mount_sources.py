"""What the mounts of a RUN show: made or found the same way with and without namespaces."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from buildkit.cache_mounts import cache_directory
from buildkit.copy_to_directory import DirectoryTarget
from buildkit.copying import Copier
from buildkit.errors import BuildError, LocatedError
from buildkit.ignoring import read_ignore_file
from buildkit.preparation import Prepared, refuse_changes
from buildkit.processes import call_in_child
from buildkit.state import Settings
from buildkit.steps import Base, CopyStep, RunMount, RunStep, Scratch
from grammar.values.mounts import CacheMount, SecretMount, SshMount
from runtime.sandbox.rootpath import open_in_root
from runtime.store.store import Store


def copy_context(
    step: RunStep, paths: tuple[str, ...], settings: Settings, prepared: Prepared, place: str
) -> str:
    """Copy what a bind mount shows of the context, as COPY would; the path of the copy."""
    visible = read_ignore_file(settings.ignore_file)

    def copy() -> None:
        target, epoch = DirectoryTarget(place), prepared.epoch
        copier = Copier(_copy_step(step, None), target, epoch=epoch, visible=visible)
        copier.copy(settings.context, paths)
        refuse_changes(prepared, copier.newest_change, settings)

    call_in_child(copy)
    return f"{place}/files"


def copy_tree(step: RunStep, root: str, source: str, place: str) -> None:
    """Copy from a root filesystem to `place`/files, owners and times too; in a child.

    A directory is itself like the one that it is copied from, which COPY's destination is not.
    """
    copier = Copier(_copy_step(step, Scratch()), DirectoryTarget(place), epoch=0)
    try:
        copier.copy(root, (source,))
    except FileNotFoundError:
        raise missing(source) from None
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fd = open_in_root(root_fd, source)
    status, copied = os.fstat(fd), f"{place}/files"
    os.close(fd)
    os.close(root_fd)
    if stat.S_ISDIR(status.st_mode):
        os.chown(copied, status.st_uid, status.st_gid)
        os.chmod(copied, stat.S_IMODE(status.st_mode))
        os.utime(copied, ns=(status.st_mtime_ns, status.st_mtime_ns))


def missing(source: str) -> BuildError:
    """The error for a `source` that is not in what `from` names."""
    return BuildError(f"{source}: not found in what from names")


def _copy_step(step: RunStep, origin: Base | None) -> CopyStep:
    return CopyStep(
        about=step.about,
        sources=(),
        inline=(),
        origin=origin,
        destination="/files",
        chown="",
        chmod=None,
        unpacks=False,
    )


@contextmanager
def cache_source(
    store: Store,
    mount: CacheMount,
    parent: str,
    fill: Callable[[str], None] | None,
    *,
    exclusive: bool = False,
) -> Iterator[str]:
    """The directory of a cache; a new one is what `fill` puts at a path, or empty.

    `parent` identifies the filesystem that it is filled from.
    """

    def make(path: str) -> None:
        if fill is not None:
            fill(path)
            return
        os.mkdir(path, 0o700)
        _own(path, mount)

    identity = {"id": mount.id}
    if fill is not None:
        identity |= {"from": parent, "source": mount.source}
    sharing = "locked" if exclusive and mount.sharing == "shared" else mount.sharing
    with cache_directory(store, identity, sharing, make) as path:
        yield path if fill is not None else _inside(path, mount.source)


def _inside(path: str, source: str) -> str:
    """A directory of a cache, which no link leads out of; made if it is missing."""
    if source == "/":
        return path
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fd = open_in_root(top, source, os.O_PATH | os.O_DIRECTORY, follow=False)
        except FileNotFoundError:
            os.makedirs(f"{path}{source}")
            fd = open_in_root(top, source, os.O_PATH | os.O_DIRECTORY, follow=False)
        except OSError as error:
            raise BuildError(f"source={source} of the cache: {error.strerror}") from error
        real = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return real
    finally:
        os.close(top)


def find_secret(mounted: RunMount, mount: SecretMount, settings: Settings) -> bytes | None:
    """A secret, or None if it was not given; raises LocatedError if it must be."""
    found = settings.supplies.secrets.get(mount.id)
    if found is None and mount.required:
        error = BuildError(
            f"the secret {mount.id!r} is required",
            hint=f"pybuild --secret id={mount.id},src=FILE (or env=VARIABLE)",
        )
        raise LocatedError(error, mounted.span)
    return found


def write_secret(path: str, content: bytes, mount: SecretMount) -> None:
    """Write the file of a secret."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(fd, "wb") as file:
        file.write(content)
    _own(path, mount)


@contextmanager
def ssh_source(
    mounted: RunMount, mount: SshMount, settings: Settings, path: str
) -> Iterator[bool]:
    """Listen at a path for an agent; False if none was given. Raises LocatedError."""
    agent = settings.supplies.agents.get(mount.id)
    if agent is None:
        if mount.required:
            error = BuildError(
                f"the SSH agent {mount.id!r} is required", hint=f"pybuild --ssh {mount.id}"
            )
            raise LocatedError(error, mounted.span)
        yield False
        return
    from buildkit.ssh_agent import agent_socket

    with ExitStack() as stack:
        try:
            owned = agent_socket(agent, path, mode=mount.mode, uid=mount.uid, gid=mount.gid)
            stack.enter_context(owned)
        except OSError as error:
            raise BuildError(f"{mount.target}: {error.strerror}") from error
        yield True  # what the step itself raises is not about the agent


def _own(path: str, mount: CacheMount | SecretMount) -> None:
    try:
        os.chown(path, mount.uid, mount.gid)
    except OSError as error:
        raise BuildError(
            f"{mount.target}: {mount.uid}:{mount.gid} cannot own it: {error.strerror}",
            hint="without subordinate ids there is one user alone: root",
        ) from error
    os.chmod(path, mount.mode)
