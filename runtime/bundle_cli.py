"""`pyrun bundle IMAGE DIR`: an image as an OCI bundle: rootfs and config.json.

With its files, for any runtime; or without them, for ours, which mounts the image.
"""

from __future__ import annotations

import os

from runtime.errors import StoreError, UsageError

# Of the runtime-spec: no image asks for anything newer, and older runtimes refuse a newer one.
_OLDEST = "1.0.2"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.command_line import CommandLine
    from runtime.oci.spec import Spec
    from runtime.sandbox.rootfs import Overlay
    from runtime.store.store import Store


def main(arguments: list[str]) -> int:
    """Write a bundle; returns the exit status."""
    from runtime.command_line import BUNDLE_HELP, CommandLine

    line = CommandLine(arguments)
    if line.help:
        os.write(1, BUNDLE_HELP.encode())
        return 0
    command = line.options.command
    if line.rootfs == "tmpfs":
        raise UsageError("bundle: --rootfs=tmpfs: what is in memory ends with pyrun")
    if not command:
        raise UsageError("bundle: IMAGE and DIR expected", hint="pyrun bundle --help")
    target = command[0]
    _write(line, target, command[1:])
    return 0


def _write(line: CommandLine, target: str, command: tuple[str, ...]) -> None:
    from runtime.bundle import to_spec
    from runtime.sandbox.child import call_in_child
    from runtime.sandbox.rootfs import Overlay
    from runtime.sandbox.userns import become_root
    from runtime.store.known import INPLACE, know
    from runtime.store.store import Store, default_root
    from runtime.store.workspace import remove_tree

    root = line.root or default_root()
    target = os.path.abspath(target)
    become_root()
    store = Store(root)
    if os.path.lexists(target):
        raise UsageError(f"{target}: exists already; nothing of it is replaced")
    image = know(store, line.image, line.platform, rootfs=line.rootfs, verify=line.verify)
    spec = to_spec(image, line.options.replace(command=command))
    in_place = line.rootfs == INPLACE
    if in_place:
        spec = spec.replace(annotations=(*spec.annotations, *_annotations(line, store)))
    parent, name = os.path.split(target)
    unfinished = f"{parent}/.{name}.unfinished"
    try:
        claim = _claim(unfinished)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    try:
        os.mkdir(f"{unfinished}/rootfs")
        overlay = Overlay(lowers=image.lowers)
        spec = _with_filter(_with_user_namespace(spec), line.options.seccomp)
        call_in_child(lambda: _fill(unfinished, spec, overlay, store.scratch, files=not in_place))
        os.rename(unfinished, target)
    except BaseException:
        remove_tree(unfinished)
        raise
    finally:
        os.close(claim)


def _claim(path: str) -> int:
    """Make an empty directory and lock it; one that a killed process left is emptied.

    Raises OSError, and StoreError if another process is at work there.
    """
    import fcntl

    from runtime.store.workspace import remove_tree

    while True:
        try:
            os.mkdir(path)
        except FileExistsError:
            pass
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner has just finished it
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StoreError(f"{path}: another pyrun is at work there") from None
        try:
            # By that name still, or else its owner gave it the final one before we had the lock.
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                for name in os.listdir(fd):
                    try:
                        os.unlink(name, dir_fd=fd)
                    except IsADirectoryError:
                        remove_tree(f"{path}/{name}")
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _annotations(line: CommandLine, store: Store) -> tuple[tuple[str, str], ...]:
    """What tells our runtime which image to mount; raises UsageError for what it could not."""
    from runtime.image.source import LAYOUT, find_archive
    from runtime.lifecycle.create import IMAGE_ANNOTATION, STORE_ANNOTATION

    if line.platform:
        raise UsageError("--rootfs=inplace is for this machine's image: leave --platform out")
    path, _ = find_archive(store, line.image)
    image = line.image
    if path and not image.startswith(LAYOUT):
        image = os.path.abspath(image)  # with what follows the path, if it is ARCHIVE:NAME
    return ((IMAGE_ANNOTATION, image), (STORE_ANNOTATION, os.path.abspath(store.root)))


def _fill(bundle: str, spec: Spec, overlay: Overlay, scratch: str, *, files: bool) -> None:
    """Write config.json, and the files unless they stay where they are.

    The merged layers are seen through an overlay in a mount namespace of this process.
    """
    from runtime.lifecycle.example import write_config
    from runtime.sandbox import syscalls
    from runtime.sandbox.rootfs import make_private

    # Alone it would go on, and nobody could begin anew.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    target = os.open(f"{bundle}/rootfs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    root = overlay.open_root(scratch)
    if files:
        from runtime.sandbox.tree_copy import copy_tree

        copy_tree(root, target)
    write_config(_with_numbers(spec, root), f"{bundle}/config.json", version=_OLDEST)


def _with_numbers(spec: Spec, root_fd: int) -> Spec:
    """The spec with the image's user as numbers, which is all that a config.json can hold."""
    from runtime.sandbox.users import look_up

    assert isinstance(spec.process.user, str)
    account = look_up(root_fd, spec.process.user)
    environment = spec.process.env
    if not any(item.startswith("HOME=") for item in environment):
        environment = (*environment, f"HOME={account.home}")
    return spec.replace(process=spec.process.replace(user=account.user, env=environment))


def _with_user_namespace(spec: Spec) -> Spec:
    """Without root: the ids as this process has them, as which the files were just made."""
    from runtime.oci.spec import IDMapping, Namespace
    from runtime.sandbox.userns import in_user_namespace

    if not in_user_namespace():
        return spec

    def maps(kind: str) -> tuple[IDMapping, ...]:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            lines = [tuple(map(int, line.split())) for line in file]
        return tuple(IDMapping(container_id=c, host_id=h, size=n) for c, h, n in lines)

    return spec.replace(
        namespaces=(*spec.namespaces, Namespace(type="user")),
        uid_mappings=maps("uid"),
        gid_mappings=maps("gid"),
    )


def _with_filter(spec: Spec, profile: str) -> Spec:
    """The filter of system calls that `pyrun IMAGE` would have installed."""
    from runtime.seccomp.profile import default_profile, load_profile

    if profile == "unconfined":
        return spec
    names = spec.process.capabilities.bounding
    if profile:
        return spec.replace(seccomp=load_profile(profile, names))
    # The machine's own architecture alone: what libseccomp makes of our rules for a second one it
    # refuses as a duplicate, and with it every runtime that is built on it.
    filtered = default_profile(names)
    return spec.replace(seccomp=filtered.replace(architectures=filtered.architectures[:1]))
