"""The exception of `packages`: bytes are not what a package manager writes."""

from __future__ import annotations


class PackageError(ValueError):
    """A header, a package or a package database that cannot be read, as `where: what`.

    Whoever knows which image or file the bytes are of puts that in front.
    """
