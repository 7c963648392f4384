"""What is wrong in a bake or compose file, with the file and the path of keys to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from buildkit.errors import UsageError


class Problem(Exception):
    """Something wrong; `at` adds where it stands."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@contextmanager
def at(*places: str) -> Iterator[None]:
    """Say of a Problem where it stands: a file, then a path of keys such as `target.web.args`."""
    try:
        yield
    except Problem as problem:
        message = f"{': '.join(places)}: {problem.message}"
        raise UsageError(message, hint=problem.hint) from None
