"""What is wrong in a bake or compose file, with the file and the path of keys to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.errors import UsageError


class Problem(Exception):
    """Something wrong; `at` adds where it stands."""

    def __init__(self, message: str, *, hint: str | None = None, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path  # of keys, below what is known to be at fault

    def inside(self, key: object) -> Problem:
        """The same, seen from one level further up."""
        path = f"{key}.{self.path}" if self.path else str(key)
        return Problem(self.message, hint=self.hint, path=path)


@contextmanager
def at(*places: str) -> Iterator[None]:
    """Say of a Problem where it stands: a file, then a path of keys such as `target.web.args`."""
    try:
        yield
    except Problem as problem:
        path = ".".join(filter(None, (*places[1:], problem.path)))
        message = ": ".join(filter(None, (places[0], path, problem.message)))
        raise UsageError(message, hint=problem.hint) from None
