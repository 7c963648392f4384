"""RUN --mount values, as far as the rules and the outline look into them."""

from __future__ import annotations

import csv

from grammar.parts import Word


def mount_options(mount: Word) -> tuple[tuple[str, str | None], ...]:
    """The keys of a mount in order, in lower case, with values; None for a bare key."""
    row = next(csv.reader([mount.text.strip("\"'")]), [])
    pairs = (option.partition("=") for option in row)
    return tuple((key.strip().lower(), value if equals else None) for key, equals, value in pairs)


def read_mount(mount: Word) -> dict[str, str]:
    """The keys of a mount with their values, a bare key's being `true`."""
    return {key: "true" if value is None else value for key, value in mount_options(mount)}


def mount_target(options: dict[str, str]) -> str:
    """Where a mount is to be seen."""
    return next((options[key] for key in ("target", "dst", "destination") if key in options), "")
