"""URLs as they may be shown."""

from __future__ import annotations


def credentials(url: str) -> tuple[str, str]:
    """User and password that stand before a URL's host; both may be empty."""
    from urllib.parse import unquote

    host = url.partition("://")[2].partition("/")[0]
    user, _, password = host.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)


def without_password(url: str) -> str:
    """A URL without what stands before its host: for errors and for an image's history."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
