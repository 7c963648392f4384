"""URLs as they may be shown."""

from __future__ import annotations


def without_password(url: str) -> str:
    """A URL without what stands before its host: for errors and for an image's history."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
