"""What is wrong in a bake or compose file, with the file and the path of keys to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from buildkit.errors import UsageError

COMMENT = "//"  # a key that HCL's JSON syntax ignores
_REFUSED = {
    "policy": "policies are not supported by this version",
    "cgroup-parent": "RUN steps have a cgroup of their own, below that of pybuild",
}


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


def check_keys(body: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    """Raise Problem for a key that is not known; `path` leads to the body."""
    import difflib

    known = tuple(known)
    for key in body:
        if key in known or key == COMMENT:
            continue
        path = ".".join(filter(None, (path, key)))
        if key in _REFUSED:
            raise Problem(_REFUSED[key], path=path)
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise Problem("unknown key", hint=hint, path=path)
