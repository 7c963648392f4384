"""Stopping what goes on in several threads."""

from __future__ import annotations

from threading import Event

from runtime.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class StoppedError(RegistryError):
    """Another transfer failed; that one is reported."""


class Stop:
    """Told by whoever fails, asked by everybody between two pieces."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """Let all stop."""
        self._event.set()

    def set_by(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work; when it fails all are to stop."""

        def do() -> None:
            try:
                work()
            except BaseException:
                self.set()
                raise

        return do

    def check(self) -> None:
        """Raise StoppedError if it was set."""
        if self._event.is_set():
            raise StoppedError("stopped")

    def sleep(self, seconds: float) -> None:
        """Sleep, unless all are to stop."""
        self._event.wait(seconds)
        self.check()
