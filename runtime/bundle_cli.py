"""`pyrun bundle IMAGE DIR`: an image as an OCI bundle for any runtime: rootfs and config.json."""

from __future__ import annotations

import os

from runtime.errors import StoreError, UsageError

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
    image = open_image(store, line.image)
    spec = to_spec(image.config, line.options.replace(command=command))
    try:
        os.mkdir(target)
    except FileExistsError:
        raise UsageError(f"{target}: exists already; nothing of it is replaced") from None
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    try:
        os.mkdir(f"{target}/rootfs")
        overlay = Overlay(lowers=store.layers_of(image))
        call_in_child(lambda: _unpack(overlay, store.scratch, f"{target}/rootfs"))
        write_config(_with_numbers(spec, f"{target}/rootfs"), f"{target}/config.json")
    except BaseException:
        remove_tree(target)
        raise


def _unpack(overlay: Overlay, scratch: str, target: str) -> None:
    """Copy the merged layers, seen through an overlay in a mount namespace of this process."""
    from runtime.sandbox import syscalls
    from runtime.sandbox.rootfs import make_private
    from runtime.sandbox.tree_copy import copy_tree

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
