"""What identifies the content that a repository has now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.bootstrap.access import access_of
from buildkit.bootstrap.fetching import Reader
from buildkit.bootstrap.sections import Section, substituted
from buildkit.errors import BuildError, NetworkError

if TYPE_CHECKING:
    from buildkit.bootstrap.repositories import Repositories


def present_metadata(
    section: Section, found: Repositories, reader: Reader, secrets_at: str
) -> bytes:
    """What identifies the repository's content now: its repomd.xml, or a metalink's digests.

    The mirrors are tried in order, as dnf does it.
    """
    options = found.filled_in(section, secrets_at)
    what, access = f"repository {section.id!r}", access_of(options)

    def urls(option: str) -> list[str]:
        return [substituted(url, found.variables) for url in options.get(option, "").split()]

    mirrors = urls("baseurl")
    for option in () if mirrors else ("metalink", "mirrorlist"):
        for url in urls(option)[:1]:
            document = reader.fetch(url, what, access)
            if option == "metalink" or b"<metalink" in document:
                return document
            mirrors += _mirrors(document, found.variables)
    problems = []
    for mirror in mirrors:
        try:
            return reader.fetch(f"{mirror.rstrip('/')}/repodata/repomd.xml", what, access)
        except NetworkError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    raise BuildError(f"{what} has no baseurl, metalink or mirrorlist with a URL")


def _mirrors(document: bytes, variables: Mapping[str, str]) -> list[str]:
    """The URLs of a list of mirrors, one on a line."""
    lines = document.decode("utf-8", "replace").splitlines()
    return [substituted(line.strip(), variables) for line in lines if "://" in line.split("#")[0]]
