"""Verifying layers in another process, while this one does something with them."""

from __future__ import annotations

import os

from runtime.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from runtime.image.blob import StoredLayer
else:
    import _signal as signal


class Checking:
    """Another process that reads layers and compares their digests."""

    def __init__(self, layers: Sequence[StoredLayer]) -> None:
        self._report, write_end = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            message = "internal error"
            try:
                message = _first_fault(layers)
            finally:
                os.write(write_end, message.encode("utf-8", "surrogateescape"))
                os._exit(0)
        os.close(write_end)

    def stop(self) -> None:
        """End it: nobody wants to know any more."""
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._report)
        os.waitpid(self._pid, 0)

    def finish(self) -> None:
        """Wait for its end; raises ImageError for a layer that is not what was promised."""
        message = b""
        while chunk := os.read(self._report, 1 << 16):
            message += chunk
        os.close(self._report)
        _, status = os.waitpid(self._pid, 0)
        if message or status:
            said = message.decode("utf-8", "surrogateescape")
            raise ImageError(said or "the process that verifies the layers was killed")


def _first_fault(layers: Sequence[StoredLayer]) -> str:
    for layer in layers:
        try:
            layer.verify()
        except ImageError as error:
            return error.message
        except OSError as error:
            return f"{layer.where}: {error.strerror}"
    return ""
