"""What a Containerfile says, shown without building anything (`--call`)."""

from __future__ import annotations

import sys

from buildkit.errors import UsageError
from grammar import ContainerfileErrors, parse
from grammar.dump import to_json, to_sexpr


def show(call: str, text: bytes, name: str) -> int:
    """Print one view; raises UsageError for a file that cannot be parsed."""
    try:
        containerfile = parse(text, name=name)
    except ContainerfileErrors as errors:
        error = UsageError(str(errors))
        error.located = True
        raise error from errors
    sys.stdout.write((to_json if call == "ast" else to_sexpr)(containerfile) + "\n")
    return 0
