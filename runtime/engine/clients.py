"""Who is attached to a container, as its monitor has it."""

from __future__ import annotations

from runtime.engine import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


class Client:
    """Somebody who is attached."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.messages = protocol.Messages()
        self.waiting = bytearray()  # for it
        self.sent = 0  # bytes of input that it was not told yet to have been taken

    def flush(self) -> bool:
        """Send what can be sent; False if it is gone."""
        try:
            while self.waiting:
                del self.waiting[: self.connection.send(self.waiting)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
