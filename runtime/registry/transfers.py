"""Several transfers at once: the first that fails stops all."""

from __future__ import annotations

from threading import Lock

from runtime.registry.stop import StoppedError
from runtime.registry.wire import AT_ONCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runtime.registry.stop import Stop

    Count = Callable[[int, int], None]  # bytes that are done, of how many


class Progress:
    """How far all transfers together are, told to one function by whichever thread."""

    def __init__(self, count: Count | None, total: int) -> None:
        self._count = count
        self._total = total
        self._done: dict[str, int] = {}
        self._lock = Lock()

    def set(self, name: str, size: int) -> None:
        """So many bytes of one are done, which may be fewer than before."""
        if self._count is not None:
            with self._lock:
                self._done[name] = size
                self._count(sum(self._done.values()), self._total)


def at_once(jobs: Sequence[Callable[[], None]], stop: Stop) -> None:
    """Do all in a few threads, in their order; raises the first error when no thread is left."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(AT_ONCE)
    futures = [pool.submit(job) for job in jobs]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:  # of an interruption as well
        if not all(future.done() for future in futures):
            stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    errors = [
        error for future in futures if not future.cancelled() and (error := future.exception())
    ]
    # Who was stopped did not fail.
    errors.sort(key=lambda error: isinstance(error, StoppedError))
    if errors:
        raise errors[0]
