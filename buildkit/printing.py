"""Printing on standard error: messages, and errors with their hints."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.errors import BuildError


def complain(text: str, hint: str | None = None) -> None:
    """Print a message, and a hint below it."""
    if hint:
        text += f"\nhint: {hint}"
    sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.buffer.flush()


def complain_of(error: BuildError, *, as_json: bool) -> None:
    """Print an error: as it is where it knows its place, else after the program's name.

    For machines it is one line: an array of all errors, each with its code and place.
    """
    if as_json:
        import json

        unplaced = {"severity": "error", "code": "build", "message": error.message}
        complain(json.dumps(error.documents or [unplaced]))
        return
    text = error.message if error.located else f"pybuild: {error.message}"
    complain(text, error.hint)
    if os.environ.get("GITHUB_ACTIONS"):
        from buildkit import github

        if github.is_here():
            complain(github.annotate(error).rstrip("\n"))
