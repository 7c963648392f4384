"""`pyrun bundle IMAGE DIR`: an image as an OCI bundle for any runtime: rootfs and config.json."""

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


def main(arguments: list[str]) -> int:
    """Write a bundle; returns the exit status."""
    from runtime.command_line import BUNDLE_HELP, CommandLine

    line = CommandLine(arguments)
    if line.help:
        os.write(1, BUNDLE_HELP.encode())
        return 0
    command = line.options.command
    if line.rootfs == "inplace" or line.verify != "auto":
        hint = "its layers are verified when they are unpacked into the store"
        raise UsageError("bundle: the image is unpacked, not mounted", hint=hint)
    if not command:
        raise UsageError("bundle: IMAGE and DIR expected", hint="pyrun bundle --help")
    target = command[0]
    _write(line, target, command[1:])
    return 0


def _write(line: CommandLine, target: str, command: tuple[str, ...]) -> None:
    from runtime.bundle import to_spec
    from runtime.image.source import open_image
    from runtime.lifecycle.example import write_config
    from runtime.sandbox.child import call_in_child
    from runtime.sandbox.rootfs import Overlay
    from runtime.sandbox.userns import become_root
    from runtime.store.store import Store, default_root
    from runtime.store.workspace import remove_tree

    root = line.root or default_root()
    target = os.path.abspath(target)
    become_root()
    store = Store(root)
    image = open_image(store, line.image, line.platform)
    spec = to_spec(image.config.config, line.options.replace(command=command))
    if os.path.lexists(target):
        raise UsageError(f"{target}: exists already; nothing of it is replaced")
    parent, name = os.path.split(target)
    unfinished = f"{parent}/.{name}.unfinished"
    try:
        claim = _claim(unfinished)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    try:
        os.mkdir(f"{unfinished}/rootfs")
        overlay = Overlay(lowers=store.layers_of(image))
        call_in_child(lambda: _unpack(overlay, store.scratch, f"{unfinished}/rootfs"))
        spec = _with_user_namespace(_with_numbers(spec, f"{unfinished}/rootfs"))
        spec = _with_filter(spec, line.options.seccomp)
        write_config(spec, f"{unfinished}/config.json", version=_OLDEST)
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


def _unpack(overlay: Overlay, scratch: str, target: str) -> None:
    """Copy the merged layers, seen through an overlay in a mount namespace of this process."""
    from runtime.sandbox import syscalls
    from runtime.sandbox.rootfs import make_private
    from runtime.sandbox.tree_copy import copy_tree

    # Alone it would go on, and nobody could begin anew.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    copy_tree(overlay.open_root(scratch), target_fd)


def _with_numbers(spec: Spec, rootfs: str) -> Spec:
    """The spec with the image's user as numbers, which is all that a config.json can hold."""
    from runtime.sandbox.users import look_up

    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        assert isinstance(spec.process.user, str)
        account = look_up(root_fd, spec.process.user)
    finally:
        os.close(root_fd)
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
