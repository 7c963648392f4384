"""Compose files: services that have a `build:` section."""

from __future__ import annotations

from buildkit.bake.definition import Definition
from buildkit.errors import UsageError


def read_compose_files(files: list[tuple[str, bytes]]) -> Definition:
    """What the files define together; raises UsageError."""
    raise UsageError(f"{files[0][0]}: compose files are not read by this version")
