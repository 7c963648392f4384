"""A process that is asked what some system calls of another one come to (seccomp_unotify(2)).

The filter is installed by the process that it is for, at the end of its way into the container
(`listening_installer`), which sends the descriptor out through a socket. Who has that answers each
call, before which its caller does not go on; a listener that is closed answers ENOSYS for good.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct

from runtime.record import Record
from runtime.seccomp.load import filter_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# include/uapi/linux/seccomp.h. A signal that does not kill waits for the answer (Linux 5.19).
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
_RECEIVE, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5
# struct seccomp_notif, which holds struct seccomp_data; struct seccomp_notif_resp.
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")


class Call(Record):
    """A system call that waits for an answer."""

    id: int
    pid: int  # of the thread, in the caller's PID namespace
    number: int
    architecture: int  # AUDIT_ARCH_…
    arguments: tuple[int, ...]  # six, of 64 bits


class Listener:
    """The listener of a filter; closes its descriptor once no process has that filter."""

    def __init__(self, fd: int) -> None:
        self.fd = fd  # readable when a call waits; -1 once it is closed
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> Call | None:
        """The next call that waits; None if none does."""
        ready = self._poll.poll(0)
        if not ready:
            return None
        if not ready[0][1] & select.POLLIN:
            self.close()
            return None
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, buffer)
        except OSError as error:
            # The caller was killed; or a signal came, of ours or of the caller's.
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        cookie, pid, _, number, architecture, _, *arguments = _NOTIFICATION.unpack(buffer)
        return Call.restore((cookie, pid, number, architecture, tuple(arguments)))

    def is_waiting(self, call: Call) -> bool:
        """Whether its caller still waits, so that its process id means it and nobody else."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("=Q", call.id))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def answer(self, call: Call, failure: int = 0) -> None:
        """Let the call return 0, or fail with an errno, without having been made."""
        self._send(_RESPONSE.pack(call.id, 0, -failure, 0))

    def let_pass(self, call: Call) -> None:
        """Let the kernel make the call. What was seen of its arguments may no longer be so."""
        self._send(_RESPONSE.pack(call.id, 0, 0, _CONTINUE))

    def close(self) -> None:
        """Hear no more."""
        if self.fd >= 0:
            self._poll.unregister(self.fd)
            os.close(self.fd)
            self.fd = -1

    def _send(self, response: bytes) -> None:
        try:
            fcntl.ioctl(self.fd, _SEND, response)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
                raise
            # The caller was killed, or a signal came, after which it asks once more.


def open_channel() -> tuple[int, int]:
    """Two ends of a socket: ours, and that for `listening_installer`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


def receive_listener(channel: int) -> tuple[Listener | None, int]:
    """What `listening_installer` has sent, or None and the errno of the kernel; closes `channel`.

    The other end must be closed here, so that a process that ended before is noticed.
    """
    with socket.socket(fileno=channel) as received:
        message, fds, _, _ = socket.recv_fds(received, 4, 1)
    if fds:
        os.set_inheritable(fds[0], False)
        return Listener(fds[0]), 0
    return None, int.from_bytes(message, "little")


def listening_installer(program: bytes, unheard: bytes, channel: int) -> Callable[[], None]:
    """What installs a filter and sends its listener, and imports nothing by then.

    Where the kernel grants no listener (there may be one in a sandbox around us, and of those that
    a call passes only one can be asked) the filter `unheard` is installed. Needs CAP_SYS_ADMIN.
    """
    ways = [
        filter_call(program, flags)
        for flags in (_NEW_LISTENER | _WAIT_KILLABLE_RECV, _NEW_LISTENER)
    ]
    last = filter_call(unheard, 0)

    def install() -> None:
        with socket.socket(fileno=os.dup(channel)) as sender:
            reason = 0
            for call in ways:
                try:
                    listener = call()
                except OSError as error:
                    reason = error.errno or 0
                    continue
                # Not send_fds, which imports.
                rights = listener.to_bytes(4, "little")
                sender.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                os.close(listener)
                return
            last()
            sender.sendmsg([reason.to_bytes(4, "little")])

    return install
