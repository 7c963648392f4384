"""The terminal of a container: a pty on its own devpts (config.md "Process", `terminal`).

Everything is by descriptor: the image cannot put another device in the way (CVE-2025-52565).
Loaded only where a terminal is asked for.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from runtime.errors import ContainerError
from runtime.sandbox import mounts, syscalls
from runtime.sandbox.rootpath import open_in_root

_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441  # asm-generic/ioctls.h
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414


def open_terminal(
    root_fd: int, channel: int, size: tuple[int, int] | None, *, console: bool = True
) -> tuple[int, int, int]:
    """Make a pty, hand its master to the other side of a socket, and return the slave thrice.

    The size in characters (height, width) is `size`, else the caller's terminal's. With
    `console` it also becomes /dev/console.
    """
    flags = os.O_RDWR | os.O_NOCTTY
    try:
        master = open_in_root(root_fd, "/dev/pts/ptmx", flags, follow=False)
        fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        slave: int = fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError(f"terminal: /dev/pts/ptmx: {error.strerror}") from error
    if size is not None:
        fcntl.ioctl(slave, _TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    elif os.isatty(0):  # the caller's: its size must be there before the process asks for it
        fcntl.ioctl(slave, _TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, bytes(8)))
    if console:
        place = mounts.mount_point(root_fd, "/dev/console", directory=False, exact=True)
        tree = syscalls.open_tree(slave, "")
        syscalls.move_mount(tree, place)
        os.close(tree)
        os.close(place)
    # The name goes with it, as engines expect of a runtime's --console-socket.
    message = b"/dev/pts/ptmx"
    with socket.socket(fileno=os.dup(channel)) as sender:
        socket.send_fds(sender, [message], [master])
    os.close(master)
    return slave, slave, slave


def connect_console_socket(path: str) -> int:
    """Connect to an engine's --console-socket, which takes the master."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(path)
        except OSError as error:
            raise ContainerError(f"--console-socket {path}: {error.strerror}") from error
        return channel.detach()


def terminal_channel() -> tuple[int, int]:
    """Two ends of a socket: ours, and the one for the container's side."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


def receive_master(channel: int) -> int:
    """Take the master that `open_terminal` sent; closes the channel."""
    with socket.socket(fileno=channel) as received:
        _, fds, _, _ = socket.recv_fds(received, 64, 1)
    if not fds:
        raise ContainerError("terminal: the container's side sent none")
    os.set_inheritable(fds[0], False)
    return fds[0]
