"""Trying again what may be better the next time, as crane does: three tries, 1 s and 3 s apart.

What a server says of the time to wait (Retry-After) counts if it is longer.
"""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

from runtime.errors import RegistryError
from runtime.registry.wire import PassingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

PASSING = (408, 425, 429, 499, 500, 502, 503, 504, 522)  # statuses
_DELAYS_S = (1.0, 3.0)
_JITTER = 0.1  # of a delay: those who failed together do not come back together
_LONGEST_WAIT_S = 120


class Patience:
    """How many more tries one thing gets; what brings it forward begins them anew."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._failures = 0

    def begin_anew(self) -> None:
        """Something was achieved since the last failure."""
        self._failures = 0

    def wait(self, error: PassingError) -> None:
        """Wait for the next try; raises RegistryError, which does not pass, if there is none."""
        if self._failures == len(_DELAYS_S):
            tries = len(_DELAYS_S) + 1
            raise RegistryError(f"{error.message} ({tries} tries)", hint=error.hint) from error
        if error.after_s > _LONGEST_WAIT_S:
            hint = f"the registry wants to be left alone for {error.after_s:.0f} seconds"
            raise RegistryError(error.message, hint=hint) from error
        delay = _DELAYS_S[self._failures] * (1 + _JITTER * random.random())
        self._failures += 1
        self._pause(max(delay, error.after_s))


def retrying(attempt: Callable[[], T], pause: Callable[[float], None]) -> T:
    """The result of a function; raises RegistryError for its last PassingError."""
    patience = Patience(pause)
    while True:
        try:
            return attempt()
        except PassingError as error:
            patience.wait(error)


def retry_after_s(text: str) -> float:
    """Seconds that a Retry-After says (RFC 9110 section 10.2.3), 0 for what is not understood."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
