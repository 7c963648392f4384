"""What a monitor and those who are attached to it say to each other, over a Unix socket.

Each message is its kind, the length of what follows, and that. TAKEN says how many bytes of STDIN
need no room any more: who sends them waits for that, and is free for signals meanwhile.
"""

from __future__ import annotations

ATTACH = "attach"  # the socket, in a container's directory
STDIN, STDOUT, STDERR, END_OF_INPUT, RESIZE, SIGNAL, ENDED, TAKEN = range(8)
HEAD = 5  # bytes: the kind, and the length as four, the most important first
MOST = 1 << 16  # bytes of one message's content


def message(kind: int, content: bytes = b"") -> bytes:
    """One message."""
    return bytes((kind,)) + len(content).to_bytes(4) + content


class Messages:
    """Takes a stream apart."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def take(self, content: bytes) -> list[tuple[int, bytes]]:
        """The messages that are complete now; raises ValueError for what is none."""
        self._waiting += content
        found = []
        while len(self._waiting) >= HEAD:
            size = int.from_bytes(self._waiting[1:HEAD])
            if size > MOST or self._waiting[0] > TAKEN:
                raise ValueError("not a message")
            if len(self._waiting) < HEAD + size:
                break
            found.append((self._waiting[0], bytes(self._waiting[HEAD : HEAD + size])))
            del self._waiting[: HEAD + size]
        return found
